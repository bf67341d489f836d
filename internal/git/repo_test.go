package git

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// repo is a working folder, driven by the real git.
type repo struct {
	t   testing.TB
	dir string
	now int // seconds, the time of the next commit
}

func newRepo(t testing.TB) *repo {
	t.Helper()
	r := &repo{t, t.TempDir(), 1_000_000_000}
	r.git("init", "-q", "-b", "main")
	return r
}

func (r *repo) git(args ...string) string { r.t.Helper(); return r.input("", args...) }

func (r *repo) input(stdin string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = r.dir
	cmd.Stdin = strings.NewReader(stdin)
	when := "2001-09-09T01:46:40Z"
	if r.now > 0 {
		when = "@" + itoa(r.now) + " +0000"
	}
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "HOME=/nonexistent",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
		"GIT_AUTHOR_DATE="+when, "GIT_COMMITTER_DATE="+when, "GIT_ALLOW_PROTOCOL=file:http")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func itoa(n int) string {
	s := ""
	for ; n > 0; n /= 10 {
		s = string(rune('0'+n%10)) + s
	}
	return s
}

// write writes a file; "" as content removes it.
func (r *repo) write(path, content string) {
	r.t.Helper()
	full := filepath.Join(r.dir, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// commit commits everything, ten seconds after the last one.
func (r *repo) commit(files ...string) string {
	r.t.Helper()
	for _, f := range files {
		path, content, _ := strings.Cut(f, "=")
		r.write(path, content)
	}
	r.now += 10
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "-m", "change")
	return r.git("rev-parse", "HEAD")
}
