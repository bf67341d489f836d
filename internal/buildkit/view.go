package buildkit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	cerrdefs "github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/internal/oci"
	"slipway/internal/pipeline"
)

// view is the content store that one solve sees over its session. It reads
// the closure of the solve's bases and nothing else: a frontend that asks for
// any other digest is told that it does not exist. It writes into the solve's
// own repository, durably, and pins before it says that something exists.
type view struct {
	store      pipeline.Store
	repository string // "": writes are refused
	holder     string

	mu       sync.Mutex
	readable map[oci.Digest]entry
	open     map[oci.Digest]*handle
	written  map[oci.Digest][]byte // small JSON that was written: manifests are among it
	pending  map[string]*writer
	stored   map[oci.Digest]int64
	closed   bool

	learning sync.Mutex // held by lookup while it reads manifests
}

// entry is content that may be read, and where it is.
type entry struct {
	repository string
	manifest   bool
	size       int64 // -1: not known yet
	tried      bool  // lookup has read this manifest, or could not
}

// pinTime is longer than any solve is expected to take between two pins.
const pinTime = 24 * time.Hour

// maxManifest bounds what is kept in memory of what the builder writes.
const maxManifest = 4 << 20

func newView(store pipeline.Store, repository, holder string, bases []pipeline.Base) *view {
	v := &view{store: store, repository: repository, holder: holder,
		readable: map[oci.Digest]entry{}, open: map[oci.Digest]*handle{}, written: map[oci.Digest][]byte{},
		pending: map[string]*writer{}, stored: map[oci.Digest]int64{}}
	for _, b := range bases {
		v.readable[b.Digest] = entry{repository: b.Repository, manifest: true, size: -1}
	}
	return v
}

// Close lets go of open blobs and of writes that were not committed.
func (v *view) Close() {
	v.mu.Lock()
	open, pending := v.open, v.pending
	v.open, v.pending, v.closed = map[oci.Digest]*handle{}, map[string]*writer{}, true
	v.mu.Unlock()
	for _, h := range open {
		h.close()
	}
	for _, w := range pending {
		w.abort()
	}
}

func notFound(d digest.Digest) error {
	return fmt.Errorf("content %s is not part of this build: %w", d, cerrdefs.ErrNotFound)
}

// Info implements content.Store.
func (v *view) Info(ctx context.Context, d digest.Digest) (content.Info, error) {
	size, err := v.size(ctx, d)
	if err != nil {
		return content.Info{}, err
	}
	return content.Info{Digest: d, Size: size}, nil
}

func (v *view) size(ctx context.Context, d oci.Digest) (int64, error) {
	v.mu.Lock()
	size, wrote := v.stored[d]
	v.mu.Unlock()
	if wrote {
		return size, nil
	}
	e, ok := v.lookup(ctx, d)
	if !ok {
		return 0, notFound(d)
	}
	if e.manifest {
		h, err := v.handle(ctx, d)
		if err != nil {
			return 0, err
		}
		return h.size, nil
	}
	return e.size, nil
}

// ReaderAt implements content.Store. Each read of the builder opens one, a
// megabyte at a time: the blob behind it stays open until the solve ends.
func (v *view) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	h, err := v.handle(ctx, desc.Digest)
	if err != nil {
		return nil, err
	}
	return reader{h}, nil
}

func (v *view) handle(ctx context.Context, d oci.Digest) (*handle, error) {
	v.mu.Lock()
	h, opened := v.open[d]
	v.mu.Unlock()
	if opened {
		return h, nil
	}
	e, ok := v.lookup(ctx, d)
	if !ok {
		return nil, notFound(d)
	}
	if e.manifest {
		return v.openManifest(ctx, e, d)
	}
	// The blob outlives this call: it is read by the calls that follow.
	b, err := v.store.OpenBlob(context.WithoutCancel(ctx), e.repository, d)
	if err != nil {
		return nil, fmt.Errorf("read base layer %s of %s: %w", d, e.repository, err)
	}
	return v.keep(d, &handle{size: b.Size(), blob: b})
}

