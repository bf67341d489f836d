package tree

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"slipway/internal/oci"
)

// Limits of a cache. What is used least recently goes first.
const (
	maxRoots   = 64
	maxRecords = 1_000_000
)

// Cache remembers hashes of files by root and path. It is safe for concurrent
// use, also by Loads of the same root. A nil Cache remembers nothing.
//
// Roots never share a record: a file is known only under the path at which it
// was hashed, with device, inode, size and both times as they were then.
type Cache struct {
	path string // of the file; "" keeps it in memory

	mu    sync.Mutex
	roots map[string]*rootRecords
	dirty bool
}

// rootRecords is what is known about one root. The map is never changed, only
// exchanged, so that it is read without the lock.
type rootRecords struct {
	used    time.Time
	packed  []byte // not decoded yet; records is nil then
	records map[string]record
}

type record struct {
	stamp  stamp
	digest oci.Digest
	xattrs map[string][]byte
}

// NewCache makes an empty cache that lives in memory.
func NewCache() *Cache { return &Cache{roots: map[string]*rootRecords{}} }

// records is what is known about a root; not to be changed.
func (c *Cache) records(root string) map[string]record {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.roots[root]
	if r == nil {
		return nil
	}
	r.unpack()
	r.used = time.Now()
	return r.records
}

// remember adds the entries of t with the given indexes.
func (c *Cache) remember(root string, t *Tree, fresh []int) {
	if c == nil || len(fresh) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.roots[root]
	if r == nil {
		r = &rootRecords{}
		c.roots[root] = r
	}
	r.unpack()
	records := maps.Clone(r.records)
	// Files of other ignore patterns over the same root are worth keeping,
	// those that no longer exist are not: start again before they prevail.
	if len(records) > 2*len(t.entries)+1000 || records == nil {
		records = make(map[string]record, len(t.entries))
		for i := range t.entries {
			if known, ok := r.records[t.entries[i].Path]; ok {
				records[t.entries[i].Path] = known
			}
		}
	}
	for _, i := range fresh {
		e := &t.entries[i]
		records[e.Path] = record{t.stamps[i], e.Digest, e.Xattrs}
	}
	r.records, r.used, c.dirty = records, time.Now(), true
	c.shrink()
}

// shrink drops the roots that were not used for longest, down to the limits.
func (c *Cache) shrink() {
	total := 0
	for _, r := range c.roots {
		total += r.len()
	}
	for len(c.roots) > 1 && (len(c.roots) > maxRoots || total > maxRecords) {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(c.roots)), func(a, b string) int {
			return cmp.Or(c.roots[a].used.Compare(c.roots[b].used), cmp.Compare(a, b))
		})
		total -= c.roots[oldest].len()
		delete(c.roots, oldest)
	}
}
