package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// settings is configuration for one git process, as "key", "value" pairs. It
// is passed in the environment, where other users of the machine cannot see it.
type settings [][2]string

// basic is what every git process is told, over whatever a repository says.
var basic = settings{
	{"core.hooksPath", os.DevNull},
	{"core.fsmonitor", "false"},
	{"core.askPass", ""},
	{"credential.helper", ""},
	{"protocol.allow", "never"}, // and then the ones that are allowed
	{"submodule.recurse", "false"},
	{"fetch.recurseSubmodules", "false"},
	{"gc.autoDetach", "false"}, // or it would outlive us
	{"http.followRedirects", "false"},
	{"advice.detachedHead", "false"},
}

// call is one git process.
type call struct {
	args     []string
	env      []string // in addition to the clean environment
	settings settings
	stdin    io.Reader
	secrets  []string // struck out of what git says
}

// grace is how long the output of a killed process is waited for.
const grace = 5 * time.Second

// maxStderr bounds what is kept of what git says, in bytes.
const maxStderr = 16 << 10

// command prepares the process. It and its children form a group that is
// killed as a whole when ctx ends.
func (c call) command(ctx context.Context) (*exec.Cmd, *tail) {
	cmd := exec.CommandContext(ctx, "git", c.args...)
	cmd.Env = append(environment(append(basic[:len(basic):len(basic)], c.settings...)), c.env...)
	cmd.Stdin = c.stdin
	cmd.WaitDelay = grace
	ownGroup(cmd)
	stderr := &tail{}
	cmd.Stderr = stderr
	return cmd, stderr
}

// run runs git and returns what it wrote.
func (c call) run(ctx context.Context) ([]byte, error) {
	cmd, stderr := c.command(ctx)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := c.fail(ctx, cmd.Run(), stderr); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Error is a git command that failed.
type Error struct {
	Command string // such as "fetch"
	Says    string // what git wrote, without secrets and control characters
	err     error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Says == "" {
		return fmt.Sprintf("git %s: %v", e.Command, e.err)
	}
	return fmt.Sprintf("git %s: %s", e.Command, e.Says)
}

// Unwrap is how the process ended.
func (e *Error) Unwrap() error { return e.err }

func (c call) fail(ctx context.Context, err error, stderr *tail) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("git is needed to read repositories and is not installed: %w", err)
	}
	name := ""
	for _, a := range c.args {
		if !strings.HasPrefix(a, "-") {
			name = a
			break
		}
	}
	return &Error{name, c.say(stderr.String()), err}
}

// say makes what git wrote fit for people's eyes.
func (c call) say(text string) string {
	for _, secret := range c.secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.Map(visible, strings.TrimSpace(strings.ReplaceAll(line, "\t", " ")))
		if line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}

// environment is the clean one: nothing of the caller's reaches git but where
// programs and temporary files are.
func environment(s settings) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + os.DevNull, "XDG_CONFIG_HOME=" + os.DevNull, "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_SYSTEM=" + os.DevNull, "GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_ATTR_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0", "GIT_LITERAL_PATHSPECS=1",
		"GIT_NO_REPLACE_OBJECTS=1", "GIT_ADVICE=0",
		"GIT_CONFIG_COUNT=" + strconv.Itoa(len(s)),
	}
	for _, name := range []string{"TMPDIR", "SYSTEMROOT", "TEMP"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	for i, kv := range s {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, kv[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, kv[1]))
	}
	return env
}

// tail keeps the last bytes that are written to it.
type tail struct{ bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > maxStderr {
		p = p[len(p)-maxStderr:]
	}
	if over := t.Len() + len(p) - maxStderr; over > 0 {
		t.Next(over)
	}
	t.Buffer.Write(p)
	return n, nil
}
