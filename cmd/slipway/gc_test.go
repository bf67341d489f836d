//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway/internal/oci"
	"slipway/internal/rest"
)

// serving runs a server in this process until the test or stop ends it.
func serving(t *testing.T, s serveSettings) (url string, stop func()) {
	t.Helper()
	s.listen, s.http, s.store.grace, s.store.uploadExpiry, s.drain, s.stall = "127.0.0.1:0", "loopback", time.Hour, time.Hour, 10*time.Second, time.Minute
	s.manifestLimit = 4 << 20
	srv := newServer(s, slog.New(slog.DiscardHandler))
	if err := srv.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Run(ctx); err != nil {
			t.Error(err)
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return "http://" + srv.listener.Addr().String(), stop
}

func pushBlob(t *testing.T, url string, content []byte) (blobURL string) {
	t.Helper()
	d := oci.FromBytes(oci.SHA256, content)
	resp, err := http.Post(url+"/v2/app/blobs/uploads/?digest="+d.String(), "application/octet-stream", bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatal(resp.Status)
	}
	return url + "/v2/app/blobs/" + d.String()
}

func status(t *testing.T, url string) int {
	t.Helper()
	resp, err := http.Head(url)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func gcCommandLine(t *testing.T, data string) *commandLine {
	t.Setenv("SLIPWAY_SERVER", "")
	t.Setenv("SLIPWAY_DATA", "")
	return &commandLine{t: t, host: "registry.invalid", dir: data}
}

func TestGC(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 20<<10)
	for name, way := range map[string]struct{ flags, variable string }{
		"by the network":            {flags: "--server URL"},
		"without the scheme":        {flags: "--server ADDRESS"},
		"by the control socket":     {flags: "--data DIR"},
		"without a server":          {flags: "--data DIR"},
		"as the environment says":   {variable: "SLIPWAY_SERVER"},
		"a flag wins over variable": {flags: "--data DIR", variable: "SLIPWAY_SERVER"},
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			url, stop := serving(t, serveSettings{store: storeSettings{data: data}})
			blob := pushBlob(t, url, content)
			c := gcCommandLine(t, data)
			if way.variable != "" {
				t.Setenv(way.variable, url)
			}
			if strings.HasPrefix(name, "a flag") {
				t.Setenv(way.variable, "http://127.0.0.1:1")
			}
			if name == "without a server" {
				stop()
			}
			flags := strings.NewReplacer("URL", url, "ADDRESS", strings.TrimPrefix(url, "http://")).Replace(way.flags)

			collect := func(line string) (report rest.Collection) {
				t.Helper()
				if err := json.Unmarshal([]byte(c.ok(line+" -o json")), &report); err != nil {
					t.Fatal(err)
				}
				return report
			}
			report := collect("gc " + flags)
			if report.Freed.Blobs != 0 || report.GraceSeconds != 3600 || report.DryRun {
				t.Errorf("within the server's grace time: %+v", report)
			}
			report = collect("gc " + flags + " --dry-run --grace 0")
			if report.Freed.Blobs != 1 || !report.DryRun || report.GraceSeconds != 0 {
				t.Errorf("dry run: %+v", report)
			}
			report = collect("gc " + flags + " --dry-run --grace 500ms")
			if report.GraceSeconds != 1 {
				t.Errorf("a grace time of less than a second: %+v", report)
			}
			if name != "without a server" && status(t, blob) != http.StatusOK {
				t.Error("a dry run freed something")
			}
			time.Sleep(2 * time.Millisecond) // the clock counts milliseconds
			out := c.ok("gc " + flags + " --grace 0")
			if !strings.Contains(out, "Freed 20.0 KiB: 1 blobs") {
				t.Errorf("output:\n%s", out)
			}
			if name == "without a server" {
				url, _ = serving(t, serveSettings{store: storeSettings{data: data}})
				blob = url + strings.TrimPrefix(blob, blob[:strings.Index(blob, "/v2/")])
			}
			if got := status(t, blob); got != http.StatusNotFound {
				t.Errorf("the blob afterwards: status %d", got)
			}
		})
	}
}

func TestGCMistakes(t *testing.T) {
	empty := t.TempDir()
	c := gcCommandLine(t, empty)
	for _, m := range []struct {
		line string
		code int
		want string
	}{
		{"gc", exitUsage, "--server URL"},
		{"gc --server http://x --data DIR", exitUsage, "exclude each other"},
		{"gc --server ://", exitUsage, "must be an address"},
		{"gc --data DIR --grace -1s", exitUsage, "must not be negative"},
		{"gc --data DIR -o xml", exitUsage, "text or json"},
		{"gc --data DIR surplus", exitFailure, "surplus"},
		{"gc --data DIR", exitFailure, "is not a data folder of Slipway"},
		{"gc --server http://127.0.0.1:1", exitFailure, "127.0.0.1:1"},
	} {
		code, _, stderr := c.run(m.line)
		if code == 0 || (m.want != "surplus" && code != m.code) || !strings.Contains(stderr, m.want) {
			t.Errorf("%s: exit code %d, %q, want %d and %q", m.line, code, stderr, m.code, m.want)
		}
	}
	if entries, err := os.ReadDir(empty); err != nil || len(entries) != 0 {
		t.Errorf("a folder that was refused has %v, %v", entries, err)
	}
}

func TestGCOfAnotherServer(t *testing.T) {
	c := newCommandLine(t, memoryRegistry())
	t.Setenv("SLIPWAY_DATA", "")
	if code, _, stderr := c.run("gc --server http://HOST"); code != exitFailure || !strings.Contains(stderr, "is this a Slipway server?") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

// Who may not collect over the network still may on the machine itself.
func TestGCNeedsRights(t *testing.T) {
	data := t.TempDir()
	url, _ := serving(t, serveSettings{anonymous: "push", store: storeSettings{data: data}})
	pushBlob(t, url, []byte("x"))
	c := gcCommandLine(t, data)
	if code, _, stderr := c.run("gc --server " + url); code != exitFailure || !strings.Contains(stderr, "you may not administer: no rule allows anonymous to") || !strings.Contains(stderr, "slipway policy add") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	c.ok("gc --data DIR")
}

func TestDataFolderHasOneServer(t *testing.T) {
	data := t.TempDir()
	serving(t, serveSettings{store: storeSettings{data: data}})
	second := newServer(serveSettings{listen: "127.0.0.1:0", http: "loopback", store: storeSettings{data: data}}, slog.New(slog.DiscardHandler))
	err := second.Open(context.Background())
	if err == nil || !strings.Contains(err.Error(), data) || !strings.Contains(err.Error(), "another process uses") {
		t.Errorf("a second server: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(data, controlSocket)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the control socket: %v, %v", info, err)
	}
}
