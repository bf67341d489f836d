package remote

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// maxEntries is how many entries of a tar are remembered. An archive of images
// has far fewer; a root file system may have more and is read in one pass.
const maxEntries = 100_000

// fileSet is a folder or a tar: files by their slash-separated names. Names
// cannot lead out of it.
type fileSet interface {
	open(name string) (io.ReadCloser, int64, error)
	Close() error
}

// folder serves a directory.
type folder struct{ root *os.Root }

func openFolder(dir string) (*folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &folder{root: root}, nil
}

func (d *folder) Close() error { return d.root.Close() }

func (d *folder) open(name string) (io.ReadCloser, int64, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// tarball serves an uncompressed tar by the positions of its files; nothing is
// unpacked.
type tarball struct {
	file    *os.File
	entries map[string]tarEntry
	full    bool // there are more entries than are remembered
}

type tarEntry struct {
	offset, size int64
	link         string // of symbolic and hard links, the name of the target
}

var errNotTar = errors.New("it is not a tar archive")

func indexTar(f *os.File) (*tarball, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	t := &tarball{file: f, entries: map[string]tarEntry{}}
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNotTar, err)
		}
		if len(t.entries) == maxEntries {
			t.full = true
			break
		}
		name := path.Clean("/" + h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			at, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			t.entries[name] = tarEntry{offset: at, size: h.Size}
		case tar.TypeSymlink:
			t.entries[name] = tarEntry{link: path.Join(path.Dir(name), h.Linkname)}
		case tar.TypeLink:
			t.entries[name] = tarEntry{link: path.Clean("/" + h.Linkname)}
		default:
			t.entries[name+"/"] = tarEntry{} // counts, and shows that the tar is not empty
		}
	}
	if len(t.entries) == 0 {
		return nil, fmt.Errorf("%w, or an empty one", errNotTar)
	}
	return t, nil
}

func (t *tarball) Close() error { return t.file.Close() }

func (t *tarball) open(name string) (io.ReadCloser, int64, error) {
	at := path.Clean("/" + name)
	for range 8 {
		e, ok := t.entries[at]
		if !ok {
			break
		}
		if e.link == "" {
			return io.NopCloser(io.NewSectionReader(t.file, e.offset, e.size)), e.size, nil
		}
		at = path.Clean("/" + e.link)
	}
	return nil, 0, fmt.Errorf("%s is not in the archive: %w", strings.TrimPrefix(name, "/"), fs.ErrNotExist)
}

// readSmall reads a whole file of at most limit bytes.
func readSmall(files fileSet, name string, limit int64) ([]byte, error) {
	rc, size, err := files.open(name)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	if size > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that are read into memory", name, size, limit)
	}
	return io.ReadAll(io.LimitReader(rc, limit))
}
