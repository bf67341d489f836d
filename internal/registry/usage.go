package registry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"slipway/internal/db"
	"slipway/internal/meta"
	"slipway/internal/oci"
)

// usage records pulls, which are too many for a transaction each. It loses the
// last seconds in a crash.
type usage struct {
	db  *db.DB
	log *slog.Logger

	mu      sync.Mutex
	entries map[use]int64 // -> milliseconds since 1970
	full    chan struct{}
	stop    chan struct{}
	done    chan struct{}
	once    sync.Once
}

type use struct {
	repository, tag string
	digest          oci.Digest
}

const (
	usageInterval = 10 * time.Second
	usageLimit    = 10_000 // entries in memory
	usageSlice    = 200    // entries in one transaction
)

func newUsage(d *db.DB, log *slog.Logger) *usage {
	u := &usage{db: d, log: log, entries: map[use]int64{}, full: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go u.run()
	return u
}

func (u *usage) pulled(repository, tag string, d oci.Digest) {
	now := u.db.Now().UnixMilli()
	u.mu.Lock()
	u.entries[use{repository, tag, d}] = now
	n := len(u.entries)
	u.mu.Unlock()
	if n >= usageLimit {
		select {
		case u.full <- struct{}{}:
		default:
		}
	}
}

func (u *usage) run() {
	defer close(u.done)
	ticker := time.NewTicker(usageInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-u.full:
		case <-u.stop:
			return
		}
		u.tryFlush(context.Background())
	}
}

// tryFlush is for when nobody can do anything about a failure: the times of
// some pulls are no reason to stop anything else.
func (u *usage) tryFlush(ctx context.Context) {
	if err := u.flush(ctx); err != nil {
		u.log.Warn("recording last pulls failed; they are lost", "err", err)
	}
}

func (u *usage) flush(ctx context.Context) error {
	u.mu.Lock()
	entries := u.entries
	u.entries = map[use]int64{}
	u.mu.Unlock()
	slice := make([]use, 0, usageSlice)
	write := func() error {
		defer func() { slice = slice[:0] }()
		return u.db.Update(ctx, func(tx *db.Tx) error {
			for _, e := range slice {
				if err := meta.Pulled(tx, e.repository, e.tag, e.digest, entries[e]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for e := range entries {
		if slice = append(slice, e); len(slice) == usageSlice {
			if err := write(); err != nil {
				return err
			}
		}
	}
	if len(slice) > 0 {
		return write()
	}
	return nil
}

func (u *usage) close(ctx context.Context) {
	u.once.Do(func() { close(u.stop) })
	<-u.done
	u.tryFlush(ctx)
}
