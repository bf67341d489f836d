package buildkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	cerrdefs "github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"slipway/internal/oci"
	"slipway/internal/pipeline"
)

// writer stores one blob of a result: what the builder sends goes straight
// into the store, which hashes it and makes it durable before Commit returns.
type writer struct {
	v        *view
	ref      string
	expected oci.Digest
	total    int64
	started  time.Time

	pipe   *io.PipeWriter
	done   chan error // one value: what the store said
	offset atomic.Int64
	small  bytes.Buffer // the beginning, while it may be a manifest
}

// Writer implements content.Store. Content that the solve's repository has, or
// that comes from a base, is pinned and then answered with AlreadyExists.
func (v *view) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	if v.repository == "" {
		return nil, fmt.Errorf("this build has no output: %w", cerrdefs.ErrPermissionDenied)
	}
	if o.Desc.Digest == "" || o.Desc.Digest.Validate() != nil {
		return nil, fmt.Errorf("content without a digest can't be stored: %w", cerrdefs.ErrInvalidArgument)
	}
	exists, err := v.take(ctx, o.Desc.Digest)
	if err != nil {
		return nil, err
	}
	if exists {
		return nil, fmt.Errorf("content %s: %w", o.Desc.Digest, cerrdefs.ErrAlreadyExists)
	}
	w := &writer{v: v, ref: o.Ref, expected: o.Desc.Digest, total: o.Desc.Size, started: time.Now()}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, fmt.Errorf("the build has ended: %w", cerrdefs.ErrFailedPrecondition)
	}
	if _, busy := v.pending[o.Ref]; busy {
		return nil, fmt.Errorf("%s is being written: %w", o.Ref, cerrdefs.ErrUnavailable)
	}
	v.pending[o.Ref] = w
	w.begin()
	return w, nil
}

// take reports whether content is here for this solve already, and keeps it.
// A manifest is always written: it is small, and its bytes are needed.
func (v *view) take(ctx context.Context, d oci.Digest) (bool, error) {
	v.mu.Lock()
	_, wrote := v.stored[d]
	v.mu.Unlock()
	if wrote {
		return true, nil
	}
	var size int64
	// Whatever Info calls existing must be kept here: the builder asks both.
	base, isBase := v.lookup(ctx, d)
	if isBase && base.manifest {
		return false, nil
	}
	if isBase {
		if err := v.store.Pin(ctx, v.holder, pinTime, d); err != nil {
			return false, err
		}
		mounted, err := v.store.Mount(ctx, v.repository, d, base.repository)
		if err != nil || !mounted {
			return false, err
		}
		size = base.size
	} else {
		var err error
		size, err = v.store.StatBlob(ctx, v.repository, d)
		if errors.Is(err, pipeline.ErrNotFound) {
			return false, nil
		}
		if err != nil || size <= maxManifest { // may be a manifest or a config
			return false, err
		}
		if err := v.store.Pin(ctx, v.holder, pinTime, d); err != nil {
			return false, err
		}
	}
	v.mu.Lock()
	v.stored[d] = size
	v.mu.Unlock()
	return true, nil
}

func (w *writer) begin() {
	r, pw := io.Pipe()
	done := make(chan error, 1)
	w.pipe, w.done = pw, done
	go func() {
		// The pipe ends this call: with the content's end, or with an error.
		err := w.v.store.Pin(context.Background(), w.v.holder, pinTime, w.expected)
		if err == nil {
			err = w.v.store.PutBlob(context.Background(), w.v.repository, w.expected, r)
		}
		_ = r.CloseWithError(errors.Join(err, io.ErrClosedPipe)) // a late write must not hang
		done <- err
	}()
}

// Write implements content.Writer.
func (w *writer) Write(p []byte) (int, error) {
	if at := w.offset.Load(); int64(w.small.Len()) == at && at+int64(len(p)) <= maxManifest {
		w.small.Write(p)
	}
	n, err := w.pipe.Write(p)
	w.offset.Add(int64(n))
	return n, err
}

// Commit implements content.Writer: it returns when the content is durable.
func (w *writer) Commit(_ context.Context, size int64, expected digest.Digest, _ ...content.Opt) error {
	if expected != "" && expected != w.expected {
		w.abort()
		return fmt.Errorf("commit %s as %s: %w", w.expected, expected, cerrdefs.ErrFailedPrecondition)
	}
	if size > 0 && size != w.offset.Load() {
		w.abort()
		return fmt.Errorf("commit %s: %d of %d bytes came: %w", w.expected, w.offset.Load(), size, cerrdefs.ErrFailedPrecondition)
	}
	_ = w.pipe.Close() // never fails
	err := <-w.done
	w.done <- err
	w.v.mu.Lock()
	defer w.v.mu.Unlock()
	delete(w.v.pending, w.ref)
	if err != nil {
		return fmt.Errorf("store %s: %w", w.expected, err)
	}
	w.v.stored[w.expected] = w.offset.Load()
	if text := w.small.Bytes(); int64(len(text)) == w.offset.Load() && bytes.HasPrefix(text, []byte("{")) {
		w.v.written[w.expected] = bytes.Clone(text)
	}
	return nil
}

func (w *writer) abort() {
	_ = w.pipe.CloseWithError(errors.New("the write was given up"))
	err := <-w.done
	w.done <- err
	w.v.mu.Lock()
	delete(w.v.pending, w.ref)
	w.v.mu.Unlock()
}

// Close implements content.Writer. An unfinished write is given up.
func (w *writer) Close() error {
	select {
	case err := <-w.done:
		w.done <- err
	default:
		w.abort()
	}
	return nil
}

// Digest implements content.Writer.
func (w *writer) Digest() digest.Digest { return w.expected }

// Status implements content.Writer.
func (w *writer) Status() (content.Status, error) {
	return content.Status{Ref: w.ref, Offset: w.offset.Load(), Total: w.total, Expected: w.expected, StartedAt: w.started, UpdatedAt: time.Now()}, nil
}

// Truncate implements content.Writer: it begins again.
func (w *writer) Truncate(size int64) error {
	if size != 0 {
		return fmt.Errorf("a write can only begin again: %w", cerrdefs.ErrInvalidArgument)
	}
	if w.offset.Load() == 0 {
		return nil
	}
	w.abort()
	w.offset.Store(0)
	w.small.Reset()
	w.v.mu.Lock()
	w.v.pending[w.ref] = w
	w.v.mu.Unlock()
	w.begin()
	return nil
}

// Status implements content.Store.
func (v *view) Status(_ context.Context, ref string) (content.Status, error) {
	v.mu.Lock()
	w, ok := v.pending[ref]
	v.mu.Unlock()
	if !ok {
		return content.Status{}, fmt.Errorf("nothing is being written as %s: %w", ref, cerrdefs.ErrNotFound)
	}
	return w.Status()
}

// ListStatuses implements content.Store.
func (v *view) ListStatuses(context.Context, ...string) ([]content.Status, error) { return nil, nil }

// Abort implements content.Store.
func (v *view) Abort(_ context.Context, ref string) error {
	v.mu.Lock()
	w, ok := v.pending[ref]
	v.mu.Unlock()
	if ok {
		w.abort()
	}
	return nil
}
