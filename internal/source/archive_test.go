package source

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPackAndUnpack(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	write := func(name, text string, mode fs.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(from, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("a.txt", "hello", 0o644)
	write("bin/run", "#!/bin/sh", 0o755)
	write(".git/HEAD", "ref: refs/heads/main", 0o644)
	if err := os.Mkdir(filepath.Join(from, "empty"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../outside", filepath.Join(from, "link")); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	skip := func(path string, _ fs.DirEntry) bool { return path == ".git" }
	if err := Pack(t.Context(), &archive, from, skip); err != nil {
		t.Fatal(err)
	}
	if err := Unpack(t.Context(), &archive, to, 1<<20); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"a.txt": 0o644, "bin/run": 0o755, "empty": fs.ModeDir | 0o750} {
		info, err := os.Lstat(filepath.Join(to, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want mode %v", name, info, err, want)
		}
	}
	if link, err := os.Readlink(filepath.Join(to, "link")); err != nil || link != "../outside" {
		t.Errorf("link is %q, %v", link, err)
	}
	if b, err := os.ReadFile(filepath.Join(to, "a.txt")); err != nil || string(b) != "hello" {
		t.Errorf("a.txt is %q, %v", b, err)
	}
	if _, err := os.Lstat(filepath.Join(to, ".git")); err == nil {
		t.Error("what was skipped is there")
	}
}

func TestUnpackRefuses(t *testing.T) {
	type entry struct {
		tar.Header
		text string
	}
	for name, c := range map[string]struct {
		entries []entry
		want    string
	}{
		"name that leads out":   {[]entry{{tar.Header{Name: "../evil", Typeflag: tar.TypeReg}, "x"}}, "leads out of the folder"},
		"absolute name":         {[]entry{{tar.Header{Name: "/etc/evil", Typeflag: tar.TypeReg}, "x"}}, "leads out of the folder"},
		"write through a link":  {[]entry{{tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/tmp"}, ""}, {tar.Header{Name: "l/evil", Typeflag: tar.TypeReg}, "x"}}, "l/evil"},
		"overwriting":           {[]entry{{tar.Header{Name: "a", Typeflag: tar.TypeReg}, "x"}, {tar.Header{Name: "a", Typeflag: tar.TypeReg}, "y"}}, "exists"},
		"device":                {[]entry{{tar.Header{Name: "null", Typeflag: tar.TypeChar}, ""}}, "sources do not have"},
		"hard link":             {[]entry{{tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}, ""}}, "sources do not have"},
		"larger than the limit": {[]entry{{tar.Header{Name: "big", Typeflag: tar.TypeReg}, strings.Repeat("x", 2000)}}, "larger than the server accepts"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, e := range c.entries {
				e.Size, e.Mode = int64(len(e.text)), 0o644
				if err := w.WriteHeader(&e.Header); err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write([]byte(e.text)); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			err := Unpack(t.Context(), &b, t.TempDir(), 1000)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}
