package tree

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tonistiigi/fsutil"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// make writes files: "path" a file with its own name as content, "path/" a
// folder, "path -> text" a symbolic link, "path=text" a file with content.
func write(t testing.TB, root string, specs ...string) {
	t.Helper()
	for _, spec := range specs {
		path, link, isLink := strings.Cut(spec, " -> ")
		path, content, given := strings.Cut(path, "=")
		if !given {
			content = path
		}
		full := filepath.Join(root, path)
		var err error
		switch {
		case strings.HasSuffix(spec, "/"):
			err = os.MkdirAll(full, 0o755)
		case isLink:
			err = errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.Symlink(link, full))
		default:
			err = errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(content), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func mustLoad(t testing.TB, root string, o Options) *Tree {
	t.Helper()
	tree, err := Load(t.Context(), root, o)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func paths(entries []Entry) []string {
	list := []string{}
	for _, e := range entries {
		list = append(list, e.Path)
	}
	return list
}

func TestLoadEntries(t *testing.T) {
	root := t.TempDir()
	write(t, root, "b/c=hello", "b.txt", "a -> ../../etc/passwd", "empty/", ".git/config", "sub/.git/config", "d -> b")
	if err := errors.Join(
		os.Link(filepath.Join(root, "b/c"), filepath.Join(root, "b/hard")),
		os.Chmod(filepath.Join(root, "b.txt"), 0o755|fs.ModeSetuid),
		unix.Mkfifo(filepath.Join(root, "fifo"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(root, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	got := mustLoad(t, root, Options{})
	hello := digestOf(sum("hello"))
	want := []Entry{
		{Path: "a", Type: Symlink, Mode: 0o777, Link: "../../etc/passwd"},
		{Path: "b", Type: Dir, Mode: 0o755},
		{Path: "b/c", Type: File, Mode: 0o644, Size: 5, Digest: hello},
		{Path: "b/hard", Type: File, Mode: 0o644, Size: 5, Digest: hello},
		{Path: "b.txt", Type: File, Mode: 0o4755, Size: 5, Digest: digestOf(sum("b.txt"))},
		{Path: "d", Type: Symlink, Mode: 0o777, Link: "b"},
		{Path: "empty", Type: Dir, Mode: 0o755},
		{Path: "fifo", Type: Fifo, Mode: 0o600},
		{Path: "sub", Type: Dir, Mode: 0o755},
		{Path: "sub/.git", Type: Dir, Mode: 0o755},
		{Path: "sub/.git/config", Type: File, Mode: 0o644, Size: 15, Digest: digestOf(sum("sub/.git/config"))},
	}
	// Diff sees only what it compares; the order is compared by the paths.
	if d := Diff(want, got.Entries()); len(d) != 0 || !slices.Equal(paths(want), paths(got.Entries())) {
		t.Errorf("differences %v\nof %v\nwant %v", d, got.Entries(), want)
	}
	if with := paths(mustLoad(t, root, Options{KeepGit: true}).Entries()); !slices.Contains(with, ".git/config") {
		t.Errorf("KeepGit gives %v", with)
	}
}

func sum(s string) []byte { b := sha256.Sum256([]byte(s)); return b[:] }

func TestLoadCountsXattrs(t *testing.T) {
	root := t.TempDir()
	write(t, root, "f", "d/")
	for name, path := range map[string]string{"user.colour": "f", "user.shape": "d"} {
		if err := unix.Setxattr(filepath.Join(root, path), name, []byte("x\x00="), 0); err != nil {
			t.Fatalf("setxattr: %v", err)
		}
	}
	for _, e := range mustLoad(t, root, Options{}).Entries() {
		if len(e.Xattrs) != 1 {
			t.Errorf("%s has %v", e.Path, e.Xattrs)
		}
	}
}

func TestLoadLimits(t *testing.T) {
	root := t.TempDir()
	write(t, root, "node_modules/left/a", "node_modules/left/b", "node_modules/right/c", "small/x", "big/blob="+strings.Repeat("x", 3<<20))
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{MaxEntries: 6}, "more than 6 files and folders. Largest so far: node_modules"},
		{Options{MaxBytes: 2 << 20}, "more than 2 MiB. Largest so far: big (at least 3072 KiB)"},
	} {
		_, err := Load(t.Context(), root, c.o)
		if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	mustLoad(t, root, Options{MaxEntries: 10, MaxBytes: 4 << 20})
}

// A folder that is exchanged for a link while it is walked leads nowhere.
func TestFolderNeverFollows(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	write(t, root, "link -> "+outside, "file")
	f, err := openFolder(root)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	for _, name := range []string{"link", "file"} {
		if _, err := f.open(name); !errors.Is(err, errNotDir) {
			t.Errorf("open %s as a folder: %v", name, err)
		}
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	write(t, outside, "secret")
	if _, _, _, _, err := hashFile(t.Context(), r, "link/secret"); err == nil {
		t.Error("a file outside was hashed")
	}
}

// The filter of BuildKit's own client decides what is ignored.
func TestIgnoreAsBuildKit(t *testing.T) {
	name := rapid.SampledFrom([]string{"a", "b", "c.go", "d.txt"})
	part := rapid.SampledFrom([]string{"a", "b", "c.go", "d.txt", "*", "**", "*.go", "?", "[ab]"})
	rapid.Check(t, func(r *rapid.T) {
		root := t.TempDir()
		for range rapid.IntRange(1, 12).Draw(r, "n") {
			p := rapid.SliceOfN(name, 1, 4).Draw(r, "path")
			path := filepath.Join(root, filepath.Join(p...))
			_ = os.MkdirAll(filepath.Dir(path), 0o755) // a file may be in the way
			if rapid.Bool().Draw(r, "folder") {
				_ = os.Mkdir(path, 0o755)
			} else if _, err := os.Lstat(path); err != nil {
				_ = os.WriteFile(path, []byte(path), 0o644)
			}
		}
		var patterns []string
		for range rapid.IntRange(0, 5).Draw(r, "patterns") {
			p := strings.Join(rapid.SliceOfN(part, 1, 4).Draw(r, "pattern"), "/")
			if rapid.IntRange(0, 2).Draw(r, "not") == 0 {
				p = "!" + p
			}
			patterns = append(patterns, p)
		}
		want := []string{}
		err := fsutil.Walk(context.Background(), root, &fsutil.FilterOpt{ExcludePatterns: patterns}, func(path string, _ fs.FileInfo, err error) error {
			want = append(want, path)
			return err
		})
		if err != nil {
			r.Fatal(err)
		}
		tree, err := Load(context.Background(), root, Options{Ignore: patterns})
		if err != nil {
			r.Fatal(err)
		}
		if got := paths(tree.Entries()); !slices.Equal(got, want) {
			r.Fatalf("patterns %q\ngot  %v\nwant %v", patterns, got, want)
		}
	})
}

func TestSelect(t *testing.T) {
	root := t.TempDir()
	write(t, root, "go.mod", "go.sum", "src/a.go", "src/b.txt", "src/deep/c.go", "docs/x",
		"current -> releases/2", "releases/1/f", "releases/2/f", "loop -> loop", "abs -> /docs", "out -> ../../etc", "!odd")
	tree := mustLoad(t, root, Options{})
	all := paths(tree.Entries())
	for _, c := range []struct {
		sources string
		want    []string
	}{
		{"go.*", []string{"go.mod", "go.sum"}},
		{"/go.mod ./go.sum", []string{"go.mod", "go.sum"}},
		{"src", []string{"src", "src/a.go", "src/b.txt", "src/deep", "src/deep/c.go"}},
		{"src/", []string{"src", "src/a.go", "src/b.txt", "src/deep", "src/deep/c.go"}},
		{"src/*.go", []string{"src", "src/a.go"}},
		{"s*/deep", []string{"src", "src/deep", "src/deep/c.go"}},
		{"current/f", []string{"current", "releases", "releases/2", "releases/2/f"}},
		{"cur*/f", []string{"current", "releases", "releases/2", "releases/2/f"}},
		{"abs/x", []string{"abs", "docs", "docs/x"}},
		{"loop", []string{"loop"}},
		{"out", []string{"out"}},
		{"missing", nil},
		{"../../go.mod", []string{"go.mod"}},
		{".", all}, {"/", all}, {"src .", all}, {"src/..", all},
		{"[", all}, {"!odd", all},
		{"", nil},
	} {
		if got := paths(tree.Select(strings.Fields(c.sources))); !slices.Equal(got, c.want) && len(got)+len(c.want) > 0 {
			t.Errorf("%q selects %v, want %v", c.sources, got, c.want)
		}
	}
}

func TestDiff(t *testing.T) {
	file := func(path, content string) Entry {
		return Entry{Path: path, Type: File, Mode: 0o644, Size: int64(len(content)), Digest: digestOf(sum(content))}
	}
	with := func(e Entry, change func(*Entry)) Entry { change(&e); return e }
	a := file("a", "1")
	for _, c := range []struct {
		name          string
		before, after []Entry
		want          []Change
	}{
		{"equal", []Entry{a}, []Entry{a}, nil},
		{"added before and after", []Entry{file("b", "")}, []Entry{a, file("b", ""), file("c", "")}, []Change{{"a", Added}, {"c", Added}}},
		{"removed", []Entry{a, file("b", "")}, []Entry{a}, []Change{{"b", Removed}}},
		{"renamed", []Entry{a}, []Entry{file("z", "1")}, []Change{{"a", Removed}, {"z", Added}}},
		{"content and mode", []Entry{a}, []Entry{with(file("a", "2"), func(e *Entry) { e.Mode = 0o755 })}, []Change{{"a", Content}, {"a", Mode}}},
		{"type", []Entry{a}, []Entry{{Path: "a", Type: Symlink, Link: "b"}}, []Change{{"a", Retyped}}},
		{"link", []Entry{{Path: "a", Type: Symlink, Link: "c"}}, []Entry{{Path: "a", Type: Symlink, Link: "b"}}, []Change{{"a", Link}}},
		{"xattrs", []Entry{a}, []Entry{with(a, func(e *Entry) { e.Xattrs = map[string][]byte{"user.a": {1}} })}, []Change{{"a", Xattrs}}},
		{"order of folders", []Entry{{Path: "a", Type: Dir}, file("a/b", ""), file("a.b", "")}, []Entry{{Path: "a", Type: Dir}, file("a.b", "")}, []Change{{"a/b", Removed}}},
	} {
		if got := Diff(c.before, c.after); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// The order of the list is the one that receivers check.
func TestCompareAsBuildKit(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		path := rapid.StringMatching(`[a.\-]{1,2}(/[a.\-]{1,2}){0,2}`)
		a, b := path.Draw(r, "a"), path.Draw(r, "b")
		if compare(a, b) != 0 && cmp.Compare(compare(a, b), 0) != cmp.Compare(fsutil.ComparePath(a, b), 0) {
			r.Fatalf("compare(%q, %q) = %d", a, b, compare(a, b))
		}
	})
}

var benchmarkFiles = func(tb testing.TB, root string, n int) {
	tb.Helper()
	for i := range n {
		dir := filepath.Join(root, fmt.Sprintf("pkg%03d/sub%d", i/50, i/10%5))
		if i%10 == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				tb.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%05d.go", i)), fmt.Append(nil, i, strings.Repeat("x", i%4000)), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
}

// age makes a folder look as if nobody had touched it lately.
func age(t testing.TB, root string) {
	t.Helper()
	wait := time.Until(time.Now().Truncate(time.Millisecond).Add(racy + 50*time.Millisecond))
	time.Sleep(wait)
}

// cpuTime is what the process used, which a busy machine does not distort.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkLoadWarm(b *testing.B) {
	root, file := b.TempDir(), filepath.Join(b.TempDir(), "cache")
	benchmarkFiles(b, root, 10_000)
	age(b, root)
	cache, err := OpenCache(file)
	if err != nil {
		b.Fatal(err)
	}
	mustLoad(b, root, Options{Cache: cache})
	if err := cache.Save(); err != nil {
		b.Fatal(err)
	}
	patterns := []string{"**/*.md", "dist", "node_modules", "**/__pycache__"}
	for _, c := range []struct {
		name string
		load func() *Tree
	}{
		{"memory", func() *Tree { return mustLoad(b, root, Options{Cache: cache}) }},
		{"ignore", func() *Tree { return mustLoad(b, root, Options{Cache: cache, Ignore: patterns}) }},
		{"disk", func() *Tree {
			fromDisk, err := OpenCache(file)
			if err != nil {
				b.Fatal(err)
			}
			return mustLoad(b, root, Options{Cache: fromDisk})
		}},
		{"cold", func() *Tree { return mustLoad(b, root, Options{}) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			before := cpuTime()
			for b.Loop() {
				if n := len(c.load().Entries()); n < 10_000 {
					b.Fatal(n)
				}
			}
			b.ReportMetric(float64((cpuTime()-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
		})
	}
	tree := mustLoad(b, root, Options{Cache: cache})
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			Encode(tree.Entries())
		}
	})
	b.Run("select", func(b *testing.B) {
		for b.Loop() {
			tree.Select([]string{"pkg01*", "go.mod"})
		}
	})
}
