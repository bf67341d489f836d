//go:build linux

package build

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"slipway/internal/bake"
	"slipway/internal/buildkit/child"
	"slipway/internal/buildkit/daemon"
	"slipway/test/harness"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Solves wait for the disk more than they compute.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("4"); err != nil {
			panic(err) // it is a number
		}
	}
	code := m.Run()
	if err := builders.close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// builders are the buildkitds of the package. One is for all tests, since
// starting is slow.
var builders = &fleet{log: &lockedBuffer{}}

type fleet struct {
	log *lockedBuffer

	mu     sync.Mutex
	dir    string // with everything that they have
	shim   string
	binary string
	shared *child.Daemon
}

// builder is the buildkitd that all tests share. What one test leaves in its
// cache another may find, as projects on one server do.
func builder(t *testing.T) *child.Daemon {
	t.Helper()
	builders.mu.Lock()
	defer builders.mu.Unlock()
	if builders.shared == nil {
		builders.shared = child.New(builders.config(t))
	}
	return builders.shared
}

// otherBuilder is a builder of the test's own, which has never built anything.
func otherBuilder(t *testing.T, change func(*daemon.Config)) *child.Daemon {
	t.Helper()
	builders.mu.Lock()
	defer builders.mu.Unlock()
	c := builders.config(t)
	if change != nil {
		change(&c)
	}
	d := child.New(c)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("closing a builder: %v", err)
		}
	})
	return d
}

// config is a builder with a root of its own, or the test ends because this
// machine cannot build.
func (f *fleet) config(t *testing.T) daemon.Config {
	t.Helper()
	if os.Geteuid() != 0 {
		harness.Missing(t, "root")
	}
	if f.dir == "" {
		dir, err := os.MkdirTemp("", "slb-") // short: sockets are in it
		if err != nil {
			t.Fatal(err)
		}
		f.dir = dir
	}
	if f.shim == "" {
		cmd := exec.Command("go", "build", "-o", f.dir+"/", "slipway/cmd/slipway-runc", "slipway/cmd/slipway-bake")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		f.shim = filepath.Join(f.dir, "slipway-runc")
		if err := os.Setenv(bake.ProgramVariable, filepath.Join(f.dir, bake.Program)); err != nil {
			t.Fatal(err)
		}
	}
	if f.binary == "" {
		f.binary = buildkitd(t)
	}
	root, err := os.MkdirTemp(f.dir, "r")
	if err != nil {
		t.Fatal(err)
	}
	c := daemon.Config{Root: root, Shim: f.shim, Binary: f.binary, Log: slog.New(slog.NewTextHandler(f.log, nil))}
	if err := daemon.Check(c); err != nil {
		harness.Missing(t, "%v", err)
	}
	return c
}

// buildkitd finds the program that make build made, or makes it.
func buildkitd(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"bin", ".build"} {
		path := filepath.Join(root, dir, "buildkitd")
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	cmd := exec.Command(filepath.Join(root, "hack", "buildkitd.sh"), ".build")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return filepath.Join(root, ".build", "buildkitd")
}

func (f *fleet) close() (err error) {
	if f.shared != nil {
		err = f.shared.Close()
	}
	if f.dir == "" {
		return err
	}
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), f.dir) {
		return errors.Join(err, fmt.Errorf("mounts are left in %s", f.dir))
	}
	return errors.Join(err, os.RemoveAll(f.dir))
}

// lockedBuffer is what the builders say, for a test that fails.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}
