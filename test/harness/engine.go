//go:build linux

package harness

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Engine is a Docker Engine of the test's own: it shares nothing with one that
// the machine may run. Its methods end the test when they fail.
type Engine struct {
	tb   testing.TB
	dir  string
	args []string
	log  *logFile
	proc *process
}

// StartEngine starts dockerd and returns when it answers. It works only inside
// [Isolate], which also cleans up after it. args are more dockerd arguments.
func StartEngine(tb testing.TB, args ...string) *Engine {
	tb.Helper()
	Isolated(tb)
	Tool(tb, "dockerd")
	Tool(tb, "docker")
	dir := tempDir(tb, "dockerd-") // short: there are unix sockets inside
	if err := os.WriteFile(filepath.Join(dir, "daemon.json"), []byte("{}\n"), 0o644); err != nil {
		tb.Fatal(err)
	}
	e := &Engine{tb: tb, dir: dir, args: args, log: newLogFile(tb, "dockerd")}
	tb.Cleanup(func() {
		if e.proc != nil {
			e.Stop()
		}
		// dockerd mounts its data folder on itself and leaves it so.
		err := unix.Unmount(filepath.Join(dir, "data"), unix.MNT_DETACH)
		if err != nil && !errors.Is(err, unix.EINVAL) {
			tb.Errorf("unmounting the engine's data: %v", err)
		}
	})
	e.start()
	return e
}

// Docker returns the docker command, talking to this engine with no other
// configuration or credentials of the machine's user.
func (e *Engine) Docker(args ...string) Command {
	e.tb.Helper()
	return Command{
		Path: Tool(e.tb, "docker"),
		Args: args,
		Env: []string{
			"PATH=" + os.Getenv("PATH"),
			"HOME=" + e.dir,
			"DOCKER_HOST=unix://" + e.socket(),
			"DOCKER_CONFIG=" + filepath.Join(e.dir, "config"),
			"DOCKER_BUILDKIT=0", // the engine builds by itself, without the buildx plugin
		},
	}
}

// Stop ends the engine and its containers in order.
func (e *Engine) Stop() {
	e.tb.Helper()
	if err := e.end(syscall.SIGTERM); err != nil {
		e.tb.Errorf("dockerd after SIGTERM: %v", err)
	}
}

// Kill ends the engine with SIGKILL. Its containers go on until it starts again.
func (e *Engine) Kill() {
	e.tb.Helper()
	_ = e.end(syscall.SIGKILL) // being killed is its exit error
}

// Restart starts the engine again, after stopping it if it still runs.
func (e *Engine) Restart() {
	e.tb.Helper()
	if e.proc != nil {
		e.Stop()
	}
	e.start()
}

func (e *Engine) socket() string { return filepath.Join(e.dir, "docker.sock") }

func (e *Engine) end(sig syscall.Signal) error {
	e.tb.Helper()
	if e.proc == nil {
		e.tb.Fatal("the engine is not running")
	}
	p := e.proc
	e.proc = nil
	return p.end(sig, time.Minute)
}

func (e *Engine) start() {
	e.tb.Helper()
	cmd := exec.Command(Tool(e.tb, "dockerd"), append([]string{
		"--config-file", filepath.Join(e.dir, "daemon.json"),
		"--data-root", filepath.Join(e.dir, "data"),
		"--exec-root", filepath.Join(e.dir, "exec"),
		"--pidfile", filepath.Join(e.dir, "pid"),
		"--host", "unix://" + e.socket(),
		// systemd, if the machine has it, is outside and does not know our processes.
		"--exec-opt", "native.cgroupdriver=cgroupfs",
	}, e.args...)...)
	p, err := startProcess(cmd, e.log)
	if err != nil {
		e.tb.Fatalf("starting dockerd: %v", err)
	}
	e.proc = p
	answers := func(context.Context) error {
		_, err := e.Docker("version", "--format", "{{.Server.Version}}").Output()
		return err
	}
	if err := p.waitFor(time.Minute, answers); err != nil {
		e.tb.Fatalf("dockerd does not answer: %v", err)
	}
}
