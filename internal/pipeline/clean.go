package pipeline

import (
	"context"
	"fmt"
	"time"

	"slipway/internal/db"
	"slipway/internal/oci"
)

// How long results and records of runs are kept beside what is published. A
// published image has its own life.
const (
	keepResults = 10                  // of each target and platform, by last use
	keepFor     = 30 * 24 * time.Hour // and those used within it
	keepRecords = 200                 // runs of each project whose log is kept
)

// clean forgets results that were not used for long, and logs of old runs of a
// project. Collection frees their bytes.
func (e *Engine) clean(ctx context.Context, req Request) error {
	repository := builds(req.Project, req.Trust)
	c := Change{"builder", "not used for long"}
	type row struct {
		target, platform string
		inputs           oci.Digest
		manifests        [3]oci.Digest
	}
	var old []row
	err := e.DB.Read(ctx).Each(`SELECT target, platform, inputs, manifest, listing, provenance FROM (
			SELECT *, ROW_NUMBER() OVER (PARTITION BY target, platform ORDER BY used_at DESC) AS place FROM results WHERE project = ? AND trust = ?) AS ranked
		WHERE place > ? AND used_at < ? LIMIT 500`, []any{req.Project, req.Trust, keepResults, e.DB.Now().Add(-keepFor).UnixMilli()},
		func(scan func(...any) error) error {
			var r row
			defer func() { old = append(old, r) }()
			return scan(&r.target, &r.platform, &r.inputs, &r.manifests[0], &r.manifests[1], &r.manifests[2])
		})
	if err != nil {
		return fmt.Errorf("look for old results of %s: %w", req.Project, err)
	}
	for _, r := range old {
		// The row first: it must never name what is gone.
		if err := e.DB.Update(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(`DELETE FROM results WHERE project = ? AND trust = ? AND target = ? AND platform = ? AND inputs = ?`, req.Project, req.Trust, r.target, r.platform, r.inputs)
			return err
		}); err != nil {
			return err
		}
		for _, d := range r.manifests {
			used, err := e.named(ctx, req, d)
			if err != nil {
				return err
			}
			if d == "" || used {
				continue
			}
			if err := e.Publisher.Forget(ctx, repository, d, c); err != nil {
				return err
			}
		}
	}
	return e.cleanRecords(ctx, req, repository)
}

// named says whether another result names a manifest.
func (e *Engine) named(ctx context.Context, req Request, d oci.Digest) (used bool, err error) {
	_, err = e.DB.Read(ctx).Row(`SELECT EXISTS (SELECT 1 FROM results WHERE project = ? AND trust = ? AND (manifest = ? OR listing = ? OR provenance = ?))`,
		[]any{req.Project, req.Trust, d, d, d}, &used)
	return used, err
}

func (e *Engine) cleanRecords(ctx context.Context, req Request, repository string) error {
	var old []oldRun
	if err := e.DB.Read(ctx).Each(`SELECT id, number, record FROM runs WHERE project = ? AND trust = ? AND record <> '' ORDER BY number DESC LIMIT 500 OFFSET ?`,
		[]any{req.Project, req.Trust, keepRecords}, func(scan func(...any) error) error {
			var r oldRun
			defer func() { old = append(old, r) }()
			return scan(&r.id, &r.number, &r.record)
		}); err != nil {
		return fmt.Errorf("look for old runs of %s: %w", req.Project, err)
	}
	for _, r := range old {
		if err := e.DB.Update(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(`UPDATE runs SET record = '' WHERE id = ?`, r.id)
			return err
		}); err != nil {
			return err
		}
		if err := e.Publisher.Forget(ctx, repository, r.record, Change{"builder", fmt.Sprintf("the newest %d logs are kept", keepRecords)}); err != nil {
			return err
		}
	}
	return nil
}

type oldRun struct {
	id, number int64
	record     oci.Digest
}
