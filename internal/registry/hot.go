package registry

import "sync"

// hot remembers what was just read while nothing has been written: the many
// pulls of one image by a whole cluster cost one look into the database. It
// holds for one generation of the database and is thrown away as a whole, so
// there is nothing to invalidate and nothing stale to serve.
type hot struct {
	mu         sync.RWMutex
	generation uint64
	bytes      int
	entries    map[hotKey]any
}

type hotKey struct{ kind, repository, reference string }

const (
	hotBudget  = 8 << 20   // bytes of content
	hotLargest = 256 << 10 // larger content is not kept
	hotEntry   = 512       // what an entry costs beside its content
)

// recall returns what is remembered under key, or reads it.
func recall[T any](r *Registry, key hotKey, read func() (v T, size int, found bool, err error)) (T, bool, error) {
	generation := r.DB.Generation() // before reading: a later commit makes it old
	h := &r.hot
	h.mu.RLock()
	v, ok := h.entries[key]
	ok = ok && h.generation == generation
	h.mu.RUnlock()
	if ok {
		return v.(T), true, nil
	}
	fresh, size, found, err := read()
	if err != nil || !found || size > hotLargest {
		return fresh, found, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.entries == nil || h.generation != generation || h.bytes+size+hotEntry > hotBudget {
		if h.generation > generation {
			return fresh, true, nil // others are ahead
		}
		h.entries, h.bytes, h.generation = map[hotKey]any{}, 0, generation
	}
	h.entries[key] = fresh
	h.bytes += size + hotEntry
	return fresh, true, nil
}
