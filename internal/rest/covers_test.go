package rest

import (
	"testing"

	"pgregory.net/rapid"

	"slipway/internal/auth"
)

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		outer, inner string
		want         bool
	}{
		{"**", "**", true}, {"**", "a", true}, {"a", "a", true}, {"a", "b", false}, {"a", "**", false}, {"a/**", "a", false}, {"a/**", "a/b", true},
		{"a/**", "a/**", true}, {"a/**", "a/b/**", true}, {"a/**", "a/**/b", true}, {"a/**", "ab/**", false}, {"a/*", "a/**", false}, {"a/*", "a/b*", true},
		{"a/b*", "a/*", false}, {"**/a", "b/a", true}, {"**/a", "**/a", true}, {"**/a", "**/b/a", false}, {"a*/**", "ab/**", false}, {"a/*", "a/b/c", false},
	} {
		if got := covers(auth.MustGlob(c.outer), auth.MustGlob(c.inner)); got != c.want {
			t.Errorf("%s covers %s: %v, want %v", c.outer, c.inner, got, c.want)
		}
	}
}

// If a glob covers another one, it matches every name that the other matches.
func TestCoversIsSafe(t *testing.T) {
	glob := rapid.Custom(func(t *rapid.T) auth.Glob {
		s := ""
		for i, n := 0, rapid.IntRange(1, 4).Draw(t, "parts"); i < n; i++ {
			if i > 0 {
				s += "/"
			}
			s += rapid.SampledFrom([]string{"a", "b", "ab", "*", "**", "a*", "*b", "*a*"}).Draw(t, "part")
		}
		return auth.MustGlob(s)
	})
	rapid.Check(t, func(t *rapid.T) {
		outer, inner := glob.Draw(t, "outer"), glob.Draw(t, "inner")
		name := rapid.StringMatching(`[ab]{1,3}(/[ab]{1,3}){0,4}`).Draw(t, "name")
		if covers(outer, inner) && inner.Match(name) && !outer.Match(name) {
			t.Fatalf("%s covers %s, and only the latter matches %s", outer, inner, name)
		}
	})
}
