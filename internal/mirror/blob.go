package mirror

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"slipway/internal/oci"
	"slipway/internal/registry"
)

// OpenBlob implements httpapi.Reader. A blob that is not here is fetched; the
// reader follows while it arrives, and fails before the last byte if the
// content is false. The download goes on when the reader is closed. Blob.Size
// is known at once, and reading blocks, also after seeking forward, until the
// bytes are there or ctx ends.
func (m *Mirror) OpenBlob(ctx context.Context, repository string, d oci.Digest) (*registry.Blob, error) {
	repository, err := m.Canonical(repository, "")
	if err != nil {
		return nil, err
	}
	p := m.place(repository)
	for attempt := 0; ; attempt++ {
		b, err := m.Registry.OpenBlob(ctx, repository, d)
		if p == nil || !unknown(err) || attempt > 1 {
			return b, err
		}
		if m.c.Offline {
			return nil, offline(oci.CodeBlobUnknown, "blob "+d.String()+" of "+repository)
		}
		f := m.fill(p, d)
		if f == nil {
			return nil, errClosed
		}
		size, err := f.start(ctx)
		if err == nil && size <= 0 {
			err = f.whole(ctx) // nothing can be said, or no byte held back, before
		}
		if err != nil && !errors.Is(err, errHere) {
			return nil, missing("blob "+d.String()+" of "+repository, err)
		}
		if b, ok := f.follow(ctx); ok {
			return b, nil
		}
	}
}

// StatBlob implements httpapi.Reader.
func (m *Mirror) StatBlob(ctx context.Context, repository string, d oci.Digest) (int64, error) {
	repository, err := m.Canonical(repository, "")
	if err != nil {
		return 0, err
	}
	size, err := m.Registry.StatBlob(ctx, repository, d)
	p := m.place(repository)
	if p == nil || !unknown(err) {
		return size, err
	}
	if m.c.Offline {
		return 0, offline(oci.CodeBlobUnknown, "blob "+d.String()+" of "+repository)
	}
	if f := m.fills.find(repository, d); f != nil {
		if size, err := f.start(ctx); err == nil && size >= 0 {
			return size, nil
		}
	}
	if p.backoff.spare() { // most likely a push asks, which need not wait
		return 0, p.justFailed("blob " + d.String() + " of " + repository)
	}
	var found int64
	// Each asks for itself: the answer cannot be shared as an error can, and
	// clients seldom ask for a blob before they pull it.
	err = m.alone(ctx, func(ctx context.Context) error {
		found, err = m.askSize(ctx, p, d)
		return err
	})
	return found, missing("blob "+d.String()+" of "+repository, err)
}

// alone runs fn, which no other caller shares, until ctx or the mirror ends.
func (m *Mirror) alone(ctx context.Context, fn func(context.Context) error) error {
	leave, ok := m.enter()
	if !ok {
		return errClosed
	}
	defer leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.ctx, cancel)()
	return fn(ctx)
}

func (m *Mirror) askSize(ctx context.Context, p *place, d oci.Digest) (int64, error) {
	resp, err := p.do(ctx, http.MethodHead, p.path, "/blobs/"+d.String(), nil, m.c.Stall/3)
	if err != nil {
		return 0, blobError(p, d, err)
	}
	defer discard(resp)
	if resp.StatusCode != http.StatusOK {
		return 0, bad(p, fmt.Sprintf("answers with status %d when asked for the size of blob %s", resp.StatusCode, d))
	}
	size := resp.ContentLength
	want, known, err := expectedSize(m.DB.Read(ctx), p.repository, d)
	switch {
	case err != nil:
		return 0, err
	case known && size >= 0 && size != want:
		return 0, bad(p, fmt.Sprintf("says that blob %s has %d bytes, but its manifest says %d", d, size, want))
	case known:
		return want, nil
	case size < 0:
		return 0, bad(p, fmt.Sprintf("does not say how large blob %s is", d))
	}
	return size, nil
}

