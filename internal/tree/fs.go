package tree

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"

	"slipway/internal/oci"
)

// FS is a tree as BuildKit's client sends it: exactly the entries, all owned
// by root.
//
// BuildKit keeps what it was sent last under the same name and SharedKey, and
// asks only for files whose mode, size, link or modification time differ. So
// the times say what the content is: a fixed day plus nanoseconds from its
// hash. Changed bytes are always sent, equal ones never twice, whatever the
// times in the folder. They also end in the image, where they are the same for
// the same content.
//
// A file that is not any more what Load hashed fails in Read with ErrChanged,
// at the first byte or, when only the bytes tell, at the last. The sender has
// no way to tell the builder: it takes a failed Open for an empty file, and
// after a failed Read both sides wait for each other for ever. So whoever
// sends an FS sets OnFailure and cancels the solve in it.
type FS struct {
	// OnFailure is called with the first error of reading a file, in the
	// sender's goroutine. It is to be set before the FS is used.
	OnFailure func(error)

	entryFS
	once sync.Once
}

var _ fsutil.FS = (*FS)(nil)

// FS is the tree to be sent once.
func (t *Tree) FS() *FS {
	f := &FS{}
	f.entryFS = entryFS{t.entries, func(i int) io.ReadCloser { return &watched{t.content(i), f.fail} }}
	return f
}

func (f *FS) fail(err error) {
	f.once.Do(func() {
		if f.OnFailure != nil {
			f.OnFailure(err)
		}
	})
}

// watched tells about a failure to read.
type watched struct {
	io.ReadCloser
	fail func(error)
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.fail(err)
	}
	return n, err
}

// content opens the file at an index, to be read as it was hashed.
func (t *Tree) content(i int) io.ReadCloser {
	e := &t.entries[i]
	root, err := os.OpenRoot(t.root)
	if err != nil {
		return failed(fmt.Errorf("%s was %w: %w", e.Path, ErrChanged, err))
	}
	defer root.Close()
	f, err := openFile(root, e.Path)
	if err != nil {
		return failed(fmt.Errorf("%s was %w: %w", e.Path, ErrChanged, err))
	}
	now, regular, err := fileStamp(f)
	if err == nil && (!regular || now != t.stamps[i]) {
		err = changed(e)
	}
	if err != nil {
		_ = f.Close()
		return failed(err)
	}
	return &checked{File: f, hash: sha256.New(), entry: e}
}

func changed(e *Entry) error {
	return fmt.Errorf("%s was %w. Build again when nothing writes to the folder", e.Path, ErrChanged)
}

// failed is a file that cannot be read.
func failed(err error) io.ReadCloser { return io.NopCloser(errReader{err}) }

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// checked ends in an error instead of EOF if the bytes were not the entry's.
type checked struct {
	*os.File
	hash  hash.Hash
	entry *Entry
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.File.Read(p)
	c.hash.Write(p[:n])
	if errors.Is(err, io.EOF) && digestOf(c.hash.Sum(nil)) != c.entry.Digest {
		return n, changed(c.entry)
	}
	return n, err
}

// NewMemFS is a file system of files in memory, by their paths with slashes;
// their folders are implied. It is for what has no folder, such as a
// Dockerfile that was handed over as text.
func NewMemFS(files map[string][]byte) fsutil.FS {
	content := map[string][]byte{}
	var entries []Entry
	for name, b := range files {
		name = strings.TrimPrefix(filepath.ToSlash(filepath.Clean("/"+name)), "/")
		content[name] = b
		sum := sha256.Sum256(b)
		entries = append(entries, Entry{Path: name, Type: File, Mode: 0o644, Size: int64(len(b)), Digest: digestOf(sum[:])})
		for at := strings.LastIndexByte(name, '/'); at > 0; at = strings.LastIndexByte(name[:at], '/') {
			entries = append(entries, Entry{Path: name[:at], Type: Dir, Mode: 0o755})
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return compare(a.Path, b.Path) })
	entries = slices.CompactFunc(entries, func(a, b Entry) bool { return a.Path == b.Path })
	return &entryFS{entries, func(i int) io.ReadCloser {
		return io.NopCloser(strings.NewReader(string(content[entries[i].Path])))
	}}
}

// entryFS is a list of entries as a file system.
type entryFS struct {
	entries []Entry
	content func(index int) io.ReadCloser
}

