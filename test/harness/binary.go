//go:build linux

package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// Binary returns the path of the slipway program under test: SLIPWAY_BIN, or one
// built from this checkout, with the race detector when the test itself has it.
// Test processes that run side by side share one build. Beside it is slipway-bake.
func Binary(tb testing.TB) string {
	tb.Helper()
	if path := os.Getenv("SLIPWAY_BIN"); path != "" {
		abs, err := filepath.Abs(path)
		if err != nil {
			tb.Fatal(err)
		}
		return abs
	}
	dir := root(tb)
	path, err := build(dir)
	if err != nil {
		tb.Fatalf("building the program under test: %v", err)
	}
	return path
}

var (
	buildOnce sync.Once
	built     string
	errBuild  error
)

func build(dir string) (string, error) {
	buildOnce.Do(func() { built, errBuild = buildLocked(dir) })
	return built, errBuild
}

// buildLocked holds a file lock, because `go test ./...` runs packages in
// parallel and a program that is being executed cannot be written.
func buildLocked(dir string) (path string, err error) {
	name, args := "slipway", []string{"build", "-trimpath"}
	env := append(os.Environ(), "CGO_ENABLED=0")
	if raceEnabled {
		name, args = "slipway-race", []string{"build", "-race"}
		env = append(os.Environ(), "CGO_ENABLED=1")
	}
	out := filepath.Join(dir, ".build", "test", name)
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(filepath.Dir(out), "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("locking %s: %w", lock.Name(), err)
	}
	program := exec.Command("go", append(args, "-o", out, "./cmd/slipway")...)
	program.Env = env
	// What it starts to read projects is looked for beside it.
	reader := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(filepath.Dir(out), "slipway-bake"), "./cmd/slipway-bake")
	reader.Env = append(os.Environ(), "CGO_ENABLED=0")
	for _, cmd := range []*exec.Cmd{program, reader} {
		cmd.Dir = dir
		if msg, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", cmd, err, msg)
		}
	}
	return out, nil
}
