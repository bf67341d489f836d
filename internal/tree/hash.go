package tree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"slipway/internal/oci"
)

// stamp changes whenever a file's bytes do. Times are nanoseconds since 1970.
type stamp struct {
	dev, ino           uint64
	size, mtime, ctime int64
}

// racy is how long a file must have been left alone before it was hashed for
// the hash to be remembered. File systems with coarse times have up to 2 s.
const racy = 2 * time.Second

// lasts says whether the stamp will differ after the next write, if it was
// taken at the moment now.
func (s stamp) lasts(now time.Time) bool {
	return s.ctime != 0 && max(s.mtime, s.ctime) < now.Add(-racy).UnixNano()
}

// attempts is how often a file that changes is read before Load gives up.
const attempts = 3

var hashBuffers = sync.Pool{New: func() any { b := make([]byte, 128<<10); return &b }}

// hashFiles fills in what the entries of these indexes contain, and returns
// the indexes of those whose hash may be remembered. Entries that have
// vanished are removed from t, and the indexes are those after that.
func hashFiles(ctx context.Context, t *Tree, indexes []int) (fresh []int, err error) {
	if len(indexes) == 0 {
		return nil, nil
	}
	root, err := os.OpenRoot(t.root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var (
		ctxHash, cancel = context.WithCancelCause(ctx)
		next            atomic.Int64
		lasting         = make([]bool, len(indexes))
		workers         sync.WaitGroup
	)
	defer cancel(nil)
	for range min(runtime.GOMAXPROCS(0), len(indexes)) {
		workers.Go(func() {
			for ctxHash.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= len(indexes) {
					return
				}
				i := indexes[n]
				var err error
				if lasting[n], err = hashEntry(ctxHash, root, &t.entries[i], &t.stamps[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	workers.Wait()
	if ctxHash.Err() != nil {
		return nil, context.Cause(ctxHash)
	}
	return settle(t, indexes, lasting), nil
}

// settle removes entries that have vanished (files without a digest) and
// returns where those are that last.
func settle(t *Tree, indexes []int, lasting []bool) (fresh []int) {
	removed, n := 0, 0
	keep := func(i int) { t.entries[i-removed], t.stamps[i-removed] = t.entries[i], t.stamps[i] }
	for i := range t.entries {
		hashed := n < len(indexes) && indexes[n] == i
		if hashed && t.entries[i].Digest == "" {
			removed++
		} else {
			keep(i)
			if hashed && lasting[n] {
				fresh = append(fresh, i-removed)
			}
		}
		if hashed {
			n++
		}
	}
	t.entries, t.stamps = slices.Delete(t.entries, len(t.entries)-removed, len(t.entries)), t.stamps[:len(t.stamps)-removed]
	return fresh
}

// hashEntry reads one file. It leaves the digest empty if the file is gone.
func hashEntry(ctx context.Context, root *os.Root, e *Entry, s *stamp) (lasts bool, err error) {
	for range attempts {
		now := time.Now()
		before, sum, xattrs, same, err := hashFile(ctx, root, e.Path)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
			return false, unreadable(e.Path, err)
		}
		if same {
			e.Digest, e.Size, e.Xattrs, *s = sum, before.size, xattrs, before
			return before.lasts(now), nil
		}
	}
	return false, fmt.Errorf("%s was %w: it was written to each of the %d times that it was read. Wait for what writes it, or name it in .dockerignore", e.Path, ErrChanged, attempts)
}

// hashFile reads a file; same is false if it changed under the reader.
func hashFile(ctx context.Context, root *os.Root, path string) (before stamp, sum oci.Digest, attributes map[string][]byte, same bool, err error) {
	f, err := openFile(root, path)
	if err != nil {
		return
	}
	defer f.Close()
	before, regular, err := fileStamp(f)
	if err != nil {
		return
	}
	if !regular {
		err = fs.ErrNotExist // something else took its place
		return
	}
	h := sha256.New()
	buf := hashBuffers.Get().(*[]byte)
	defer hashBuffers.Put(buf)
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, contextReader{ctx, f}, *buf)
	if err != nil {
		return
	}
	if attributes, err = fileXattrs(f); err != nil {
		return
	}
	after, _, err := fileStamp(f)
	return before, digestOf(h.Sum(nil)), attributes, before == after && n == before.size, err
}

// openFile opens for reading, without leaving the root and without waiting.
func openFile(root *os.Root, path string) (*os.File, error) {
	return root.OpenFile(filepath.FromSlash(path), os.O_RDONLY|nonblock, 0)
}

func digestOf(sum []byte) oci.Digest { return oci.Digest("sha256:" + hex.EncodeToString(sum)) }

// contextReader ends a long read when nobody wants its result any more.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
