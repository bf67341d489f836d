package bake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// child is a process that reads one project. It waits for its Task, and ends by
// itself once it has answered or its input ends without one.
type child struct {
	mode           Isolation
	cmd            *exec.Cmd
	stdin          io.WriteCloser
	stdout, stderr *capped
	waited         bool          // it was started ahead
	done           chan struct{} // closed when it has ended
	err            error         // how; read after done is closed
}

// startError says that a child could not be started in its isolation.
type startError struct{ error }

func (e startError) Unwrap() error { return e.error }

// errGone says that a child that waited had ended before it began to read.
var errGone = errors.New("the reader of the project has ended")

// start starts a child that waits for its task.
func start(mode Isolation) (*child, error) {
	path, err := program()
	if err != nil {
		return nil, err
	}
	c := &child{
		mode: mode, cmd: exec.Command(path), done: make(chan struct{}),
		stdout: &capped{most: maxAnswer}, stderr: &capped{most: 16 << 10},
	}
	c.cmd.Env = []string{} // not nil, which would be this process's
	c.cmd.Stdout, c.cmd.Stderr = c.stdout, c.stderr
	c.cmd.WaitDelay = time.Second
	confine(c.cmd, mode)
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start the reader of the project: %w", err)
	}
	started := make(chan error)
	go func() {
		// The kernel ends a child with the thread that started it, rather than
		// with the process: the thread stays for as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.err = c.cmd.Wait()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, startError{fmt.Errorf("start the reader of the project: %w", err)}
	}
	return c, nil
}

// alive says whether the child still waits.
func (c *child) alive() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// end ends a child that waits.
func (c *child) end() {
	_ = c.cmd.Process.Kill() // it may have ended by itself
	<-c.done
}

// outOfMemory is how Go and the C library end at the limit of memory, which
// also thread stacks can be the first to meet.
var outOfMemory = regexp.MustCompile(`out of memory|cannot allocate memory|pthread_create failed|failed to create new OS thread`)

// ask hands the child its task, the only one it ever gets, and waits for the
// answer. The child is gone when it returns.
func (c *child) ask(ctx context.Context, t Task, timeout time.Duration) (*Answer, error) {
	defer context.AfterFunc(ctx, func() { _ = c.cmd.Process.Kill() })()
	input, err := json.Marshal(t)
	if err == nil {
		_, err = c.stdin.Write(input) // where it has ended, how it did says more
		err = errors.Join(err, c.stdin.Close())
	}
	unread := err != nil
	<-c.done
	place := Position{File: strings.Join(t.Files, ", ")}
	ended := c.cmd.ProcessState
	processor := ended.UserTime() + ended.SystemTime()
	signalled := c.err != nil && ended.ExitCode() < 0
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, &Error{place, fmt.Sprintf("took longer than %s to evaluate: does it, or what it includes, expand without end?", timeout)}
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case c.stdout.over:
		return nil, &Error{place, fmt.Sprintf("describes more than %d MiB of targets: does it expand without end?", maxAnswer>>20)}
	case c.err != nil && outOfMemory.MatchString(c.stderr.String()):
		return nil, &Error{place, "needs more memory than a project may: does it, or what it includes, expand without end?"}
	case c.waited && (unread || signalled && processor < ChildSeconds*time.Second/2):
		return nil, errGone
	case signalled:
		return nil, &Error{place, fmt.Sprintf("could not be evaluated within %d s of processor time: does it expand without end?", ChildSeconds)}
	case c.err != nil:
		first, _, _ := strings.Cut(strings.TrimSpace(c.stderr.String()), "\n")
		return nil, &Error{place, fmt.Sprintf("could not be read: the reader ended with %v: %s", c.err, first)}
	}
	var a Answer
	if err := json.Unmarshal(c.stdout.Bytes(), &a); err != nil {
		return nil, fmt.Errorf("read the project: the reader's answer: %w", err)
	}
	return &a, nil
}

// capped keeps what is written up to a size, and fails the writer beyond.
type capped struct {
	bytes.Buffer
	most int
	over bool
}

func (c *capped) Write(p []byte) (int, error) {
	if c.Len()+len(p) > c.most {
		c.over = true
		return 0, io.ErrShortWrite
	}
	return c.Buffer.Write(p)
}
