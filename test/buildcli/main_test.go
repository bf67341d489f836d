//go:build linux

package buildcli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"slipway/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.IsolateBuilder(m)) }

// start runs a server that builds and that asks no upstream.
func start(t *testing.T, args ...string) *harness.Server {
	t.Helper()
	harness.Isolated(t)
	return harness.StartBuilder(t, harness.Options{Args: append([]string{"--log.access=false", "--mirror.offline"}, args...)})
}

// files are a folder's, by path. A path that ends in / is a folder; a content that
// begins with "-> " a symbolic link.
type files map[string]string

// folder makes a folder of a name, which becomes the project's.
func folder(t *testing.T, name string, list files) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	change(t, dir, list)
	return dir
}

func change(t *testing.T, dir string, list files) {
	t.Helper()
	for path, content := range list {
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, link := strings.CutPrefix(content, "-> "); link {
			err = os.Symlink(target, full)
		} else if strings.HasSuffix(path, "/") {
			err = os.MkdirAll(full, 0o755)
		} else {
			err = os.WriteFile(full, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// result is what a command came to.
type result struct {
	t              *testing.T
	code           int
	stdout, stderr string
}

// slipway runs a command.
func slipway(t *testing.T, args ...string) result {
	t.Helper()
	return command(t, nil, args...)
}

func command(t *testing.T, env []string, args ...string) result {
	t.Helper()
	c := harness.Command{Args: args, Env: env}.Go(t)
	r := result{t: t, code: c.Exit()}
	r.stdout, r.stderr = c.Stdout(), c.Stderr()
	return r
}

// want checks the exit code, and that each pattern is in what was said. A pattern
// that begins with ! must not be there.
func (r result) want(code int, patterns ...string) result {
	r.t.Helper()
	if r.code != code {
		r.t.Errorf("exit code %d, want %d", r.code, code)
	}
	said := r.stdout + r.stderr
	for _, p := range patterns {
		p, not := strings.CutPrefix(p, "!")
		if regexp.MustCompile("(?m)"+p).MatchString(said) == not {
			r.t.Errorf("/%s/ is there: %t", p, not)
		}
	}
	if r.t.Failed() {
		r.t.Logf("it said:\n%s%s", r.stdout, r.stderr)
	} else if code != 0 {
		r.t.Logf("it said: %s", lastLine(r.stderr))
	}
	return r
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
