//go:build linux

package crash

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"slipway/test/harness"
)

// findings collects what a test finds wrong with a server that is known to be.
type findings struct {
	*testing.T
	mu   sync.Mutex
	list []string
}

func (f *findings) Helper() {}

func (f *findings) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, fmt.Sprintf(format, args...))
}

// TestPowerCutFindsMissingSync takes the server's fsyncs out, one at a time,
// and shows that TestPowerCut would notice.
func TestPowerCutFindsMissingSync(t *testing.T) {
	for _, m := range []struct{ name, file, old, new string }{
		{"blobs", "internal/blob/fs.go", "return f.Sync()", "return nil"},
		{"database", "internal/db/db.go", "synchronous(FULL)", "synchronous(NORMAL)"},
	} {
		t.Run(m.name, func(t *testing.T) {
			d := newDisk(t, normalDisk)
			bin := mutant(t, m.file, m.old, m.new)
			s := seed(t)
			r := newRand(s, 0)
			for i := range 10 {
				f := &findings{T: t}
				c := newCrew(f, s+uint64(i))
				srv := harness.Start(t, harness.Options{Path: bin, Data: filepath.Join(d.folder, fmt.Sprint(i)), Args: serveArgs})
				c.powerCut(d, srv, r)
				if len(f.list) > 0 {
					t.Logf("round %d: %d findings, such as: %s", i, len(f.list), f.list[0])
					return
				}
				srv.Stop()
			}
			t.Error("ten power cuts of a server that does not sync went unnoticed")
		})
	}
}

// mutant builds the server with one piece of its code replaced.
func mutant(t *testing.T, file, old, new string) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, file)
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), old); n != 1 {
		t.Fatalf("%s has %q %d times, want once: adapt this test", file, old, n)
	}
	dir := t.TempDir()
	changed := filepath.Join(dir, "changed.go")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(source), old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "slipway")
	cmd := exec.Command("go", "build", "-trimpath", "-overlay", list, "-o", bin, "./cmd/slipway")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return bin
}
