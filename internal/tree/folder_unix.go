//go:build linux || darwin

package tree

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

var errNotDir error = unix.ENOTDIR

// nonblock keeps an open from waiting for the writer of a fifo that took the
// place of a file.
const nonblock = unix.O_NONBLOCK

// folder is an open folder. Everything is reached from its descriptor, one
// name at a time and never through a symbolic link, so that a folder that is
// exchanged for a link meanwhile leads nowhere.
type folder struct {
	file *os.File
	fd   int
}

func openFolder(path string) (*folder, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &folder{os.NewFile(uintptr(fd), path), fd}, nil
}

func (f *folder) open(name string) (*folder, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(f.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if errors.Is(err, unix.ELOOP) {
		err = errNotDir
	}
	if err != nil {
		return nil, err
	}
	return &folder{os.NewFile(uintptr(fd), name), fd}, nil
}

func (f *folder) close() { _ = f.file.Close() }

func (f *folder) names() ([]string, error) { return f.file.Readdirnames(-1) }

// stat describes a name in the folder. The type is 0 for a socket.
func (f *folder) stat(name string) (Entry, stamp, error) {
	var st unix.Stat_t
	if _, err := retry(func() (int, error) {
		return 0, unix.Fstatat(f.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	}); err != nil {
		return Entry{}, stamp{}, err
	}
	e := Entry{Mode: uint32(st.Mode) & 0o7777} //nolint:unconvert // its size is not the same on every system
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Type, e.Size = File, st.Size
	case unix.S_IFDIR:
		e.Type = Dir
	case unix.S_IFLNK:
		e.Type, e.Mode = Symlink, 0o777
		link, err := readlinkat(f.fd, name, int(st.Size))
		if errors.Is(err, unix.EINVAL) {
			err = fs.ErrNotExist // became something else: it is gone
		}
		if err != nil {
			return Entry{}, stamp{}, err
		}
		e.Link = link
	case unix.S_IFIFO:
		e.Type = Fifo
	case unix.S_IFCHR:
		e.Type, e.Link = CharDevice, device(uint64(st.Rdev)) //nolint:unconvert // its size is not the same on every system
	case unix.S_IFBLK:
		e.Type, e.Link = BlockDevice, device(uint64(st.Rdev)) //nolint:unconvert // its size is not the same on every system
	}
	return e, stampOf(&st), nil
}

// device numbers are those that Stat of fsutil would carry.
func device(rdev uint64) string {
	return strconv.Itoa(int(unix.Major(rdev))) + ":" + strconv.Itoa(int(unix.Minor(rdev)))
}

func readlinkat(fd int, name string, size int) (string, error) {
	for size = max(size, 64) + 1; ; size *= 2 {
		b := make([]byte, size)
		n, err := retry(func() (int, error) { return unix.Readlinkat(fd, name, b) })
		if err != nil {
			return "", err
		}
		if n < size {
			return string(b[:n]), nil
		}
	}
}

func (f *folder) xattrs() (map[string][]byte, error) { return xattrs(f.fd) }

func fileStamp(f *os.File) (stamp, bool, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) { return 0, unix.Fstat(int(f.Fd()), &st) })
	if err != nil {
		return stamp{}, false, err
	}
	return stampOf(&st), st.Mode&unix.S_IFMT == unix.S_IFREG, nil
}

func fileXattrs(f *os.File) (map[string][]byte, error) { return xattrs(int(f.Fd())) }

func stampOf(st *unix.Stat_t) stamp {
	return stamp{
		dev: uint64(st.Dev), ino: uint64(st.Ino), size: st.Size, //nolint:unconvert // its size is not the same on every system
		mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(),
	}
}

// xattrs reads the extended attributes that decide about a build: those that
// BuildKit counts in its own cache keys. Labels of the machine's policy and
// access lists are not among them.
func xattrs(fd int) (map[string][]byte, error) {
	size, err := retry(func() (int, error) { return unix.Flistxattr(fd, nil) })
	if size == 0 || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]byte, size+256)
	n, err := retry(func() (int, error) { return unix.Flistxattr(fd, names) })
	if err != nil {
		return nil, err
	}
	var m map[string][]byte
	for _, name := range strings.Split(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if name == "" || !counts(name) {
			continue
		}
		size, err := retry(func() (int, error) { return unix.Fgetxattr(fd, name, nil) })
		if err != nil {
			continue // removed meanwhile, or not for us to read
		}
		value := make([]byte, size)
		if size > 0 {
			if size, err = retry(func() (int, error) { return unix.Fgetxattr(fd, name, value) }); err != nil {
				continue
			}
		}
		if m == nil {
			m = map[string][]byte{}
		}
		m[name] = value[:size]
	}
	return m, nil
}

func counts(xattr string) bool {
	switch {
	case xattr == "security.capability":
		return true
	case strings.HasPrefix(xattr, "security."), strings.HasPrefix(xattr, "system."), strings.HasPrefix(xattr, "com.apple."):
		return false
	}
	return true
}

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
