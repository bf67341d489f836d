//go:build linux

package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Missing ends the test because the machine lacks something it needs. It skips,
// or fails where everything is required (see the package comment).
func Missing(tb testing.TB, format string, args ...any) {
	tb.Helper()
	if required() {
		tb.Fatalf("this machine lacks what the test needs: "+format, args...)
	}
	tb.Skipf("skipped, this machine lacks what the test needs: "+format, args...)
}

// Long reports whether the long variant of a test was asked for.
func Long() bool { return os.Getenv("SLIPWAY_TEST_LONG") == "1" }

func required() bool {
	return os.Getenv("CI") == "true" || os.Getenv("SLIPWAY_TEST_REQUIRE") == "1"
}

// Tool returns the absolute path of a program: from .build/tools, where `make
// tools` installs pinned versions, else from PATH. Without it the test ends
// through [Missing].
func Tool(tb testing.TB, name string) string {
	tb.Helper()
	pinned := filepath.Join(root(tb), ".build", "tools", name)
	if info, err := os.Stat(pinned); err == nil && info.Mode()&0o111 != 0 {
		return pinned
	}
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(tb, "the program %q; `make setup` installs it", name)
	}
	return path
}

// tempDir is a folder with a short path, as unix sockets need, that is removed
// when the test ends.
func tempDir(tb testing.TB, pattern string) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", pattern)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Logf("left behind: %v", err)
		}
	})
	return dir
}

var findRoot = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", os.ErrNotExist
		}
		dir = parent
	}
})

// root is the checkout's folder: the one with go.mod.
func root(tb testing.TB) string {
	tb.Helper()
	dir, err := findRoot()
	if err != nil {
		tb.Fatalf("finding the folder with go.mod above the test: %v", err)
	}
	return dir
}
