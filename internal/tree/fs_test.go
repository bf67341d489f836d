package tree

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"golang.org/x/sync/errgroup"
)

// pipe is one end of a connection between BuildKit's sender and receiver.
type pipe struct {
	ctx     context.Context
	in, out chan []byte
}

func (p *pipe) Context() context.Context { return p.ctx }

func (p *pipe) SendMsg(m any) error {
	b, err := m.(*types.Packet).MarshalVT()
	if err != nil {
		return err
	}
	select {
	case p.out <- b:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

func (p *pipe) RecvMsg(m any) error {
	select {
	case b, ok := <-p.in:
		if !ok {
			return io.EOF
		}
		return m.(*types.Packet).UnmarshalVT(b)
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

// opens counts the files that were asked for.
type opens struct {
	fsutil.FS
	mu    sync.Mutex
	paths []string
}

func (o *opens) Open(path string) (io.ReadCloser, error) {
	o.mu.Lock()
	o.paths = append(o.paths, path)
	o.mu.Unlock()
	return o.FS.Open(path)
}

// send transfers f into dest as BuildKit does, and lists what it asked for.
func send(ctx context.Context, f fsutil.FS, dest string) ([]string, error) {
	counted := &opens{FS: f}
	g, ctx := errgroup.WithContext(ctx)
	a, b := make(chan []byte), make(chan []byte, 16)
	g.Go(func() error {
		err := fsutil.Send(ctx, &pipe{ctx, a, b}, counted, nil)
		if err == nil {
			close(b) // the end of the call
		}
		return err
	})
	g.Go(func() error { return fsutil.Receive(ctx, &pipe{ctx, b, a}, dest, fsutil.ReceiveOpt{}) })
	err := g.Wait()
	slices.Sort(counted.paths)
	return counted.paths, err
}

func TestSendOnlyWhatChanged(t *testing.T) {
	root, dest := t.TempDir(), t.TempDir()
	write(t, root, "a=1", "b/c=same", "b/d=1", "link -> a", "empty/")
	old := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	chtimes := func() {
		for _, path := range []string{"a", "b/c", "b/d", "b"} {
			if err := os.Chtimes(filepath.Join(root, path), old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	cache := NewCache()
	chtimes()
	for _, c := range []struct {
		name   string
		change func() error
		want   []string
	}{
		{"first", func() error { return nil }, []string{"a", "b/c", "b/d"}},
		{"nothing", func() error { return nil }, nil},
		{"times only", func() error { return os.Chtimes(filepath.Join(root, "a"), time.Now(), time.Now()) }, nil},
		{"same size and time", func() error { return os.WriteFile(filepath.Join(root, "b/d"), []byte("2"), 0o644) }, []string{"b/d"}},
		{"mode", func() error { return os.Chmod(filepath.Join(root, "a"), 0o600) }, []string{"a"}},
		{"back to the old bytes", func() error { return os.WriteFile(filepath.Join(root, "b/d"), []byte("1"), 0o644) }, []string{"b/d"}},
		{"owner", func() error { return os.Chown(filepath.Join(root, "b/c"), os.Getuid(), os.Getgid()) }, nil},
	} {
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		chtimes()
		tree := mustLoad(t, root, Options{Cache: cache})
		got, err := send(t.Context(), tree.FS(), dest)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: sent %v, want %v", c.name, got, c.want)
		}
		if d := Diff(tree.Entries(), mustLoad(t, dest, Options{}).Entries()); d != nil {
			t.Errorf("%s: what arrived differs: %v", c.name, d)
		}
	}
}

// The sender takes an Open that fails for an empty file, and hangs after a
// Read that fails; ours must be neither.
func TestSendFailsOnChange(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"rewritten": func(path string) error { return os.WriteFile(path, []byte("22"), 0o644) },
		"removed":   os.Remove,
		"replaced by a link out": func(path string) error {
			return errors.Join(os.Remove(path), os.Symlink("/etc/passwd", path))
		},
		"folder": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o755)) },
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root, "f=1", "g")
			tree := mustLoad(t, root, Options{})
			if err := change(filepath.Join(root, "f")); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			sent := tree.FS()
			sent.OnFailure = cancel
			if _, err := send(ctx, sent, t.TempDir()); err == nil {
				t.Error("the transfer succeeded")
			}
			err := context.Cause(ctx)
			if !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "f was changed while the build was running") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Bytes that change without a trace in the stamp are noticed by their hash.
func TestReadChecksTheHash(t *testing.T) {
	root := t.TempDir()
	write(t, root, "f=1")
	tree := mustLoad(t, root, Options{})
	tree.entries[0].Digest = digestOf(sum("2"))
	f, err := tree.FS().Open("f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.ReadAll(f); !errors.Is(err, ErrChanged) {
		t.Errorf("got %v", err)
	}
}

func TestModTime(t *testing.T) {
	e := Entry{Type: File, Digest: digestOf(sum(""))} // e3b0c44298fc1c14...
	want := time.Date(1980, 1, 2, 0, 0, 0, 0, time.UTC).Add(0xe3b0c44298fc1c14 % (1 << 50))
	if got := time.Unix(0, modTime(&e)); !got.Equal(want) {
		t.Errorf("got %v, want %v", got.UTC(), want)
	}
	with := e
	with.Xattrs = map[string][]byte{"user.a": []byte("1")}
	if modTime(&with) == modTime(&e) {
		t.Error("an attribute does not show in the time, and would not be sent")
	}
}

func TestWalkTargets(t *testing.T) {
	mem := NewMemFS(map[string][]byte{"a/b/c": []byte("1"), "a/x": nil, "/a.b": nil, "z": nil})
	for _, c := range []struct{ target, skip, want string }{
		{"/", "", "a a/b a/b/c a/x a.b z"},
		{"", "a/b", "a a/b a/x a.b z"},
		{"", "a/b/c", "a a/b a/b/c a/x a.b z"},
		{"", "a", "a a.b z"},
		{"a/b", "", "a/b a/b/c"},
		{"a", "a", "a"},
		{"missing", "", ""},
		{"", "a.b", "a a/b a/b/c a/x a.b"},
	} {
		var got []string
		err := mem.Walk(t.Context(), c.target, func(path string, d fs.DirEntry, err error) error {
			got = append(got, path)
			if info, ierr := d.Info(); ierr != nil || info.Sys().(*types.Stat).Path != path {
				t.Errorf("info of %s: %v %v", path, info, ierr)
			}
			if path == c.skip {
				return fs.SkipDir
			}
			return err
		})
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("walk %q skipping %q: %v %v, want %s", c.target, c.skip, got, err, c.want)
		}
	}
	dest := t.TempDir()
	if _, err := send(t.Context(), mem, dest); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dest, "a/b/c")); err != nil || string(b) != "1" {
		t.Errorf("got %q, %v", b, err)
	}
}
