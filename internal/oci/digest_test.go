package oci_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"slipway/internal/oci"
)

var digestOfSpec = regexp.MustCompile(`\A(sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})\z`)

var digests = map[string]bool{
	"sha256:" + strings.Repeat("a", 64): true, "sha256:" + strings.Repeat("09af", 16): true, "sha512:" + strings.Repeat("0", 128): true,
	"": false, ":": false, "sha256": false, "sha256:": false, strings.Repeat("a", 64): false, "sha256:" + strings.Repeat("a", 63): false, "sha256:" + strings.Repeat("a", 65): false,
	"sha256:" + strings.Repeat("A", 64): false, "sha256:" + strings.Repeat("g", 64): false, "sha512:" + strings.Repeat("a", 64): false, "sha256:" + strings.Repeat("a", 128): false,
	"SHA256:" + strings.Repeat("a", 64): false, "md5:" + strings.Repeat("a", 32): false, "sha384:" + strings.Repeat("a", 96): false, "sha256:" + strings.Repeat("a", 63) + "\n": false,
	" sha256:" + strings.Repeat("a", 64): false, "sha256:sha256:" + strings.Repeat("a", 57): false, "sha256:" + strings.Repeat("../", 21) + "a": false, "sha256:" + strings.Repeat("é", 32): false,
	"sha256:" + strings.Repeat("a", 62) + "\xff\xff": false,
}

func TestParseDigest(t *testing.T) {
	for s, want := range digests {
		d, err := oci.ParseDigest(s)
		if (err == nil) != want || (want && d.String() != s) {
			t.Errorf("%q: %q, %v, want valid: %v", s, d, err, want)
		}
		if err != nil && (!oci.HasCode(err, oci.CodeDigestInvalid) || d != "") {
			t.Errorf("%q: %q, %v", s, d, err)
		}
	}
}

func TestErrorsStayShort(t *testing.T) {
	huge := strings.Repeat("x", 1<<20)
	for _, s := range []string{huge, huge + ":" + huge, "sha256:" + huge} {
		if _, err := oci.ParseReference(s); err == nil || len(err.Error()) > 1000 {
			t.Error("an error repeats all of a huge value")
		}
	}
	if err := oci.CheckRepository(huge); err == nil || len(err.Error()) > 1000 {
		t.Error("an error repeats all of a huge name")
	}
}

func FuzzParseDigest(f *testing.F) {
	for s := range digests {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := oci.ParseDigest(s)
		if (err == nil) != digestOfSpec.MatchString(s) {
			t.Errorf("%q: %v", s, err)
		}
		if err != nil {
			return
		}
		if again, err := oci.ParseDigest(d.String()); err != nil || again != d || d.String() != s || d.Validate() != nil {
			t.Errorf("%q became %q, %v", s, again, err)
		}
	})
}

// The state at any split, stored and resumed, leads to the digest of the whole.
func TestHasherResumesAnywhere(t *testing.T) {
	for _, a := range []oci.Algorithm{oci.SHA256, oci.SHA512} {
		content := bytes.Repeat([]byte("0123456789abcde"), 20) // more than two blocks of each
		want := oci.FromBytes(a, content)
		for split := range len(content) + 1 {
			h := oci.NewHasher(a)
			_, _ = h.Write(content[:split]) // never fails
			if got := h.Digest(); got != oci.FromBytes(a, content[:split]) {
				t.Errorf("%s of %d bytes: %s", a, split, got)
			}
			state, err := h.State()
			if err != nil {
				t.Fatal(err)
			}
			r, err := oci.ResumeHasher(a, state)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = r.Write(content[split:])
			if got := r.Digest(); got != want || r.Algorithm() != a {
				t.Errorf("%s resumed after %d bytes: %s, want %s", a, split, got, want)
			}
		}
	}
}

func TestHasherRefusesForeignState(t *testing.T) {
	state, err := oci.NewHasher(oci.SHA512).State()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range [][]byte{state, {0}, state[:10]} {
		if _, err := oci.ResumeHasher(oci.SHA256, s); err == nil {
			t.Errorf("sha256 goes on from %d foreign bytes", len(s))
		}
	}
	h, err := oci.ResumeHasher(oci.SHA256, nil)
	if err != nil || h.Digest() != oci.FromBytes(oci.SHA256, nil) {
		t.Errorf("an empty state is a fresh start: %v", err)
	}
}
