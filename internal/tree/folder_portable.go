//go:build !linux && !darwin

package tree

import (
	"errors"
	"io/fs"
	"os"
)

var errNotDir = errors.New("not a folder")

const nonblock = 0

// folder is an open folder, as in folder_unix.go, with what Go offers on every
// system: no inodes and ctimes, so that hashes are not remembered, and no
// extended attributes.
type folder struct{ root *os.Root }

func openFolder(path string) (*folder, error) {
	r, err := os.OpenRoot(path)
	return &folder{r}, err
}

func (f *folder) open(name string) (*folder, error) {
	if info, err := f.root.Lstat(name); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, errNotDir
	}
	r, err := f.root.OpenRoot(name)
	return &folder{r}, err
}

func (f *folder) close() { _ = f.root.Close() }

func (f *folder) names() ([]string, error) {
	d, err := f.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// stat describes a name in the folder. Files are executable, as BuildKit's
// client has it where the system does not know the bit.
func (f *folder) stat(name string) (Entry, stamp, error) {
	info, err := f.root.Lstat(name)
	if err != nil {
		return Entry{}, stamp{}, err
	}
	e := Entry{Mode: uint32(info.Mode().Perm()|0o111) & 0o755}
	switch info.Mode().Type() {
	case 0:
		e.Type, e.Size = File, info.Size()
	case fs.ModeDir:
		e.Type = Dir
	case fs.ModeSymlink:
		e.Type, e.Mode = Symlink, 0o777
		if e.Link, err = f.root.Readlink(name); err != nil {
			return Entry{}, stamp{}, err
		}
	}
	return e, stamp{size: info.Size(), mtime: info.ModTime().UnixNano()}, nil
}

func (f *folder) xattrs() (map[string][]byte, error) { return nil, nil }

func fileStamp(f *os.File) (stamp, bool, error) {
	info, err := f.Stat()
	if err != nil {
		return stamp{}, false, err
	}
	return stamp{size: info.Size(), mtime: info.ModTime().UnixNano()}, info.Mode().IsRegular(), nil
}

func fileXattrs(*os.File) (map[string][]byte, error) { return nil, nil }
