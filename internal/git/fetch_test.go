package git

import (
	"errors"
	"strings"
	"testing"
)

func TestFetchReferences(t *testing.T) {
	s, r := newServer(t), newRepo(t)
	one := r.commit("a=1")
	r.git("tag", "-am", "x", "v1")
	two := r.commit("a=2")
	r.git("branch", "v1-branch", one)
	r.git("branch", "side/line", one)
	r.git("tag", "both", one)
	r.git("branch", "both", two)
	s.publish(r, "x")
	o := s.options("x", "")
	for _, c := range []struct{ ref, sha, branch, tag string }{
		{"", two, "main", ""},
		{"HEAD", two, "main", ""},
		{"main", two, "main", ""},
		{"refs/heads/main", two, "main", ""},
		{"side/line", one, "side/line", ""},
		{"v1", one, "", "v1"},
		{"refs/tags/v1", one, "", "v1"},
		{"both", two, "both", ""},
		{one, one, "", ""},
	} {
		for range 2 { // the second time from the mirror
			o.URL.Ref = c.ref
			got, err := Fetch(t.Context(), o)
			if err != nil {
				t.Fatalf("%q: %v", c.ref, err)
			}
			if got.SHA != c.sha || got.Branch != c.branch || got.Tag != c.tag || got.Time.Unix() < 1_000_000_010 {
				t.Errorf("%q: got %+v, want %+v", c.ref, got, c)
			}
		}
	}
	for _, ref := range []string{"missing", "refs/heads/missing", one[:8], strings.Repeat("0", 40)} {
		o.URL.Ref = ref
		if _, err := Fetch(t.Context(), o); err == nil || len(ref) < 40 && !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", ref, err)
		}
	}
	// A branch that moved is fetched again; what changed is answered from history.
	three := r.commit("b=3")
	s.publish(r, "x")
	o.URL.Ref = "main"
	got, err := Fetch(t.Context(), o)
	if err != nil || got.SHA != three {
		t.Fatal(got, err)
	}
	if at, err := got.LastTouching(t.Context(), []string{"a"}); err != nil || at.Unix() != 1_000_000_020 {
		t.Errorf("a was touched at %v, %v", at, err)
	}
	o.Depth, o.Dir = 1, t.TempDir()
	if got, err = Fetch(t.Context(), o); err != nil || got.SHA != three {
		t.Errorf("shallow: %v %v", got, err)
	}
}
