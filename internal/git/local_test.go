package git

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestLocal(t *testing.T) {
	type want struct {
		branch, tag string
		dirty       bool
	}
	for _, c := range []struct {
		name   string
		change func(*repo)
		want   want
	}{
		{"branch", func(*repo) {}, want{"main", "", false}},
		{"detached", func(r *repo) { r.git("checkout", "-q", "--detach") }, want{"", "", false}},
		{"packed refs", func(r *repo) { r.git("tag", "v1"); r.git("pack-refs", "--all") }, want{"main", "v1", false}},
		{"packed annotated tag", func(r *repo) { r.git("tag", "-am", "x", "v1"); r.git("pack-refs", "--all") }, want{"main", "v1", false}},
		{"light tag", func(r *repo) { r.git("tag", "v1") }, want{"main", "v1", false}},
		{"annotated tag", func(r *repo) { r.git("tag", "-am", "x", "v1") }, want{"main", "v1", false}},
		{"highest tag", func(r *repo) { r.git("tag", "v1.9"); r.git("tag", "v1.10-rc1"); r.git("tag", "v1.10") }, want{"main", "v1.10", false}},
		{"tag of another commit", func(r *repo) { r.git("tag", "v1"); r.commit("b=2") }, want{"main", "", false}},
		{"tag moved after packing", func(r *repo) {
			r.git("tag", "v1")
			r.git("pack-refs", "--all")
			r.commit("b=2")
			r.git("tag", "-f", "v1", "HEAD")
		}, want{"main", "v1", false}},
		{"nested branch", func(r *repo) { r.git("checkout", "-q", "-b", "a/b") }, want{"a/b", "", false}},
		{"changed", func(r *repo) { r.write("a", "2") }, want{"main", "", true}},
		{"staged", func(r *repo) { r.write("a", "2"); r.git("add", "a") }, want{"main", "", true}},
		{"untracked", func(r *repo) { r.write("new", "2") }, want{"main", "", true}},
		{"ignored", func(r *repo) { r.commit(".gitignore=*.o"); r.write("x.o", "2") }, want{"main", "", false}},
		{"excluded", func(r *repo) { r.write(".git/info/exclude", "*.o\n"); r.write("x.o", "2") }, want{"main", "", false}},
		{"touched", func(r *repo) {
			if err := os.Chtimes(filepath.Join(r.dir, "a"), time.Now(), time.Now()); err != nil {
				t.Fatal(err)
			}
		}, want{"main", "", false}},
		{"no index", func(r *repo) {
			if err := os.Remove(filepath.Join(r.dir, ".git/index")); err != nil {
				t.Fatal(err)
			}
		}, want{"main", "", true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRepo(t)
			r.commit("a=1", "sub/b=1")
			c.change(r)
			for _, dir := range []string{r.dir, filepath.Join(r.dir, "sub")} {
				got, dirty, err := Local(t.Context(), dir)
				if err != nil || got == nil {
					t.Fatal(got, err)
				}
				if g := (want{got.Branch, got.Tag, dirty}); g != c.want || got.SHA != r.git("rev-parse", "HEAD") {
					t.Errorf("%s: got %+v %s, want %+v", dir, g, got.SHA, c.want)
				}
			}
		})
	}
}

func TestLocalWithout(t *testing.T) {
	for name, dir := range map[string]string{"no repository": t.TempDir(), "no commit": newRepo(t).dir} {
		if c, dirty, err := Local(t.Context(), dir); c != nil || dirty || err != nil {
			t.Errorf("%s: %v, %v, %v", name, c, dirty, err)
		}
	}
}

func TestLocalWorktree(t *testing.T) {
	r := newRepo(t)
	r.commit("a=1")
	r.git("tag", "v1")
	dir := filepath.Join(t.TempDir(), "linked")
	r.git("worktree", "add", "-q", "-b", "other", dir)
	c, dirty, err := Local(t.Context(), dir)
	if err != nil || c == nil || c.Branch != "other" || c.Tag != "v1" || dirty {
		t.Errorf("got %+v, %v, %v", c, dirty, err)
	}
}

// A repository's own configuration can name programs. None is started.
func TestLocalRunsNothing(t *testing.T) {
	r := newRepo(t)
	sha := r.commit("a=1", ".gitattributes=* filter=evil diff=evil")
	trap := filepath.Join(t.TempDir(), "sprung")
	script := filepath.Join(t.TempDir(), "evil")
	if err := os.WriteFile(script, []byte("#!/bin/sh\ntouch "+trap+"\ncat\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "diff.evil.textconv", "diff.evil.command", "diff.external", "core.pager", "core.sshCommand", "gpg.program"} {
		r.git("config", key, script)
	}
	r.git("config", "log.showSignature", "true")
	r.git("config", "core.hooksPath", filepath.Dir(script))
	r.git("config", "core.worktree", "/")
	r.write(".git/hooks/post-index-change", "#!/bin/sh\ntouch "+trap)
	r.write("a", "2")
	if _, dirty, err := Local(t.Context(), r.dir); err != nil || !dirty {
		t.Error(dirty, err)
	}
	if _, err := LastCommitTouching(t.Context(), r.dir, sha, []string{"a"}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(trap); err == nil {
		t.Error("a program of the repository was run")
	}
}

func TestLastCommitTouching(t *testing.T) {
	r := newRepo(t)
	r.commit("a=1", "src/x=1", "src/deep/y=1", "docs/z=1", "we ird\tü=1") // 10
	r.commit("a=2")                                                       // 20
	r.commit("src/deep/y=2")                                              // 30
	r.git("rm", "-q", "docs/z")
	r.commit()                // 40
	r.commit("we ird\tü=2")   // 50
	sha := r.commit("last=1") // 60
	r.commit()                // 70, nothing in it
	for _, c := range []struct {
		dir   string
		paths []string
		want  int
	}{
		{".", []string{"."}, 60},
		{".", []string{"a"}, 20},
		{".", []string{"a", "src/x"}, 20},
		{".", []string{"src/x"}, 10},
		{".", []string{"src"}, 30},
		{".", []string{"docs"}, 40},
		{".", []string{"we ird\tü"}, 50},
		{".", []string{"src/deep/y/below"}, 30}, // it was a file then
		{"src", []string{"x"}, 10},
		{"src", []string{"."}, 30},
		{".", []string{"missing"}, 0},
		{".", nil, 0},
	} {
		got, err := LastCommitTouching(t.Context(), filepath.Join(r.dir, c.dir), sha, c.paths)
		want := time.Unix(1_000_000_000+int64(c.want), 0).UTC()
		if c.want == 0 {
			want = time.Time{}
		}
		if err != nil || !got.Equal(want) {
			t.Errorf("%s in %s: %v, %v, want %v", c.paths, c.dir, got, err, want)
		}
	}
	if _, err := LastCommitTouching(t.Context(), r.dir, "--output=/tmp/x", []string{"a"}); err == nil {
		t.Error("an option passed for a commit")
	}
}

func BenchmarkLocal(b *testing.B) {
	r := newRepo(b)
	sha := r.commit("a=1", "b=2")
	b.Run("Local", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := Local(b.Context(), r.dir); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("LastCommitTouching", func(b *testing.B) {
		for b.Loop() {
			if _, err := LastCommitTouching(b.Context(), r.dir, sha, []string{"a"}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
