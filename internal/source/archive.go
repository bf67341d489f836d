package source

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Pack writes a folder as a tar archive compressed with zstd: what Unpack
// reads. skip leaves entries out, by their slash-separated paths.
func Pack(ctx context.Context, w io.Writer, dir string, skip func(path string, d fs.DirEntry) bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("send %s: %w", dir, err)
	}
	defer func() { _ = root.Close() }() // it was only read
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil || path == "." {
			return err
		}
		if skip != nil && skip(path, d) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return packOne(t, root, path, d)
	})
	if err != nil {
		return fmt.Errorf("send %s: %w", dir, err)
	}
	return errors.Join(t.Close(), z.Close())
}

func packOne(t *tar.Writer, root *os.Root, path string, d fs.DirEntry) error {
	info, err := d.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it went away meanwhile
	}
	if err != nil {
		return err
	}
	h := &tar.Header{Name: path, Mode: int64(info.Mode().Perm()), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	for bit, flag := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if info.Mode()&bit != 0 {
			h.Mode |= flag
		}
	}
	switch {
	case info.IsDir():
		h.Typeflag = tar.TypeDir
		h.Name += "/"
	case info.Mode()&fs.ModeSymlink != 0:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = root.Readlink(path); err != nil {
			return err
		}
	case info.Mode().IsRegular():
		return packFile(t, root, path, h)
	default:
		return nil // sockets, pipes and devices are no sources
	}
	return t.WriteHeader(h)
}

func packFile(t *tar.Writer, root *os.Root, path string, h *tar.Header) error {
	f, err := root.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(t, io.LimitReader(f, h.Size))
	if err == nil && n < h.Size {
		err = fmt.Errorf("%s became shorter while it was read", path)
	}
	return err
}

// Limits on what Unpack accepts.
const (
	maxEntries = 200_000
	maxMemory  = 64 << 20 // of the zstd decoder, in bytes
)

// Unpack reads a tar archive, plain or compressed with zstd, into an empty
// folder. Nothing gets outside it: not by a name, not through a link. limit
// bounds the size of all files together, in bytes.
func Unpack(ctx context.Context, r io.Reader, dir string, limit int64) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // every file was closed with its error
	b := bufio.NewReader(r)
	if magic, _ := b.Peek(4); string(magic) == "\x28\xb5\x2f\xfd" {
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxMemory(maxMemory), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return err
		}
		defer z.Close()
		b = bufio.NewReader(z)
	}
	t := tar.NewReader(b)
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("read the archive of the folder: %w", err)
		}
		if n >= maxEntries {
			return fmt.Errorf("the folder has more than %d entries: all of it is sent, but .git; move out what is not built from, or build from the URL of its git repository", maxEntries)
		}
		if limit -= h.Size; limit < 0 {
			return errors.New("the folder is larger than the server accepts: all of it is sent, but .git; move out what is not built from, build from the URL of its git repository, or raise build.max-context there")
		}
		if err := unpackOne(root, t, h); err != nil {
			return fmt.Errorf("read the archive of the folder: %s: %w", h.Name, err)
		}
	}
}

func unpackOne(root *os.Root, t *tar.Reader, h *tar.Header) error {
	name := strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/")
	if name == "" || name == "." {
		return nil
	}
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return errors.New("it leads out of the folder")
	}
	if parent := filepath.Dir(name); parent != "." {
		if err := root.MkdirAll(parent, 0o755); err != nil {
			return err
		}
	}
	mode := fs.FileMode(h.Mode).Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return root.Chmod(name, mode|0o700) // it must stay readable for us
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	case tar.TypeReg:
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, t)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		for flag, bit := range map[int64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
			if h.Mode&flag != 0 {
				mode |= bit
			}
		}
		return root.Chmod(name, mode)
	}
	return fmt.Errorf("it is of a kind (%q) that sources do not have", h.Typeflag)
}
