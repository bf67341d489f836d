package git

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestLFS(t *testing.T) {
	s, r := newServer(t), newRepo(t)
	s.login = "u:secret-word"
	r.commit(".gitattributes=*.bin filter=lfs diff=lfs merge=lfs -text", "a.bin="+s.pointer("large content"), "b.bin="+s.pointer("more"),
		"same.bin="+s.pointer("more"), "about.txt=version https://git-lfs.github.com/spec/v1\nis what pointers begin with\n", "plain.bin=raw")
	s.publish(r, "x")
	o := s.options("x", "")
	o.Credentials = func(string) (string, string) { return "u", "secret-word" }
	want := []string{"a.bin 644 large content", "b.bin 644 more", "plain.bin 644 raw", "same.bin 644 more"}
	check := func(when string) {
		got, err := checkout(t, o)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("%s: no %q in %q", when, w, got)
			}
		}
	}
	check("first")
	s.mangle = func([]byte) []byte { return nil }
	check("kept") // not asked for again

	for name, mangle := range map[string]func([]byte) []byte{
		"other bytes": func(b []byte) []byte { return []byte(strings.ToUpper(string(b))) },
		"too short":   func(b []byte) []byte { return b[:2] },
		"too long":    func(b []byte) []byte { return append(slices.Clone(b), 'x') },
	} {
		s.mangle, o.Dir = mangle, t.TempDir()
		if _, err := checkout(t, o); !errors.Is(err, ErrLFS) || !strings.Contains(err.Error(), ".bin: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.mangle, o.Dir = nil, t.TempDir()
	clear(s.objects)
	if _, err := checkout(t, o); !errors.Is(err, ErrLFS) || !strings.Contains(err.Error(), "404: no such object") {
		t.Errorf("missing: %v", err)
	}
}
