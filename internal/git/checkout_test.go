package git

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCheckout(t *testing.T) {
	s, r := newServer(t), newRepo(t)
	r.commit("a=1", "bin/run=#!", "empty=", ".gitattributes=* text eol=crlf filter=evil ident", "id=$Id$\n", "ü b=x")
	r.git("update-index", "--chmod=+x", "bin/run")
	if err := os.Symlink("../a", filepath.Join(r.dir, "bin/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(r.dir, "bin/run"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.commit()
	s.publish(r, "x")
	got, err := checkout(t, s.options("x", "#:bin"))
	want := []string{".gitattributes 644 * text eol=crlf filter=evil ident", "a 644 1", "bin/link -> ../a", "bin/run 755 #!", "empty 644 ", "id 644 $Id$\n", "ü b 644 x"}
	slices.Sort(want)
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
	o := s.options("x", "")
	o.MaxEntries = 3
	if _, err := checkout(t, o); !errors.Is(err, ErrHostile) {
		t.Errorf("entries: %v", err)
	}
	o = s.options("x", "")
	o.MaxBytes = 20
	if _, err := checkout(t, o); !errors.Is(err, ErrHostile) {
		t.Errorf("bytes: %v", err)
	}
}

// tree makes a commit of a tree that git itself would not make: "mode path
// content" for each entry, a path with slashes making folders.
func (r *repo) tree(entries ...string) {
	r.t.Helper()
	r.treeAt("HEAD", entries...)
}

func (r *repo) treeAt(ref string, entries ...string) {
	r.t.Helper()
	r.git("update-ref", ref, r.git("commit-tree", "-m", "hostile", r.mktree("", entries)))
}

func (r *repo) mktree(prefix string, entries []string) string {
	r.t.Helper()
	var lines strings.Builder
	seen := map[string]bool{}
	for _, e := range entries {
		parts := strings.SplitN(e, "|", 3)
		rest, ok := strings.CutPrefix(parts[1], prefix)
		if !ok {
			continue
		}
		name, _, folder := strings.Cut(rest, "/")
		switch {
		case folder && !seen[name]:
			seen[name] = true
			fmt.Fprintf(&lines, "040000 tree %s\t%s\x00", r.mktree(prefix+name+"/", entries), name)
		case !folder && parts[0] == "160000":
			fmt.Fprintf(&lines, "160000 commit %s\t%s\x00", parts[2], name)
		case !folder:
			fmt.Fprintf(&lines, "%s blob %s\t%s\x00", parts[0], r.input(parts[2], "hash-object", "-w", "--stdin"), name)
		}
	}
	return r.input(lines.String(), "mktree", "-z", "--missing")
}

func TestCheckoutRefusesHostileTrees(t *testing.T) {
	hostile := map[string][]string{
		"dot git":              {"100644|.git|x"},
		"dot git folder":       {"100644|.git/config|x"},
		"deeper":               {"100644|a/b/.git/config|x"},
		"upper case":           {"100644|.GIT/config|x"},
		"short name":           {"100644|git~1/config|x"},
		"trailing dot":         {"100644|.git./config|x"},
		"trailing space":       {"100644|.git /config|x"},
		"stream":               {"100644|.git::$INDEX_ALLOCATION/config|x"},
		"ignorable":            {"100644|.g\u200cit/config|x"},
		"backslash":            {`100644|a\.git\config|x`},
		"dot dot":              {"100644|../x|x"},
		"dot":                  {"100644|./x|x"},
		"absolute link":        {"120000|a|/etc/passwd"},
		"link up":              {"120000|a|.."},
		"link up later":        {"120000|d/a|x/../../../b"},
		"through another link": {"120000|a/b/s|../..", "120000|x|a/b/s/../y"},
		"empty link":           {"120000|a|"},
		"file through a link":  {"120000|a|b", "100644|a/x|x"},
		"long link":            {"120000|a|" + strings.Repeat("x", 5000)},
	}
	harmless := map[string][]string{
		"inside":         {"120000|a/l|../b", "100644|b|x"},
		"circle":         {"120000|a|b", "120000|b|a"},
		"dangling":       {"120000|a|nowhere/x"},
		"named as git":   {"100644|.gitignore|x", "100644|git|x", "100644|x.git/y|x"},
		"up and in":      {"120000|a/b/l|../../c", "100644|c|x"},
		"link to folder": {"120000|l|a", "100644|a/x|x", "120000|m|l/x"},
	}
	s, r := newServer(t), newRepo(t)
	r.commit()
	for name, tree := range hostile {
		r.treeAt("refs/heads/"+strings.ReplaceAll(name, " ", "-"), tree...)
	}
	for name, tree := range harmless {
		r.treeAt("refs/heads/"+strings.ReplaceAll(name, " ", "-"), tree...)
	}
	s.publish(r, "x")
	o := s.options("x", "")
	for name := range hostile {
		t.Run(name, func(t *testing.T) {
			o.URL.Ref = strings.ReplaceAll(name, " ", "-")
			c, err := Fetch(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			outside := t.TempDir()
			err = c.Checkout(t.Context(), filepath.Join(outside, "out"))
			if err == nil || !errors.Is(err, ErrHostile) && name != "file through a link" {
				t.Errorf("got %v", err)
			}
			names, _ := os.ReadDir(outside)
			if len(names) > 1 {
				t.Errorf("written outside: %v", names)
			}
		})
	}
	for name, tree := range harmless {
		t.Run(name, func(t *testing.T) {
			o.URL.Ref = strings.ReplaceAll(name, " ", "-")
			if got, err := checkout(t, o); err != nil || len(got) != len(tree) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