func blobError(p *place, d oci.Digest, err error) error {
	if oci.HasCode(err, oci.CodeManifestUnknown) {
		return oci.NewError(oci.CodeBlobUnknown, fmt.Sprintf("neither this registry nor upstream %s has blob %s in %s", p.Name, d, p.path)).WithDetail(map[string]string{"digest": d.String()})
	}
	return err
}

func (fs *fills) find(repository string, d oci.Digest) *fill {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.m[fillKey{repository, d}]
}

// fill returns the download of a blob that is under way, or begins one. It is
// nil while the mirror closes.
func (m *Mirror) fill(p *place, d oci.Digest) *fill {
	key := fillKey{p.repository, d}
	m.fills.mu.Lock()
	defer m.fills.mu.Unlock()
	if f, ok := m.fills.m[key]; ok {
		return f
	}
	leave, ok := m.enter()
	if !ok {
		return nil
	}
	f := newFill(d)
	if m.fills.m == nil {
		m.fills.m = map[fillKey]*fill{}
	}
	m.fills.m[key] = f
	go func() {
		defer leave()
		began := time.Now()
		err := m.download(m.ctx, p, f)
		// Out of the list before anybody is told: whoever asks again gets what
		// is here now, or a new attempt.
		m.fills.mu.Lock()
		delete(m.fills.m, key)
		m.fills.mu.Unlock()
		switch {
		case err == nil:
			m.log.Info("mirrored a blob", "repo", p.repository, "digest", d, "size", f.size, "took", time.Since(began).Round(time.Millisecond))
		case errors.Is(err, context.Canceled):
			err = errClosed
		case !errors.Is(err, errHere) && !unknown(err):
			m.log.Warn("mirroring a blob failed", "repo", p.repository, "digest", d, "err", err)
		}
		f.change(func() {
			f.done, f.err = true, err
			if err == nil {
				f.ready = f.size
			}
		})
		f.leave()
	}()
	return f
}

// download brings the blob into the registry.
func (m *Mirror) download(ctx context.Context, p *place, f *fill) error {
	select {
	case p.downloads <- struct{}{}:
		defer func() { <-p.downloads }()
	case <-ctx.Done():
		return ctx.Err()
	}
	// It may have come between the caller's look and this fill.
	if _, err := m.Registry.StatBlob(ctx, p.repository, f.digest); err == nil {
		return errHere
	} else if !unknown(err) {
		return err
	}
	size, known, err := expectedSize(m.DB.Read(ctx), p.repository, f.digest)
	if err != nil {
		return err
	}
	if !known {
		size = -1
	}
	d := &download{ctx: ctx, place: p, digest: f.digest, stall: m.c.Stall, size: size}
	defer d.close()
	if err := d.open(); err != nil {
		return blobError(p, f.digest, err)
	}
	spool, err := m.spool()
	if err != nil {
		return err
	}
	f.change(func() { f.began, f.size, f.spool = true, d.size, spool })
	in := &recorder{f: f, from: d}
	err = m.Registry.PutBlob(ctx, p.repository, f.digest, registry.Body{Reader: in, Length: d.size})
	switch {
	case in.err != nil:
		return in.err
	case oci.HasCode(err, oci.CodeDigestInvalid):
		return bad(p, fmt.Sprintf("sent %d bytes for blob %s that do not have this digest", in.n, f.digest))
	case err != nil:
		return registry.Classify(err)
	}
	if d.size < 0 {
		f.change(func() { f.size = in.n })
	}
	m.trim.added(in.n)
	return nil
}

// spool makes a file without a name: a crash leaves nothing behind.
func (m *Mirror) spool() (*os.File, error) {
	f, err := os.CreateTemp(m.c.Spool, "mirror-*")
	if err != nil {
		return nil, registry.Classify(fmt.Errorf("keep a blob for those who wait: %w", err))
	}
	_ = os.Remove(f.Name()) // not everywhere possible while it is open
	return f, nil
}
