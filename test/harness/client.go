//go:build linux

package harness

import (
	"bytes"
	"errors"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Client is a command of slipway that runs in the background.
type Client struct {
	tb     testing.TB
	cmd    *exec.Cmd
	stdout buffer
	stderr buffer
	exited chan struct{}
}

// buffer may be read while the process writes.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Go starts a command of the program under test, which is killed when the test
// ends. An empty Path is [Binary]; the environment is free of what configures
// slipway, with c.Env added.
func (c Command) Go(tb testing.TB) *Client {
	tb.Helper()
	if c.Path == "" {
		c.Path = Binary(tb)
	}
	p := &Client{tb: tb, cmd: exec.Command(c.Path, c.Args...), exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = c.Dir, append(environ(), c.Env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if c.Stdin != nil {
		p.cmd.Stdin = bytes.NewReader(c.Stdin)
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // Exit reads the state
		close(p.exited)
	}()
	tb.Cleanup(func() {
		p.Signal(syscall.SIGKILL)
		<-p.exited
	})
	return p
}

// Signal sends a signal; a process that is gone does not mind.
func (p *Client) Signal(sig syscall.Signal) {
	select {
	case <-p.exited:
	default:
		_ = p.cmd.Process.Signal(sig) // it may end just now
	}
}

// Exit waits and returns the exit code, -1 for a signal. The test ends if the
// command does not.
func (p *Client) Exit() int {
	p.tb.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(CommandTimeout):
		p.tb.Fatalf("%v: still running after %v\n%s", p.cmd.Args, CommandTimeout, p.Stderr())
		return -1
	}
}

// Stdout is what it wrote so far.
func (p *Client) Stdout() string { return p.stdout.String() }

// Stderr is what it wrote so far.
func (p *Client) Stderr() string { return p.stderr.String() }

// Until waits for a condition, and ends the test if it does not come true.
func Until(tb testing.TB, what string, limit time.Duration, probe func() error) {
	tb.Helper()
	err := errors.New("")
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = probe(); err == nil {
			return
		}
	}
	tb.Fatalf("not within %v: %s: %v", limit, what, err)
}
