package git

import (
	"errors"
	"strings"
	"testing"
)

func TestSubmodules(t *testing.T) {
	s := newServer(t)
	inner, middle, outer := newRepo(t), newRepo(t), newRepo(t)
	id := inner.commit("deep=1")
	s.publish(inner, "inner")
	gitmodules := func(path, url string) string {
		return "100644|.gitmodules|[submodule \"x\"]\n\tpath = " + path + "\n\turl = " + url + "\n"
	}
	middle.commit()
	middle.tree(gitmodules("in", "../inner.git"), "160000|in|"+id, "100644|m|2")
	s.publish(middle, "middle")
	outer.commit()
	mid := middle.git("rev-parse", "HEAD")
	outer.tree(gitmodules("lib/mid", s.URL+"/middle.git"), "160000|lib/mid|"+mid)
	s.publish(outer, "outer")
	o := s.options("outer", "")
	got, err := checkout(t, o)
	if err != nil || !strings.Contains(strings.Join(got, "\n"), "lib/mid/in/deep 644 1") || !strings.Contains(strings.Join(got, "\n"), "lib/mid/m 644 2") {
		t.Errorf("got %q, %v", got, err)
	}
	o.MaxNesting = 1
	if _, err := checkout(t, o); !errors.Is(err, ErrSubmodule) || !strings.Contains(err.Error(), "lib/mid/in") {
		t.Errorf("nesting: %v", err)
	}
	for name, c := range map[string]struct {
		tree []string
		says string
	}{
		"unreachable":   {[]string{gitmodules("m", s.URL+"/missing.git"), "160000|m|" + id}, "m: fetch " + s.URL + "/missing.git"},
		"no address":    {[]string{"160000|m|" + id}, "m: .gitmodules has no address"},
		"local":         {[]string{gitmodules("m", s.root+"/inner.git"), "160000|m|" + id}, "m: "},
		"ext":           {[]string{gitmodules("m", "ext::sh -c id"), "160000|m|" + id}, "m: "},
		"file":          {[]string{gitmodules("m", "file://"+s.root+"/inner.git"), "160000|m|" + id}, "m: "},
		"option":        {[]string{gitmodules("m", "--upload-pack=id"), "160000|m|" + id}, "m: "},
		"above":         {[]string{gitmodules("m", "../../../../../x"), "160000|m|" + id}, "m: "},
		"name dotdot":   {[]string{gitmodules("../m", s.URL+"/inner.git"), "160000|m|" + id}, "m: .gitmodules has no address"},
		"other commit":  {[]string{gitmodules("m", s.URL+"/inner.git"), "160000|m|" + strings.Repeat("1", 40)}, "m: fetch"},
		"too many":      {[]string{gitmodules("m", s.URL+"/inner.git"), "160000|m|" + id, "160000|n|" + id}, "n: "},
		"link into it":  {[]string{gitmodules("m", s.URL+"/inner.git"), "160000|m|" + id, "120000|l|m/../../x"}, "l: it links to"},
		"itself in git": {[]string{gitmodules(".git", s.URL+"/inner.git"), "160000|.git|" + id}, ".git: it would be taken"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepo(t)
			r.commit()
			r.tree(c.tree...)
			s.publish(r, "bad")
			if _, err := checkout(t, s.options("bad", "")); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}
