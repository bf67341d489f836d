//go:build unix

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/auth/policy"
	"slipway/internal/blob"
	"slipway/internal/db"
	"slipway/internal/gc"
	"slipway/internal/meta"
	"slipway/internal/mirror"
	"slipway/internal/registry"
)

// storeSettings are the settings of what lies in a data folder.
type storeSettings struct {
	data         string
	sparse       string // empty: none
	uploadExpiry time.Duration
	grace        time.Duration
	reserve      byteSize
	quota        *quotaSettings // nil: as the server has them
	htpasswd     string         // file with users beside those of the database
	anonymous    auth.Anonymous // what callers without a login may do
	// openUntilAccounts lets everybody do everything until there are accounts.
	openUntilAccounts bool
	issuers           bool // logins are possible without accounts here
}

// store is an opened and locked data folder.
type store struct {
	dir       string
	lock      *os.File
	db        *db.DB
	blobs     *blob.FS
	registry  *registry.Registry
	mirror    *mirror.Mirror // nil where nothing is served
	collector *gc.Collector
	accounts  *account.Accounts
	policy    *policy.Policy
}

func openStore(ctx context.Context, s storeSettings, log *slog.Logger, collected func(gc.Report)) (st *store, err error) {
	st = &store{dir: s.data}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.close(context.WithoutCancel(ctx)))
		}
	}()
	if st.lock, err = lockDataDir(s.data); err != nil {
		return st, err
	}
	if st.blobs, err = blob.OpenFS(s.data); err != nil {
		return st, err
	}
	if st.db, err = db.Open(ctx, filepath.Join(s.data, databaseFile), db.Options{Version: slipwayVersion(), Free: st.free}); err != nil {
		return st, err
	}
	generation := auth.NewGeneration(st.db)
	if st.accounts, err = account.New(account.Config{DB: st.db, Generation: generation, Htpasswd: s.htpasswd, Log: log}); err != nil {
		return st, usageError{err}
	}
	st.policy = policy.New(policy.Config{
		DB: st.db, Generation: generation, Anonymous: s.anonymous, UntilAccounts: s.openUntilAccounts, Log: log,
		Accounts: func(ctx context.Context) (bool, error) {
			if s.issuers {
				return true, nil
			}
			return st.accounts.Any(ctx)
		},
	})
	sparse, err := registry.ParseSparse(cmp.Or(s.sparse, "none"))
	if err != nil {
		return st, usageError{err}
	}
	if s.grace, err = remembered(ctx, st.db, "gc.grace", s.grace, time.Hour); err != nil {
		return st, err
	}
	if s.uploadExpiry, err = remembered(ctx, st.db, "uploads.expiry", s.uploadExpiry, 24*time.Hour); err != nil {
		return st, err
	}
	reserve, err := reserveOf(st.blobs, s.reserve)
	if err != nil {
		return st, err
	}
	quota, err := quotaOf(ctx, st.db, s.quota, func(repository string) bool { return st.mirror != nil && st.mirror.Serves(repository) })
	if err != nil {
		return st, err
	}
	if st.registry, err = registry.New(ctx, registry.Config{
		DB: st.db, Blobs: st.blobs, Log: log,
		Sparse: sparse, UploadExpiry: s.uploadExpiry, Grace: s.grace, LowWater: reserve, Quota: quota,
		Guards: []meta.Guard{guardTags(st.accounts, st.policy)},
	}); err != nil {
		return st, err
	}
	st.collector = gc.New(gc.Config{
		DB: st.db, Blobs: st.blobs, Log: log, Flush: st.registry.Flush,
		Grace: s.grace, UndoGrace: s.grace, UploadExpiry: s.uploadExpiry, Done: collected,
	})
	return st, nil
}

// may decides for work that goes on for somebody after the request, such as a
// run.
func (st *store) may(action auth.Action) func(ctx context.Context, actor, repository string) error {
	return func(ctx context.Context, actor, repository string) error {
		by, err := st.accounts.ByActor(ctx, actor)
		if err != nil {
			return err
		}
		return st.policy.Decide(ctx, by, action, repository).Err()
	}
}

// remembered keeps a server's setting with the data, so that a command that
// works on the data while no server runs does as the server would. The command
// passes 0.
func remembered(ctx context.Context, d *db.DB, name string, value, fallback time.Duration) (time.Duration, error) {
	stored, found, err := meta.Setting(d.Read(ctx), name)
	if err != nil {
		return 0, err
	}
	if value == 0 {
		if !found {
			return fallback, nil
		}
		return time.ParseDuration(stored)
	}
	if stored == value.String() {
		return value, nil
	}
	return value, d.Update(ctx, func(tx *db.Tx) error { return meta.SetSetting(tx, name, value.String()) })
}

// free is the space that is left for the database, which is on the blobs' disk.
func (st *store) free() (uint64, error) {
	free, _, err := st.blobs.Space()
	return free, err
}

const (
	reserveShare = 20 // of the disk, at most: one part in so many
	maxReserve   = 1 << 30
)

// reserveOf is the free space that uploads leave alone: what was set, or 1 GiB,
// or a twentieth of a small disk.
func reserveOf(blobs blob.Spacer, set byteSize) (uint64, error) {
	if set > 0 {
		return uint64(set), nil
	}
	_, total, err := blobs.Space()
	if err != nil {
		return 0, fmt.Errorf("ask for free space: %w", err)
	}
	return min(total/reserveShare, maxReserve), nil
}

func (st *store) close(ctx context.Context) (err error) {
	if st.mirror != nil {
		st.mirror.Close()
	}
	if st.registry != nil {
		st.registry.Close(ctx)
	}
	if st.db != nil {
		err = st.db.Close()
	}
	if st.lock != nil {
		err = errors.Join(err, st.lock.Close())
	}
	return err
}
