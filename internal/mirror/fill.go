package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"slipway/internal/oci"
	"slipway/internal/registry"
)

// fills are the downloads of blobs under way, one for each blob of a
// repository.
type fills struct {
	mu sync.Mutex
	m  map[fillKey]*fill
}

type fillKey struct {
	repository string
	digest     oci.Digest
}

// fill is one download. What arrives goes into the registry, which verifies
// it, and at the same time into a file without a name, from which any number
// of readers follow at their own pace. The last byte is theirs only when the
// whole is verified and kept.
type fill struct {
	digest oci.Digest

	mu      sync.Mutex
	changed chan struct{} // closed, and replaced, when something below changes
	began   bool          // the size is known, if it will be
	size    int64         // -1: unknown until the end
	ready   int64         // bytes that may be read
	done    bool
	err     error
	spool   *os.File
	users   int // of the spool: the download and its readers
}

// errHere ends a fill that found the blob here.
var errHere = errors.New("the blob is here")

func newFill(d oci.Digest) *fill {
	return &fill{digest: d, changed: make(chan struct{}), size: -1, users: 1}
}

// change sets something and wakes all who wait.
func (f *fill) change(set func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	set()
	close(f.changed)
	f.changed = make(chan struct{})
}

// wait returns once until holds, or the fill or ctx ends. It is called with
// f.mu held and returns with it.
func (f *fill) wait(ctx context.Context, until func() bool) error {
	for !until() && !f.done {
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
			f.mu.Lock()
		case <-ctx.Done():
			f.mu.Lock()
			return ctx.Err()
		}
	}
	return nil
}

// whole waits for the end.
func (f *fill) whole(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.wait(ctx, func() bool { return false }); err != nil {
		return err
	}
	return f.err
}

// start waits for the size; it is -1 if only the end will tell.
func (f *fill) start(ctx context.Context) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.wait(ctx, func() bool { return f.began }); err != nil {
		return 0, err
	}
	return f.size, f.err
}

// leave gives up the spool; the last to leave closes it.
func (f *fill) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users--; f.users == 0 && f.spool != nil {
		_ = f.spool.Close()
	}
}

// follow returns a reader, or false if the fill is over, or has no byte to hold
// back.
func (f *fill) follow(ctx context.Context) (*registry.Blob, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done || f.spool == nil || f.size <= 0 {
		return nil, false
	}
	f.users++
	return &registry.Blob{Digest: f.digest, Size: f.size, Whole: f.whole, ReadSeekCloser: &follower{ctx: ctx, f: f}}, true
}

// follower reads a fill while it grows.
type follower struct {
	ctx    context.Context
	f      *fill
	offset int64
	closed bool
}

func (r *follower) Read(p []byte) (int, error) {
	f := r.f
	if r.offset >= f.size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	f.mu.Lock()
	err := f.wait(r.ctx, func() bool { return f.ready > r.offset })
	ready := f.ready
	if err == nil && ready <= r.offset {
		err = f.err
	}
	f.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := f.spool.ReadAt(p[:min(int64(len(p)), ready-r.offset)], r.offset)
	r.offset += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// Seek moves at once; the next Read waits for the bytes.
func (r *follower) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		offset += r.f.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to %d: before the beginning", offset)
	}
	r.offset = offset
	return offset, nil
}

func (r *follower) Close() error {
	if !r.closed {
		r.closed = true
		r.f.leave()
	}
	return nil
}

// recorder passes a download on to the registry and keeps it for followers.
type recorder struct {
	f    *fill
	from io.Reader
	n    int64
	err  error // of the download or the spool
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if n > 0 {
		if _, spoolErr := r.f.spool.WriteAt(p[:n], r.n); spoolErr != nil {
			r.err = fmt.Errorf("keep blob %s for those who wait: %w", r.f.digest, spoolErr)
			return 0, r.err
		}
		r.n += int64(n)
		r.f.change(func() {
			r.f.ready = r.n
			if r.f.size >= 0 {
				r.f.ready = min(r.n, r.f.size-1)
			} else {
				r.f.ready = 0
			}
		})
	}
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}
