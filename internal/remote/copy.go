package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// maxManifests bounds how many manifests one root may lead to.
const maxManifests = 20000

// source yields content by digest. Manifests are verified when they are
// returned, blobs when they have been read to the end.
type source interface {
	manifestReader
	openBlob(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error)
	referrers(ctx context.Context, digest v1.Hash) ([]v1.Descriptor, error)
}

// sink takes content. Nothing that it holds under a digest is written again.
// Its methods are called from several goroutines.
type sink interface {
	hasManifest(ctx context.Context, digest v1.Hash) (bool, error)
	// putBlob stores a blob that open yields; it may call open again after a
	// failure.
	putBlob(ctx context.Context, desc v1.Descriptor, open func() (io.ReadCloser, error)) (Outcome, error)
	// putManifest stores a manifest whose content is already there.
	putManifest(ctx context.Context, m *manifest) error
	tag(ctx context.Context, m *manifest, tag string) error
}

// copier moves manifests with all they name from src to dst.
type copier struct {
	src       source
	dst       sink
	progress  Progress
	referrers bool          // also what refers to each manifest
	slots     chan struct{} // one for each transfer that may run

	mu    sync.Mutex
	tasks map[v1.Hash]*task
	done  []*manifest // in order of completion, for the search for referrers
	tally Tally
}

// Tally counts what a copy did.
type Tally struct {
	Manifests int   `json:"manifests"` // written
	Blobs     int   `json:"blobs"`     // transferred
	Bytes     int64 `json:"bytes"`     // of transferred blobs
	Mounted   int   `json:"mounted"`   // blobs linked inside the registry
	Existing  int   `json:"existing"`  // manifests and blobs that were there
	Referrers int   `json:"referrers"` // manifests found as referrers
}

// task makes sure that content with several parents is handled once.
type task struct {
	once sync.Once
	err  error
}

func newCopier(src source, dst sink, o Options) *copier {
	return &copier{src: src, dst: dst, progress: o.Progress, slots: make(chan struct{}, o.Jobs), tasks: map[v1.Hash]*task{}}
}

// run copies root and everything below it, referrers if wanted, then sets the
// tags. When it fails, dst holds no manifest whose content is missing.
func (c *copier) run(ctx context.Context, root *manifest, tags ...string) error {
	if err := c.tree(ctx, root, 0); err != nil {
		return err
	}
	if c.referrers {
		if err := c.copyReferrers(ctx); err != nil {
			return err
		}
	}
	for _, tag := range tags {
		if err := c.dst.tag(ctx, root, tag); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) once(digest v1.Hash, f func() error) error {
	c.mu.Lock()
	t := c.tasks[digest]
	if t == nil {
		t = &task{}
		c.tasks[digest] = t
	}
	tooMany := len(c.tasks) > maxManifests*10
	c.mu.Unlock()
	if tooMany {
		return errors.New("the image leads to too many manifests and blobs")
	}
	t.once.Do(func() { t.err = f() })
	return t.err
}

func (c *copier) tree(ctx context.Context, m *manifest, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("indexes stand more than %d deep", maxDepth)
	}
	return c.once(m.desc.Digest, func() error { return c.node(ctx, m, depth) })
}

// node copies one manifest after its content. A manifest that is there already
// has its content there too, so it is passed over, unless referrers of its
// children are wanted.
func (c *copier) node(ctx context.Context, m *manifest, depth int) error {
	exists, err := c.dst.hasManifest(ctx, m.desc.Digest)
	if err != nil {
		return err
	}
	if !exists || c.referrers && m.isIndex() {
		if err := c.content(ctx, m, depth); err != nil {
			return err
		}
	}
	if !exists {
		if err := c.dst.putManifest(ctx, m); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = append(c.done, m)
	if exists {
		c.tally.Existing++
	} else {
		c.tally.Manifests++
	}
	return nil
}

func (c *copier) content(ctx context.Context, m *manifest, depth int) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, d := range m.blobs() {
		g.Go(func() error { return c.once(d.Digest, func() error { return c.blob(ctx, d) }) })
	}
	for _, d := range m.Manifests {
		g.Go(func() error { return c.child(ctx, d, depth+1) })
	}
	return g.Wait()
}

func (c *copier) child(ctx context.Context, d v1.Descriptor, depth int) error {
	if !d.MediaType.IsIndex() && !d.MediaType.IsImage() {
		return c.once(d.Digest, func() error { return c.blob(ctx, d) })
	}
	m, err := c.limited(ctx, func() (*manifest, error) { return c.src.manifest(ctx, d) })
	if isNotFound(err) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the index lists %s (%s), which is not there; --platform takes one image that is", d.Digest, platformText(d.Platform))
	}
	if err != nil {
		return err
	}
	return c.tree(ctx, m, depth)
}

// limited runs f while it holds one of the transfer slots.
func (c *copier) limited(ctx context.Context, f func() (*manifest, error)) (*manifest, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
		return f()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *copier) blob(ctx context.Context, d v1.Descriptor) error {
	if !d.MediaType.IsDistributable() {
		return nil // it has its own place on the web: clients fetch it there
	}
	_, err := c.limited(ctx, func() (*manifest, error) {
		transfer := c.progress.Begin(d.Digest.String(), d.Size)
		counted := &countedBlob{desc: d, to: transfer, open: func() (io.ReadCloser, error) { return c.src.openBlob(ctx, d) }}
		outcome, err := c.dst.putBlob(ctx, d, counted.Open)
		if err != nil {
			transfer.Done(Failed)
			return nil, err
		}
		transfer.Done(outcome)
		c.count(outcome, d.Size)
		return nil, nil
	})
	return err
}

func (c *copier) count(o Outcome, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch o {
	case Copied:
		c.tally.Blobs++
		c.tally.Bytes += size
	case Mounted:
		c.tally.Mounted++
	case Existed:
		c.tally.Existing++
	}
}

// copyReferrers works through all manifests handled so far, and those that it
// adds itself. It runs after the trees, never inside them: an index may refer
// to a manifest that it also lists.
func (c *copier) copyReferrers(ctx context.Context) error {
	for i := 0; i < len(c.done); i++ {
		found, err := c.src.referrers(ctx, c.done[i].desc.Digest)
		if err != nil {
			return err
		}
		for _, d := range found {
			m, err := c.src.manifest(ctx, d)
			if err != nil {
				return err
			}
			if err := c.tree(ctx, m, 0); err != nil {
				return err
			}
			c.tally.Referrers++
		}
	}
	return nil
}
