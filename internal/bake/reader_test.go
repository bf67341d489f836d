package bake

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"slipway/test/harness"
)

// numbered is a project that says which one it is.
func numbered(t *testing.T, n int) string {
	t.Helper()
	return project(t, map[string]string{
		"Dockerfile":      "FROM scratch",
		"docker-bake.hcl": fmt.Sprintf("target \"default\" { args = { N = \"%d\" } }\n", n),
	})
}

// waiting waits for the child that is kept ready.
func waiting(t *testing.T, r *Reader) *child {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		r.mu.Lock()
		c := r.idle
		r.mu.Unlock()
		if c != nil {
			return c
		}
	}
	t.Fatal("no child is started ahead")
	return nil
}

func mustRead(t *testing.T, r *Reader, n int) {
	t.Helper()
	p, err := r.Read(t.Context(), Request{Dir: numbered(t, n)})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Targets["default"].Args["N"]; got != fmt.Sprint(n) {
		t.Errorf("project %d is read as %s", n, got)
	}
}

func TestReaderKeepsOneChild(t *testing.T) {
	r := &Reader{}
	defer r.Close()
	if _, err := r.Read(t.Context(), Request{Dir: project(t, map[string]string{"Dockerfile": "FROM scratch"})}); err != nil {
		t.Fatal(err)
	}
	if r.next != nil {
		t.Error("a child is started for a plain Dockerfile")
	}
	used := map[*child]bool{}
	for n := range 3 {
		mustRead(t, r, n)
		c := waiting(t, r)
		if used[c] {
			t.Error("a child is kept that had a task")
		}
		used[c] = true
		if !c.alive() {
			t.Errorf("the child that waits has ended: %v, %s", c.err, c.stderr.String())
		}
	}
	last := waiting(t, r)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if last.alive() {
		t.Error("the child is left after Close")
	}
	mustRead(t, r, 9)
	if r.idle != nil {
		t.Error("a child is kept after Close")
	}
}

// The project that is read is the one that is asked for, also when it comes to
// be while the child waits, and when several ask.
func TestReaderSideBySide(t *testing.T) {
	r := &Reader{}
	defer r.Close()
	var group sync.WaitGroup
	for n := range 6 {
		group.Go(func() { mustRead(t, r, n) })
	}
	group.Wait()
	waiting(t, r)
	mustRead(t, r, 7)
}

func TestReaderAfterItsChildDied(t *testing.T) {
	for name, strike := range map[string]func(t *testing.T, c *child){
		"before": func(_ *testing.T, c *child) { c.end() },
		// The kernel may end it between the look whether it lives and its task.
		"while it is asked": func(t *testing.T, c *child) {
			if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(50*time.Millisecond, func() { _ = c.cmd.Process.Kill() })
		},
		"of itself": func(_ *testing.T, c *child) { _ = c.stdin.Close(); <-c.done },
	} {
		t.Run(name, func(t *testing.T) {
			r := &Reader{}
			defer r.Close()
			mustRead(t, r, 1)
			first := waiting(t, r)
			strike(t, first)
			mustRead(t, r, 2)
		})
	}
}

// A child that was started ahead sees what was mounted since.
func TestReaderSeesLaterMounts(t *testing.T) {
	if os.Geteuid() != 0 {
		harness.Missing(t, "root, who alone mounts")
	}
	r := &Reader{}
	defer r.Close()
	mustRead(t, r, 1)
	waiting(t, r)
	dir := t.TempDir()
	if err := syscall.Mount(numbered(t, 2), dir, "", syscall.MS_BIND, ""); err != nil {
		harness.Missing(t, "a machine that lets it mount: %v", err)
	}
	p, err := r.Read(t.Context(), Request{Dir: dir})
	if err := syscall.Unmount(dir, 0); err != nil {
		t.Error(err)
	}
	if err != nil || p.Targets["default"].Args["N"] != "2" {
		t.Errorf("the project is %+v, %v", p, err)
	}
}

func TestReaderCancelled(t *testing.T) {
	r := &Reader{}
	defer r.Close()
	mustRead(t, r, 1)
	waiting(t, r)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Read(ctx, Request{Dir: numbered(t, 2)}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	_, err := r.Read(t.Context(), Request{Dir: project(t, map[string]string{"docker-bake.hcl": doubling(40)}), Timeout: time.Minute})
	if err == nil || !strings.Contains(err.Error(), "expand without end") {
		t.Errorf("error is %v", err)
	}
}

func TestProgramIsMissing(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct{ variable, path, says string }{
		"nowhere":        {"", dir, "neither beside"},
		"named wrongly":  {filepath.Join(dir, "none"), "", filepath.Join(dir, "none")},
		"named a folder": {dir, "", dir},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(ProgramVariable, test.variable)
			t.Setenv("PATH", test.path)
			_, err := Read(t.Context(), Request{Dir: numbered(t, 1)})
			var ofProject *Error
			if err == nil || errors.As(err, &ofProject) || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), Program) {
				t.Errorf("error is %v", err)
			}
			if _, err := Read(t.Context(), Request{Dir: project(t, map[string]string{"Dockerfile": "FROM scratch"})}); err != nil {
				t.Errorf("a plain Dockerfile needs it: %v", err)
			}
		})
	}
}

func TestProgramInPath(t *testing.T) {
	t.Setenv("PATH", filepath.Dir(os.Getenv(ProgramVariable)))
	t.Setenv(ProgramVariable, "")
	mustRead(t, &Reader{closed: true}, 1)
}

func TestOtherRelease(t *testing.T) {
	a, err := askOnce(t.Context(), Task{Version: TaskVersion + 1, Root: numbered(t, 1), Mode: IsolateChecks}, start)
	if err != nil || a.OtherVersion != TaskVersion || a.Project != nil {
		t.Errorf("answer is %+v, %v", a, err)
	}
}
