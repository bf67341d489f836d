package blob

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"slipway/internal/oci"
)

var (
	_ Store  = (*FS)(nil)
	_ Spacer = (*FS)(nil)
)

// FS is the store on a local file system:
//
//	uploads/<nonce>                         an upload
//	blobs/<algorithm>/<aa>/<hex>-<nonce>    a blob; aa is the first byte of its digest
//
// Both folders must be on one file system, since a commit is a rename.
type FS struct {
	root string
	dirs sync.Map // folders known to exist durably: relative path -> struct{}
}

const (
	uploadFolder = "uploads"
	blobFolder   = "blobs"
	copyBuffer   = 256 << 10
)

var buffers = sync.Pool{New: func() any { b := make([]byte, copyBuffer); return &b }}

// OpenFS opens the store in a folder, and makes it if it is missing.
func OpenFS(root string) (*FS, error) {
	s := &FS{root: root}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	for _, dir := range []string{uploadFolder, blobFolder} {
		if err := s.ensureFolder(dir); err != nil {
			return nil, fmt.Errorf("open blob store %s: %w", root, err)
		}
	}
	return s, nil
}

// Append implements Store.
func (s *FS) Append(_ context.Context, state State, offset int64, r io.Reader) (int64, State, error) {
	var f *os.File
	var err error
	if state == "" {
		state = State(nonce())
		f, err = os.OpenFile(s.uploadPath(state), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	} else {
		f, err = s.openUpload(state, os.O_WRONLY)
	}
	if err != nil {
		return 0, state, err
	}
	n, err := writeAt(f, offset, r)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return n, state, err
}

// writeAt replaces what f holds from offset on by the bytes of r.
func writeAt(f *os.File, offset int64, r io.Reader) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if info.Size() < offset {
		return 0, fmt.Errorf("upload %s has %d bytes, expected at least %d: %w", f.Name(), info.Size(), offset, io.ErrUnexpectedEOF)
	}
	if info.Size() > offset {
		if err := f.Truncate(offset); err != nil {
			return 0, err
		}
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return 0, err
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	return copyFull(f, r, *buf)
}

// copyFull is io.Copy in whole buffers, so that what arrives in small pieces
// is written in few large ones.
func copyFull(w io.Writer, r io.Reader, buf []byte) (total int64, err error) {
	for err == nil {
		n := 0
		for n < len(buf) && err == nil {
			var m int
			m, err = r.Read(buf[n:])
			n += m
		}
		written, writeErr := w.Write(buf[:n])
		total += int64(written)
		if writeErr != nil {
			return total, writeErr
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return total, err
}

// Sync implements Store.
func (s *FS) Sync(_ context.Context, state State) error {
	if state == "" {
		return nil
	}
	if err := s.syncUpload(state, -1); err != nil {
		return err
	}
	return syncFolder(filepath.Join(s.root, uploadFolder))
}

// syncUpload fsyncs an upload's file, cut to size unless that is negative.
func (s *FS) syncUpload(state State, size int64) error {
	f, err := s.openUpload(state, os.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if size >= 0 && info.Size() < size {
		return fmt.Errorf("upload %s has %d bytes, expected %d: %w", state, info.Size(), size, io.ErrUnexpectedEOF)
	}
	if size >= 0 && info.Size() > size {
		if err := f.Truncate(size); err != nil {
			return err
		}
	}
	return f.Sync()
}

// Commit implements Store: fsync the file, rename it, fsync the folder.
func (s *FS) Commit(ctx context.Context, state State, digest oci.Digest, size int64) (Key, error) {
	key, err := s.commit(state, digest, size)
	if err != nil {
		// After a failed fsync the kernel may call lost pages clean: the file
		// must never be trusted again.
		_ = s.Abort(ctx, state)
		return "", fmt.Errorf("commit %s: %w", digest, err)
	}
	return key, nil
}

func (s *FS) commit(state State, digest oci.Digest, size int64) (Key, error) {
	if state == "" {
		return "", fmt.Errorf("the upload has no bytes: %w", ErrNotFound)
	}
	if err := s.syncUpload(state, size); err != nil {
		return "", err
	}
	hexed := digest.Encoded()
	folder := filepath.Join(digest.Algorithm().String(), hexed[:2])
	if err := s.ensureFolder(filepath.Join(blobFolder, folder)); err != nil {
		return "", err
	}
	key := Key(filepath.ToSlash(filepath.Join(folder, hexed+"-"+string(state))))
	path, err := s.blobPath(key)
	if err != nil {
		return "", err
	}
	// Until its row is committed the blob is without one, and collection frees
	// old bytes that have none. The last chunk may have come long ago.
	now := time.Now()
	if err := os.Chtimes(s.uploadPath(state), now, now); err != nil {
		return "", err
	}
	if err := os.Rename(s.uploadPath(state), path); err != nil {
		return "", err
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		_ = os.Remove(path)
		return "", err
	}
	return key, nil
}

// Abort implements Store.
func (s *FS) Abort(_ context.Context, state State) error {
	if state == "" {
		return nil
	}
	if err := checkNonce(string(state)); err != nil {
		return err
	}
	return removeIfThere(s.uploadPath(state))
}

// OpenUpload implements Store.
func (s *FS) OpenUpload(_ context.Context, state State) (File, error) {
	return s.openUpload(state, os.O_RDONLY)
}

func (s *FS) openUpload(state State, flag int) (*os.File, error) {
	if err := checkNonce(string(state)); err != nil {
		return nil, err
	}
	return openFile(s.uploadPath(state), flag)
}

// Open implements Store. The File is an *os.File.
func (s *FS) Open(_ context.Context, k Key) (File, error) {
	path, err := s.blobPath(k)
	if err != nil {
		return nil, err
	}
	return openFile(path, os.O_RDONLY)
}

// Delete implements Store.
func (s *FS) Delete(_ context.Context, k Key) error {
	path, err := s.blobPath(k)
	if err != nil {
		return err
	}
	return removeIfThere(path)
}

// Walk implements Store.
func (s *FS) Walk(ctx context.Context, fn func(Entry) error) error {
	for _, folder := range []string{uploadFolder, blobFolder} {
		base := filepath.Join(s.root, folder)
		err := filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if !d.Type().IsRegular() {
				return nil
			}
			info, err := d.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			e := Entry{Size: info.Size(), Modified: info.ModTime()}
			if folder == uploadFolder {
				e.State = State(d.Name())
				if checkNonce(d.Name()) != nil {
					return nil // not ours: a person's file is left alone
				}
			} else {
				rel, err := filepath.Rel(base, path)
				if err != nil {
					return err
				}
				e.Key = Key(filepath.ToSlash(rel))
				if _, err := s.blobPath(e.Key); err != nil {
					return nil
				}
				hexed, _, _ := strings.Cut(d.Name(), "-")
				algorithm, _, _ := strings.Cut(string(e.Key), "/")
				e.Digest = oci.Digest(algorithm + ":" + hexed)
			}
			return fn(e)
		})
		if err != nil {
			return fmt.Errorf("walk %s: %w", base, err)
		}
	}
	return nil
}

// ensureFolder makes a folder below the root durable, once per process.
func (s *FS) ensureFolder(rel string) error {
	if _, ok := s.dirs.Load(rel); ok {
		return nil
	}
	if parent := filepath.Dir(rel); parent != "." {
		if err := s.ensureFolder(parent); err != nil {
			return err
		}
	}
	path := filepath.Join(s.root, rel)
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return err
	}
	s.dirs.Store(rel, struct{}{})
	return nil
}

func (s *FS) uploadPath(state State) string {
	return filepath.Join(s.root, uploadFolder, string(state))
}

// blobPath maps a key to its file and refuses keys that Commit cannot have made.
func (s *FS) blobPath(k Key) (string, error) {
	algorithm, rest, _ := strings.Cut(string(k), "/")
	shard, name, _ := strings.Cut(rest, "/")
	hexed, suffix, _ := strings.Cut(name, "-")
	if _, err := oci.ParseDigest(algorithm + ":" + hexed); err != nil || !strings.HasPrefix(hexed, shard) || len(shard) != 2 || checkNonce(suffix) != nil {
		return "", fmt.Errorf("blob key %q is not one of this store's", string(k))
	}
	return filepath.Join(s.root, blobFolder, algorithm, shard, name), nil
}

const nonceBytes = 10

func nonce() string {
	var b [nonceBytes]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

func checkNonce(s string) error {
	if b, err := hex.DecodeString(s); err != nil || len(b) != nonceBytes {
		return fmt.Errorf("%q is not the name of an upload", s)
	}
	return nil
}

func openFile(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return f, err
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
