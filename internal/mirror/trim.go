package mirror

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"slipway/internal/db"
	"slipway/internal/meta"
	"slipway/internal/oci"
)

// trimming says when to look for what can go: looking reads all that is
// cached, so it waits until there may be too much.
type trimming struct {
	limit int64
	due   chan struct{}
	mu    sync.Mutex
	size  int64 // at the last look, and what was added since; -1 before the first
	fresh int64 // added since the look that is under way began: it may not have seen it
	one   sync.Mutex
}

func (t *trimming) init(limit int64) {
	t.limit, t.size, t.due = limit, -1, make(chan struct{}, 1)
}

// added counts what was fetched.
func (t *trimming) added(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fresh += n
	if t.size >= 0 {
		t.size += n
	}
	t.ask()
}

// look begins to add up what is here.
func (t *trimming) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fresh = 0
}

// seen is the result of a look. What came meanwhile is perhaps not part of it.
func (t *trimming) seen(size int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.size = size + t.fresh
	if t.fresh > 0 {
		t.ask()
	}
}

// ask wants another look if there may be too much.
func (t *trimming) ask() {
	if t.limit > 0 && t.size > t.limit {
		select {
		case t.due <- struct{}{}:
		default:
		}
	}
}

const trimInterval = 10 * time.Minute

