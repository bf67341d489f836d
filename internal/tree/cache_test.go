package tree

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"slipway/internal/oci"
)

// pretend makes what the cache holds about a path wrong, so that a test sees
// whether it is used.
func (c *Cache) pretend(root, path string, d oci.Digest) {
	r := c.records(root)[path]
	r.digest = d
	c.roots[root].records[path] = r
}

func digestAt(t *testing.T, root, path string, c *Cache) oci.Digest {
	t.Helper()
	for _, e := range mustLoad(t, root, Options{Cache: c}).Entries() {
		if e.Path == path {
			return e.Digest
		}
	}
	t.Fatalf("no %s", path)
	return ""
}

var marked = digestOf(sum("marked"))

// tempRoot is a temporary folder by the name that a Tree gives it.
func tempRoot(t *testing.T) string {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestCacheIsUsedUntilTheFileChanges(t *testing.T) {
	root, file := tempRoot(t), filepath.Join(t.TempDir(), "sub", "cache")
	write(t, root, "f=1", "g=1")
	cache, err := OpenCache(file)
	if err != nil {
		t.Fatal(err)
	}
	mustLoad(t, root, Options{Cache: cache})
	if n := len(cache.records(root)); n != 0 {
		t.Fatalf("%d hashes of files written a moment ago are remembered", n)
	}
	age(t, root)
	mustLoad(t, root, Options{Cache: cache})
	cache.pretend(root, "f", marked)
	if err := cache.Save(); err != nil {
		t.Fatal(err)
	}

	fromDisk, err := OpenCache(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*Cache{"memory": cache, "disk": fromDisk} {
		if got := digestAt(t, root, "f", c); got != marked {
			t.Errorf("%s: hashed again: %s", name, got)
		}
	}
	// Same size, same modification time: only inode and ctime tell.
	info, err := os.Stat(filepath.Join(root, "f"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, root, "f=2")
	if err := os.Chtimes(filepath.Join(root, "f"), time.Time{}, info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if got := digestAt(t, root, "f", fromDisk); got != digestOf(sum("2")) {
		t.Errorf("changed file has %s", got)
	}
}

func TestCacheKeepsRootsApart(t *testing.T) {
	one, two := tempRoot(t), tempRoot(t)
	when := time.Now().Add(-time.Hour)
	for root, content := range map[string]string{one: "f=1", two: "f=2"} {
		write(t, root, content)
		if err := os.Chtimes(filepath.Join(root, "f"), when, when); err != nil {
			t.Fatal(err)
		}
	}
	age(t, one)
	cache := NewCache()
	for range 2 {
		if a, b := digestAt(t, one, "f", cache), digestAt(t, two, "f", cache); a != digestOf(sum("1")) || b != digestOf(sum("2")) {
			t.Errorf("got %s and %s", a, b)
		}
	}
	if len(cache.records(one)) != 1 {
		t.Error("nothing was remembered")
	}
}

func TestCacheFileDamaged(t *testing.T) {
	root, file := tempRoot(t), filepath.Join(t.TempDir(), "cache")
	c := NewCache()
	c.path, c.dirty = file, true
	c.roots[root] = &rootRecords{used: time.Now(), records: map[string]record{
		"f": {stamp: stamp{1, 2, 3, 4, 5}, digest: marked, xattrs: map[string][]byte{"user.a": {1}}},
	}}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	read := func(b []byte) record {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := OpenCache(file)
		if err != nil {
			t.Fatal(err)
		}
		return c.records(root)["f"]
	}
	if r := read(whole); r.stamp != c.roots[root].records["f"].stamp || r.digest != marked || len(r.xattrs) != 1 {
		t.Fatalf("read back %+v", r)
	}
	for i := range whole {
		broken := append([]byte(nil), whole...)
		broken[i] ^= 0x55
		if r := read(broken); r.digest != "" && (r.digest != marked || r.stamp != (stamp{1, 2, 3, 4, 5})) {
			t.Errorf("byte %d damaged: %+v", i, r)
		}
		if r := read(whole[:i]); r.digest != "" {
			t.Errorf("cut at %d: %+v", i, r)
		}
	}
}

func TestCacheForgetsRootsUsedLongAgo(t *testing.T) {
	c := NewCache()
	for i := range maxRoots + 10 {
		root := string(rune('a' + i))
		c.remember(root, &Tree{entries: []Entry{{Path: "f", Digest: marked}}, stamps: []stamp{{}}}, []int{0})
		c.roots[root].used = time.Unix(int64(i), 0)
	}
	if len(c.roots) > maxRoots+1 || c.roots["a"] != nil {
		t.Errorf("%d roots, oldest %v", len(c.roots), c.roots["a"])
	}
}
