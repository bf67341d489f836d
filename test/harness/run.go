//go:build linux

package harness

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// CommandTimeout is how long one client command may take. A client that waits
// for ever is a failure with a name, not a test run that times out.
const CommandTimeout = 3 * time.Minute

// Run runs a program and returns what it wrote to stdout, without surrounding
// space. The test ends if the program fails; the message has its output.
func Run(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	return Command{Path: name, Args: args}.Run(tb)
}

// Command is a client program to run in a test.
type Command struct {
	Path  string
	Args  []string
	Env   []string // the whole environment; nil: the test's own
	Dir   string   // working folder; empty: the test's own
	Stdin []byte
}

// With returns a copy of c with more arguments.
func (c Command) With(args ...string) Command {
	c.Args = append(append([]string(nil), c.Args...), args...)
	return c
}

// Run runs c and returns its stdout, without surrounding space. The test ends
// if the program fails.
func (c Command) Run(tb testing.TB) string {
	tb.Helper()
	out, err := c.Output()
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// Output runs c and returns its stdout, without surrounding space. An error
// holds the command line and everything that the program wrote.
func (c Command) Output() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), CommandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Env, cmd.Dir = c.Env, c.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if c.Stdin != nil {
		cmd.Stdin = bytes.NewReader(c.Stdin)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("still running after %v", CommandTimeout)
		}
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return strings.TrimSpace(stdout.String()), nil
}
