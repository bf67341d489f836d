package auth

import (
	"context"
	"fmt"
	"sync/atomic"

	"slipway/internal/db"
)

// Touch moves the generation. Every transaction that changes an account, a
// secret or a rule calls it.
func Touch(tx *db.Tx) error {
	_, err := tx.Exec(`UPDATE access_generation SET value = value + 1 WHERE one = 1`)
	return err
}

// StoredGeneration is the generation as tx sees it.
func StoredGeneration(tx *db.Tx) (g int64, err error) {
	found, err := tx.Row(`SELECT value FROM access_generation WHERE one = 1`, nil, &g)
	if err == nil && !found {
		err = fmt.Errorf("access_generation has no row")
	}
	if err != nil {
		return 0, fmt.Errorf("read the generation of access: %w", err)
	}
	return g, nil
}

// Generation tells cheaply whether accounts, secrets and rules are still as
// they were: nanoseconds while nothing at all is written to the database, and
// a point read after each commit.
type Generation struct {
	db   *db.DB
	seen atomic.Pointer[seen]
}

type seen struct {
	commits uint64
	value   int64
}

// NewGeneration watches the database.
func NewGeneration(d *db.DB) *Generation { return &Generation{db: d} }

// Current is the generation now. An error means that nothing in memory may be
// relied on.
func (g *Generation) Current(ctx context.Context) (int64, error) {
	commits := g.db.Generation() // before the read: a commit in between is seen next time
	if s := g.seen.Load(); s != nil && s.commits == commits {
		return s.value, nil
	}
	value, err := StoredGeneration(g.db.Read(ctx))
	if err != nil {
		return 0, err
	}
	g.seen.Store(&seen{commits, value})
	return value, nil
}