// Run keeps cached content under its limit until ctx ends: it looks when it
// starts, from time to time, and when what was fetched exceeds the limit.
func (m *Mirror) Run(ctx context.Context) {
	ticker := time.NewTicker(trimInterval)
	defer ticker.Stop()
	for {
		if _, err := m.Trim(ctx); err != nil && ctx.Err() == nil {
			m.log.Error("evicting mirrored content failed; the next attempt goes on", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-m.trim.due:
		}
	}
}

// Trimmed is what Trim came to.
type Trimmed struct {
	Manifests int   // evicted
	Bytes     int64 // that collection can free now
	Cached    int64 // bytes that stay
}

// Trim evicts the manifests that were not used for longest until what only
// they need fits into MaxSize, and forgets what is no longer here. An index
// that is used keeps what is here of it. What a person pushed, what other
// repositories hold and what is pinned does not count and does not go.
// Collection frees the bytes.
func (m *Mirror) Trim(ctx context.Context) (Trimmed, error) {
	m.trim.one.Lock()
	defer m.trim.one.Unlock()
	if err := m.Flush(ctx); err != nil {
		m.log.Warn("recording last pulls failed; they are lost", "err", err)
	}
	for {
		var n int64
		if err := m.DB.Update(ctx, func(tx *db.Tx) (err error) {
			n, err = forget(tx, trimSlice)
			return err
		}); err != nil {
			return Trimmed{}, fmt.Errorf("trim mirror: %w", err)
		}
		if n < trimSlice {
			break
		}
	}
	m.trim.look()
	var c *census
	if err := m.DB.View(ctx, func(tx *db.Tx) (err error) {
		c, err = takeCensus(tx)
		return err
	}); err != nil {
		return Trimmed{}, fmt.Errorf("trim mirror: %w", err)
	}
	r := Trimmed{Cached: c.size}
	defer func() { m.trim.seen(r.Cached) }()
	if m.c.MaxSize <= 0 || c.size <= m.c.MaxSize {
		return r, nil
	}
	for _, e := range c.oldestFirst() {
		if r.Cached <= m.c.MaxSize {
			break
		}
		evicted, err := m.evict(ctx, e)
		if err != nil {
			return r, fmt.Errorf("evict %s@%s: %w", e.repository, e.digest, err)
		}
		if evicted {
			freed := c.remove(e)
			r.Manifests++
			r.Bytes += freed
			r.Cached -= freed
		}
	}
	m.log.Info("evicted mirrored content", "manifests", r.Manifests, "bytes", r.Bytes, "cached", r.Cached, "limit", m.c.MaxSize)
	if r.Cached > m.c.MaxSize {
		m.log.Warn("mirrored content exceeds mirror.max-size, and what is left of it is pinned or in use", "cached", r.Cached, "limit", m.c.MaxSize)
	}
	return r, nil
}

const trimSlice = 500

// census is all cached content and who needs it.
type census struct {
	manifests map[entryKey]*entry
	users     map[oci.Digest]int // cached manifests that need it, in any repository
	sizes     map[oci.Digest]int64
	size      int64 // of all that only cached manifests need
}

type entryKey struct {
	repository string
	digest     oci.Digest
}

type entry struct {
	held
	parts []part
	kept  bool // a person's, or below one
	depth int  // how far below an index
}

func takeCensus(tx *db.Tx) (*census, error) {
	c := &census{manifests: map[entryKey]*entry{}, users: map[oci.Digest]int{}, sizes: map[oci.Digest]int64{}}
	if err := heldManifests(tx, func(h held) {
		c.manifests[entryKey{h.repository, h.digest}] = &entry{held: h, kept: !h.cached}
	}); err != nil {
		return nil, err
	}
	for _, e := range c.manifests {
		var err error
		if e.parts, err = partsOf(tx, e.id, e.digest); err != nil {
			return nil, err
		}
	}
	for _, e := range c.manifests {
		c.handDown(e, 0)
	}
	needed := map[oci.Digest]bool{} // by somebody else
	for _, e := range c.manifests {
		e.each(func(d oci.Digest, size int64) {
			c.sizes[d] = size
			if needed[d] = needed[d] || e.kept; !e.kept {
				c.users[d]++
			}
		})
	}
	for d, size := range c.sizes {
		if !needed[d] {
			var err error
			if needed[d], err = neededElsewhere(tx, d); err != nil {
				return nil, err
			}
		}
		if needed[d] {
			delete(c.sizes, d)
		} else {
			c.size += size
		}
	}
	return c, nil
}

const maxDepth = 8

// handDown gives what is below an index its use.
func (c *census) handDown(e *entry, depth int) {
	for _, p := range e.parts {
		child := c.manifests[entryKey{e.repository, p.digest}]
		if child == nil || p.kind != oci.EdgeManifest || depth >= maxDepth {
			continue
		}
		child.used = max(child.used, e.used)
		child.kept = child.kept || e.kept
		child.depth = max(child.depth, depth+1)
		c.handDown(child, depth+1)
	}
}

// each calls fn for the manifest and every blob that it needs, once.
func (e *entry) each(fn func(d oci.Digest, size int64)) {
	fn(e.digest, e.size)
	seen := map[oci.Digest]bool{}
	for _, p := range e.parts {
		if p.kind != oci.EdgeManifest && !seen[p.digest] {
			seen[p.digest] = true
			fn(p.digest, p.size)
		}
	}
}

// oldestFirst lists what may go. Of two that were used at once, an index comes
// before what it holds.
func (c *census) oldestFirst() []*entry {
	var list []*entry
	for _, e := range c.manifests {
		if !e.kept {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b *entry) int {
		switch {
		case a.used != b.used:
			return int(min(max(a.used-b.used, -1), 1))
		case a.depth != b.depth:
			return a.depth - b.depth
		}
		return slices.Compare([]byte(a.repository+a.digest.String()), []byte(b.repository+b.digest.String()))
	})
	return list
}

// remove returns the bytes that nothing needs any more.
func (c *census) remove(e *entry) (freed int64) {
	e.each(func(d oci.Digest, _ int64) {
		if c.users[d]--; c.users[d] == 0 {
			freed += c.sizes[d]
		}
	})
	return freed
}

// evict removes a manifest and its repository's hold on what no other manifest
// there uses, unless it was used since the census or is pinned.
func (m *Mirror) evict(ctx context.Context, e *entry) (evicted bool, err error) {
	err = m.DB.Update(ctx, func(tx *db.Tx) error {
		evicted = false
		if at, cached, err := lastUse(tx, e.repository, e.digest); err != nil || !cached || at > e.used {
			return err
		}
		if _, pinned, err := meta.PinHolder(tx, e.digest); err != nil || pinned {
			return err
		}
		// Its tombstone is over at once: it can be fetched again.
		deleted, err := meta.DeleteManifest(tx, e.id, e.repository, e.digest, meta.Change{Actor: Actor, Cause: "evicted: mirror.max-size"}, tx.Now())
		if err != nil || !deleted {
			return err
		}
		evicted = true
		for _, p := range e.parts {
			if p.kind == oci.EdgeManifest {
				continue
			}
			if _, used, err := meta.UserOf(tx, e.id, p.digest); err != nil {
				return err
			} else if used {
				continue
			}
			if _, pinned, err := meta.PinHolder(tx, p.digest); err != nil {
				return err
			} else if pinned {
				continue
			}
			if _, err := meta.Leave(tx, e.id, p.digest); err != nil {
				return err
			}
		}
		return nil
	})
	return evicted, err
}