var _ fsutil.FS = (*entryFS)(nil)

// Walk calls fn for target, unless it is the root, and for everything in it.
func (f *entryFS) Walk(ctx context.Context, target string, fn fs.WalkDirFunc) error {
	rest := f.entries
	if target = clean(target); target != "" {
		i, ok := find(f.entries, target)
		if !ok {
			return nil // as fsutil's own: nothing there is nothing to walk
		}
		rest = f.entries[i:end(f.entries, i)]
	}
	for i := 0; i < len(rest); {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := &rest[i]
		st := stat(e)
		err := fn(st.Path, &fsutil.DirEntryInfo{Stat: st}, nil)
		switch {
		case err == nil:
			i++
		case errors.Is(err, fs.SkipAll):
			return nil
		case !errors.Is(err, fs.SkipDir) && !errors.Is(err, fs.ErrNotExist):
			return err
		case e.Type == Dir:
			i = end(rest, i)
		default: // the rest of the folder that the file is in
			slash := strings.LastIndexByte(e.Path, '/') + 1
			for i < len(rest) && strings.HasPrefix(rest[i].Path, e.Path[:slash]) {
				i++
			}
		}
	}
	return nil
}

// Open opens a file.
func (f *entryFS) Open(path string) (io.ReadCloser, error) {
	i, ok := find(f.entries, clean(path))
	if !ok || f.entries[i].Type != File {
		return nil, &os.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return f.content(i), nil
}

// clean makes a path as entries have it; the root is "".
func clean(path string) string {
	return strings.TrimPrefix(filepath.ToSlash(filepath.Clean(string(filepath.Separator)+path)), "/")
}

func find(entries []Entry, path string) (int, bool) {
	return slices.BinarySearchFunc(entries, path, func(e Entry, p string) int { return compare(e.Path, p) })
}

// end is the index after entry i and everything in it.
func end(entries []Entry, i int) int {
	inside := entries[i].Path + "/"
	n, _ := slices.BinarySearchFunc(entries[i+1:], inside, func(e Entry, _ string) int {
		if strings.HasPrefix(e.Path, inside) {
			return -1
		}
		return 1
	})
	return i + 1 + n
}

// day is the time of what has no content. It is one that zip files and file
// systems of all kinds can hold.
var day = time.Date(1980, time.January, 2, 0, 0, 0, 0, time.UTC).UnixNano()

// modTime is day plus up to 13 days.
func modTime(e *Entry) int64 {
	if e.Type != File {
		return day
	}
	sum := e.Digest
	if len(e.Xattrs) > 0 { // the builder does not compare them
		h := sha256.Sum256(appendXattrs([]byte(sum), e.Xattrs))
		sum = digestOf(h[:])
	}
	return day + int64(number(sum)%(1<<50))
}

func number(sum oci.Digest) uint64 {
	b, err := hex.DecodeString(sum.Encoded()[:16])
	if err != nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func stat(e *Entry) *types.Stat {
	st := &types.Stat{
		Path:    filepath.FromSlash(e.Path),
		Mode:    uint32(goMode(e)),
		Size:    e.Size,
		ModTime: modTime(e),
		Xattrs:  e.Xattrs,
	}
	switch e.Type {
	case Symlink:
		st.Linkname, st.Size = e.Link, int64(len(e.Link))
	case CharDevice, BlockDevice:
		major, minor, _ := strings.Cut(e.Link, ":")
		st.Devmajor, _ = strconv.ParseInt(major, 10, 64)
		st.Devminor, _ = strconv.ParseInt(minor, 10, 64)
	}
	return st
}

// goMode is the mode as Go and fsutil have it.
func goMode(e *Entry) fs.FileMode {
	mode := fs.FileMode(e.Mode & 0o777)
	if e.Mode&0o4000 != 0 {
		mode |= fs.ModeSetuid
	}
	if e.Mode&0o2000 != 0 {
		mode |= fs.ModeSetgid
	}
	if e.Mode&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	switch e.Type {
	case Dir:
		mode |= fs.ModeDir
	case Symlink:
		mode |= fs.ModeSymlink
	case Fifo:
		mode |= fs.ModeNamedPipe
	case CharDevice:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case BlockDevice:
		mode |= fs.ModeDevice
	}
	return mode
}
