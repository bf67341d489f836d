//go:build linux

package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a daemon that a test started.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone
	err    error         // its exit; read after exited is closed
}

// startProcess runs cmd with its output in log. The kernel kills it if the
// test's own process dies first.
func startProcess(cmd *exec.Cmd, log *logFile) (*process, error) {
	f, err := os.OpenFile(log.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the child has its own descriptor
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, exited: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// exit describes the end of a process that is gone.
func (p *process) exit() string {
	<-p.exited
	return p.cmd.ProcessState.String()
}

// waitFor calls probe until it succeeds, the process exits or the time is over.
func (p *process) waitFor(limit time.Duration, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("it exited: %s", p.exit())
		case <-ctx.Done():
			return fmt.Errorf("after %v: %w", limit, err)
		case <-tick.C:
		}
	}
}

// end sends a signal and returns the process's exit: nil for code 0. A process
// that is still there after the limit is killed, which is an error.
func (p *process) end(sig syscall.Signal, limit time.Duration) error {
	select {
	case <-p.exited:
		return fmt.Errorf("it had already exited: %s", p.exit())
	default:
	}
	if err := p.cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return p.err
	case <-time.After(limit):
		_ = p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("still running %v after %v; killed", limit, sig)
	}
}

// logFile collects a daemon's output over its restarts.
type logFile struct{ path string }

// newLogFile makes a log that is printed at the test's end if it failed.
func newLogFile(tb testing.TB, title string) *logFile {
	tb.Helper()
	l := &logFile{path: filepath.Join(tempDir(tb, "slipway-log-"), "log")}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("log of %s:\n%s", title, l.tail(200))
		}
	})
	return l
}

func (l *logFile) String() string {
	b, err := os.ReadFile(l.path)
	if err != nil {
		return ""
	}
	return string(b)
}

func (l *logFile) tail(lines int) string {
	all := strings.Split(l.String(), "\n")
	if len(all) > lines {
		return fmt.Sprintf("(%d lines left out)\n%s", len(all)-lines, strings.Join(all[len(all)-lines:], "\n"))
	}
	return strings.Join(all, "\n")
}