// lookup finds content that may be read. The builder does equal steps of two
// solves once, and may ask this one for a layer of a base whose manifest it read
// from the other: what is not known yet is looked for in the manifests that were
// not opened here.
func (v *view) lookup(ctx context.Context, d oci.Digest) (entry, bool) {
	known := func() (e entry, ok bool, next oci.Digest) {
		v.mu.Lock()
		defer v.mu.Unlock()
		if e, ok = v.readable[d]; ok {
			return e, true, ""
		}
		for m, e := range v.readable {
			if e.manifest && !e.tried && v.open[m] == nil {
				return e, false, m
			}
		}
		return entry{}, false, ""
	}
	if e, ok, next := known(); ok || next == "" {
		return e, ok
	}
	v.learning.Lock()
	defer v.learning.Unlock()
	for {
		e, ok, next := known()
		if ok || next == "" {
			return e, ok
		}
		// A platform that an index lists need not be here.
		if _, err := v.openManifest(ctx, e, next); err != nil && ctx.Err() != nil {
			return entry{}, false
		}
		v.mu.Lock()
		e.tried = true
		v.readable[next] = e
		v.mu.Unlock()
	}
}

// openManifest reads a manifest and makes what it points at readable.
func (v *view) openManifest(ctx context.Context, e entry, d oci.Digest) (*handle, error) {
	mediaType, raw, err := v.store.Manifest(ctx, e.repository, d)
	if err != nil {
		return nil, fmt.Errorf("read base %s@%s: %w", e.repository, d, err)
	}
	m, err := oci.ParseManifest(mediaType, raw)
	if err != nil {
		return nil, fmt.Errorf("read base %s@%s: %w", e.repository, d, err)
	}
	if err := v.store.Pin(ctx, v.holder, pinTime, d); err != nil {
		return nil, err
	}
	v.mu.Lock()
	for _, edge := range m.Edges {
		if _, known := v.readable[edge.Digest]; !known && edge.Kind != oci.EdgeForeign {
			v.readable[edge.Digest] = entry{repository: e.repository, manifest: edge.Kind == oci.EdgeManifest, size: edge.Size}
		}
	}
	v.mu.Unlock()
	return v.keep(d, &handle{size: int64(len(raw)), blob: memory{bytes.NewReader(raw)}})
}

func (v *view) keep(d oci.Digest, h *handle) (*handle, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		h.close()
		return nil, fmt.Errorf("read %s: the build has ended: %w", d, cerrdefs.ErrFailedPrecondition)
	}
	if other, raced := v.open[d]; raced {
		h.close()
		return other, nil
	}
	v.open[d] = h
	return h, nil
}

// handle is an open blob that several readers share.
type handle struct {
	mu     sync.Mutex
	blob   io.ReadSeekCloser
	size   int64
	at     int64
	closed bool
}

type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

func (h *handle) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		_ = h.blob.Close() // it was only read
	}
}

type reader struct{ *handle }

func (r reader) Size() int64  { return r.size }
func (r reader) Close() error { return nil }

func (r reader) ReadAt(p []byte, off int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, fmt.Errorf("the build has ended: %w", cerrdefs.ErrFailedPrecondition)
	}
	if off >= r.size {
		return 0, io.EOF
	}
	if off != r.at {
		if _, err := r.blob.Seek(off, io.SeekStart); err != nil {
			return 0, err
		}
		r.at = off
	}
	if int64(len(p)) > r.size-off {
		p = p[:r.size-off]
	}
	n, err := io.ReadFull(r.blob, p)
	r.at += int64(n)
	if err == nil && r.at == r.size {
		err = io.EOF
	}
	return n, err
}

// The builder has no reason to change or list content; a hostile frontend has.

// Update implements content.Store: labels are not kept.
func (v *view) Update(ctx context.Context, info content.Info, _ ...string) (content.Info, error) {
	return v.Info(ctx, info.Digest)
}

// Walk implements content.Store: nothing is listed.
func (v *view) Walk(context.Context, content.WalkFunc, ...string) error { return nil }

// Delete implements content.Store: nothing is deleted.
func (v *view) Delete(_ context.Context, d digest.Digest) error {
	return fmt.Errorf("a build deletes nothing: %s: %w", d, cerrdefs.ErrPermissionDenied)
}

var _ content.Store = (*view)(nil)
