// Package registry is the core: what it means to push, pull, list and delete.
// It joins the blob store, which has bytes, and the metadata, which says what
// they are.
//
// The order of things is its whole point. A push makes bytes durable first and
// commits the row that names them after; a deletion commits the removal of the
// row first and frees bytes after. Whatever a crash interrupts leaves bytes
// without a row, which collection finds, and never a row without bytes.
//
// Methods return *oci.Error for what a client can mend. Other errors are
// faults; Classify turns those of a full or failing disk into *oci.Error too.
package registry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"slipway/internal/blob"
	"slipway/internal/db"
	"slipway/internal/meta"
)

// Config is what a Registry is made of.
type Config struct {
	DB    *db.DB
	Blobs blob.Store
	Log   *slog.Logger

	// InlineLimit is the size in bytes up to which blobs are kept in the
	// database. Default 16 KiB.
	InlineLimit int64
	// Sparse says which manifests may point at content that is not here.
	// Default SparseNone.
	Sparse Sparse
	// UploadExpiry is how long an upload may be silent. Default 24 h.
	UploadExpiry time.Duration
	// Grace is how long a deleted manifest can be restored, and how long
	// collection leaves content alone after its last use. Default 1 h.
	Grace time.Duration
	// LowWater is the free space in bytes that uploads leave to the database
	// and to collection. 0 turns the check off.
	LowWater uint64
	// Quota is how much repositories may hold.
	Quota Quota
	// Guards are asked of every move of a tag and every deletion of a
	// manifest, after those of the call.
	Guards []meta.Guard
}

// Sparse is which manifests are accepted though content is missing.
type Sparse int

// The values of Sparse.
const (
	SparseNone    Sparse = iota // none: what is served is whole
	SparseIndexes               // an index of which only some platforms are here
	SparseAll                   // images without some of their layers too
)

// ParseSparse reads "none", "indexes" or "all".
func ParseSparse(s string) (Sparse, error) {
	switch s {
	case "none":
		return SparseNone, nil
	case "indexes":
		return SparseIndexes, nil
	case "all":
		return SparseAll, nil
	}
	return 0, fmt.Errorf("sparse is %q: use none, indexes or all", s)
}

// Registry implements the distribution API's operations. It is safe for
// concurrent use.
type Registry struct {
	Config
	key     []byte // signs upload ids
	uploads busy
	usage   *usage
	space   space
	hot     hot
}

const defaultInlineLimit = 16 << 10

// New opens the registry on its data.
func New(ctx context.Context, c Config) (*Registry, error) {
	if c.InlineLimit == 0 {
		c.InlineLimit = defaultInlineLimit
	}
	if c.UploadExpiry == 0 {
		c.UploadExpiry = 24 * time.Hour
	}
	if c.Grace == 0 {
		c.Grace = time.Hour
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	key, err := uploadKey(ctx, c.DB)
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	r := &Registry{Config: c, key: key}
	r.space.init(c.Blobs, c.LowWater)
	r.usage = newUsage(c.DB, c.Log)
	return r, nil
}

// guards are those of a call and those of the registry.
func (r *Registry) guards(ofCall []meta.Guard) []meta.Guard {
	return append(slices.Clip(ofCall), r.Guards...)
}

// uploadKey returns the key that upload ids are signed with, made with the data.
func uploadKey(ctx context.Context, d *db.DB) (key []byte, err error) {
	const name = "upload_key"
	value, found, err := meta.Setting(d.Read(ctx), name)
	if err != nil {
		return nil, err
	}
	if !found {
		fresh := make([]byte, 32)
		_, _ = rand.Read(fresh) // never fails, see crypto/rand
		if err := d.Update(ctx, func(tx *db.Tx) (err error) {
			value, err = meta.SetSettingOnce(tx, name, hex.EncodeToString(fresh))
			return err
		}); err != nil {
			return nil, err
		}
	}
	return hex.DecodeString(value)
}

// Flush writes what is recorded in batches: the times of last pulls.
func (r *Registry) Flush(ctx context.Context) error { return r.usage.flush(ctx) }

// Close flushes and stops the background work. The database and the store
// stay open; they belong to the caller.
func (r *Registry) Close(ctx context.Context) { r.usage.close(ctx) }
