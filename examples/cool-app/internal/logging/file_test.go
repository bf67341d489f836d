package logging_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cool-app/internal/logging"
)

func TestBothPlacesGetEveryLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cool-app.log")
	file, err := logging.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var out bytes.Buffer
	log := logging.New(&out, file, slog.LevelInfo, "one")
	log.Info("before", "n", 1)
	log.Debug("too quiet")

	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	log.Info("renamed")
	if err := file.Reopen(); err != nil {
		t.Fatal(err)
	}
	log.Info("after")

	old, now := read(t, path+".1"), read(t, path)
	if old+now != out.String() {
		t.Errorf("standard output got\n%sand the files\n%s%s", out.String(), old, now)
	}
	if !strings.Contains(old, "renamed") || !strings.Contains(now, "after") || strings.Contains(out.String(), "too quiet") {
		t.Errorf("first file:\n%ssecond:\n%s", old, now)
	}
	for line := range strings.Lines(out.String()) {
		var entry struct{ Time, Level, Msg, Instance string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Time == "" || entry.Instance != "one" {
			t.Errorf("line %q: %v", line, err)
		}
	}
}

func TestReopenKeepsWhatItHas(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := logging.OpenFile(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := os.Rename(dir, dir+"2"); err != nil {
		t.Fatal(err)
	}
	if err := file.Reopen(); err == nil {
		t.Fatal("reopened in a folder that is gone")
	}
	if _, err := file.Write([]byte("still here\n")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(dir+"2", "a")); got != "still here\n" {
		t.Errorf("the file holds %q", got)
	}
	if _, err := logging.OpenFile(filepath.Join(dir, "a")); err == nil {
		t.Error("opened a file in no folder")
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
