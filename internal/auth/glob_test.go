package auth_test

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"slipway/internal/auth"
	"slipway/internal/oci"
)

func TestGlob(t *testing.T) {
	for glob, names := range map[string]struct{ yes, no string }{
		"**":           {"a a/b a/b/c", ""},
		"*":            {"a team", "a/b"},
		"team/app":     {"team/app", "team team/app/x team/apps xteam/app"},
		"team/*":       {"team/app team/x", "team team/app/x other/app"},
		"team/**":      {"team/app team/a/b/c", "team teams/app"},
		"**/app":       {"app x/app x/y/app", "apps x/app/y"},
		"a/**/b":       {"a/b a/x/b a/x/y/b a/b/b", "a b a/b/c x/a/b"},
		"a/**/b/**/c":  {"a/b/c a/x/b/y/z/c a/b/b/c", "a/c a/b a/c/b"},
		"a/**/**":      {"a/b a/b/c", "a"},
		"*-app":        {"x-app -app x-app-app", "app x-apps"},
		"a*b*c/x":      {"abc/x a1b2c/x abcbc/x", "ab/x abcd/x abc"},
		"docker.io/**": {"docker.io/library/debian", "docker.io dockerxio/a"},
	} {
		g, err := auth.ParseGlob(glob)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Fields(names.yes) {
			if !g.Match(name) {
				t.Errorf("%s does not match %s", glob, name)
			}
		}
		for _, name := range strings.Fields(names.no) {
			if g.Match(name) {
				t.Errorf("%s matches %s", glob, name)
			}
		}
		if g.Match("") != (glob == "**") {
			t.Errorf("%s matches what belongs to no repository: %v", glob, g.Match(""))
		}
	}
	if (auth.Glob{}).Match("a") || (auth.Glob{}).Match("") || (auth.TagGlob{}).Match("a") {
		t.Error("a glob that was not parsed matches")
	}
}

func TestGlobsThatCannotMatch(t *testing.T) {
	for _, s := range []string{"", "/", "a/", "/a", "a//b", "a**", "**a", "a/**b", "***", "A", "a b", "a:b", "ä", "a\nb", "a?b", "[a]", strings.Repeat("a", 256)} {
		if g, err := auth.ParseGlob(s); err == nil {
			t.Errorf("%q is a glob: %v", s, g)
		}
	}
	for _, s := range []string{"", "a/b", "-*", ".x", "a b", strings.Repeat("a", 129)} {
		if g, err := auth.ParseTagGlob(s); err == nil {
			t.Errorf("%q is a glob of tags: %v", s, g)
		}
	}
}

func TestTagGlob(t *testing.T) {
	for glob, names := range map[string]struct{ yes, no string }{
		"*":      {"a v1 _ latest", ""},
		"v*":     {"v v1 v1.2", "1 av"},
		"v*.*":   {"v1.2 v.", "v1"},
		"latest": {"latest", "latest2 Latest"},
	} {
		g, err := auth.ParseTagGlob(glob)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Fields(names.yes) {
			if !g.Match(name) {
				t.Errorf("%s does not match %s", glob, name)
			}
		}
		for _, name := range append(strings.Fields(names.no), "") {
			if g.Match(name) {
				t.Errorf("%s matches %q", glob, name)
			}
		}
	}
}

// expression says the same as a glob in other words. Every part of a name
// stands in it with the "/" after it.
func expression(glob string) *regexp.Regexp {
	parts := strings.Split(glob, "/")
	all := ""
	for i, part := range parts {
		switch {
		case part == "**" && i == len(parts)-1:
			all += `([^/]+/)+`
		case part == "**":
			all += `([^/]+/)*`
		default:
			all += strings.ReplaceAll(regexp.QuoteMeta(part), `\*`, `[^/]*`) + "/"
		}
	}
	return regexp.MustCompile(`\A` + all + `\z`)
}

func compare(t interface{ Errorf(string, ...any) }, glob, name string) {
	g, err := auth.ParseGlob(glob)
	if err != nil || oci.CheckRepository(name) != nil || len(glob) > 60 {
		return
	}
	if g.String() != glob {
		t.Errorf("%q became %q", glob, g)
	}
	if want := expression(glob).MatchString(name + "/"); g.Match(name) != want {
		t.Errorf("%q matches %q: %v, want %v", glob, name, !want, want)
	}
}

func TestGlobIsItsExpression(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		glob := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*", "**", "a*", "*b", "a*b*"}), 1, 6).Draw(t, "glob")
		name := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab", "abab"}), 1, 6).Draw(t, "name")
		compare(t, strings.Join(glob, "/"), strings.Join(name, "/"))
	})
}

func FuzzGlob(f *testing.F) {
	for _, s := range []string{"**|a/b", "a/**|a", "**/a/*|b/a/c", "a/**/b/**|a/b/c", "*a*|banana", "a/**/b|a/b/b", "**/**|a", "x/**/**/y|x/y"} {
		glob, name, _ := strings.Cut(s, "|")
		f.Add(glob, name)
	}
	f.Fuzz(func(t *testing.T, glob, name string) { compare(t, glob, name) })
}
