package oci_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode"

	"slipway/internal/oci"
)

// The specification's patterns, written out again so that a slip in one of
// the two is seen.
var (
	nameOfSpec = regexp.MustCompile(`\A[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*\z`)
	tagOfSpec  = regexp.MustCompile(`\A[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\z`)
)

var names = map[string]bool{
	"a": true, "0": true, "app": true, "a/b": true, "a/b/c/d/e/f": true, "a.b": true, "a_b": true, "a__b": true, "a-b": true, "a---b": true,
	"a1/2b": true, "library/ubuntu": true, "x.y-z__w/q": true, strings.Repeat("a", 255): true, strings.Repeat("a/", 127) + "a": true,
	// Words of the API's own paths are names like others.
	"blobs": true, "blobs/uploads": true, "tags/list": true, "manifests": true,

	"": false, "/": false, "/a": false, "a/": false, "a//b": false, ".": false, "..": false, "a/..": false, "../a": false, "a/./b": false,
	"A": false, "aB": false, "-a": false, "a-": false, ".a": false, "a.": false, "_a": false, "a_": false, "a..b": false, "a___b": false, "a._b": false, "a.-b": false, "a-_b": false,
	"a b": false, "a\x00b": false, "a\nb": false, "a\n": false, "\na": false, "a\\b": false, "a:b": false, "a@b": false, "a+b": false, "a%2fb": false, "ä": false, "a\u202eb": false,
	"\xff": false, "а": false /* Cyrillic */, strings.Repeat("a", 256): false, strings.Repeat("a/", 128): false,
}

func TestCheckRepository(t *testing.T) {
	for name, want := range names {
		if err := oci.CheckRepository(name); (err == nil) != want {
			t.Errorf("%.40q: %v, want valid: %v", name, err, want)
		} else if err != nil && !oci.HasCode(err, oci.CodeNameInvalid) {
			t.Errorf("%.40q: %v, want NAME_INVALID", name, err)
		}
	}
}

var tags = map[string]bool{
	"v1": true, "latest": true, "_": true, "0": true, "A": true, "v1.2-rc_3": true, "a..b": true, "a--": true, strings.Repeat("a", 128): true, "sha256-" + strings.Repeat("a", 64): true,
	"": false, ".": false, "..": false, "-": false, ".v1": false, "-v1": false, "v 1": false, "v/1": false, "v1\n": false, "v1\x00": false, "v+1": false, "ä": false, "\xff": false, strings.Repeat("a", 129): false, "v:1": false, "v@1": false,
}

func TestTags(t *testing.T) {
	for tag, want := range tags {
		if got := oci.ValidTag(tag); got != want {
			t.Errorf("ValidTag(%.40q): %v, want %v", tag, got, want)
		}
		if err := oci.CheckTag(tag); (err == nil) != want || (err != nil && !oci.HasCode(err, oci.CodeTagInvalid)) {
			t.Errorf("CheckTag(%.40q): %v, want valid: %v", tag, err, want)
		}
	}
}

func TestParseReference(t *testing.T) {
	d := "sha256:" + strings.Repeat("a", 64)
	for s, want := range map[string]oci.Reference{"v1": {Tag: "v1"}, d: {Digest: oci.Digest(d)}, "sha256-" + strings.Repeat("a", 64): {Tag: "sha256-" + strings.Repeat("a", 64)}} {
		if got, err := oci.ParseReference(s); err != nil || got != want || got.String() != s {
			t.Errorf("%q: %+v (%q), %v", s, got, got.String(), err)
		}
	}
	for s, code := range map[string]oci.Code{"": oci.CodeTagInvalid, "v/1": oci.CodeTagInvalid, "sha256:x": oci.CodeDigestInvalid, ":": oci.CodeDigestInvalid, "v1:": oci.CodeDigestInvalid, d + "\n": oci.CodeDigestInvalid} {
		if _, err := oci.ParseReference(s); !oci.HasCode(err, code) {
			t.Errorf("%q: %v, want %s", s, err, code)
		}
	}
}

func FuzzCheckRepository(f *testing.F) {
	for name := range names {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		err := oci.CheckRepository(name)
		if (err == nil) != (nameOfSpec.MatchString(name) && len(name) <= oci.MaxRepositoryLength) {
			t.Errorf("%q: %v", name, err)
		}
		if err != nil {
			if !oci.HasCode(err, oci.CodeNameInvalid) {
				t.Errorf("%q: %v", name, err)
			}
			return
		}
		if strings.Contains(name, "..") || strings.Contains(name, "//") || strings.HasPrefix(name, "/") || strings.ContainsFunc(name, func(r rune) bool { return r > unicode.MaxASCII || unicode.IsControl(r) }) {
			t.Errorf("%q is accepted", name)
		}
	})
}

func FuzzParseReference(f *testing.F) {
	for tag := range tags {
		f.Add(tag)
	}
	for d := range digests {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := oci.ParseReference(s)
		if err != nil {
			if !oci.HasCode(err, oci.CodeTagInvalid) && !oci.HasCode(err, oci.CodeDigestInvalid) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if (r.Tag == "") == (r.Digest == "") {
			t.Errorf("%q is both or neither: %+v", s, r)
		}
		if r.Tag != "" && !tagOfSpec.MatchString(r.Tag) {
			t.Errorf("tag %q is accepted", r.Tag)
		}
		if again, err := oci.ParseReference(r.String()); err != nil || again != r || r.String() != s {
			t.Errorf("%q became %q and then %+v, %v", s, r.String(), again, err)
		}
	})
}
