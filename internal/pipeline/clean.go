package pipeline

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"slipway/internal/db"
)

// How long results and records of runs are kept beside what is published. A
// published image has its own life.
const (
	keepResults = 10                  // of each target and platform, by last use
	keepFor     = 30 * 24 * time.Hour // and those used within it
	keepRecords = 200                 // runs of each project whose log is kept
)

// clean forgets results that were not used for long, and logs of old runs of a
// project. Collection then takes what nothing else needs.
func (e *Engine) clean(ctx context.Context, req Request) error {
	var old []result
	err := e.DB.Read(ctx).Each(`SELECT target, platform, inputs FROM (
			SELECT *, ROW_NUMBER() OVER (PARTITION BY target, platform ORDER BY used_at DESC) AS place FROM results WHERE project = ? AND trust = ?) AS ranked
		WHERE place > ? AND used_at < ? LIMIT 500`, []any{req.Project, req.Trust, keepResults, e.DB.Now().Add(-keepFor).UnixMilli()},
		func(scan func(...any) error) error {
			r := result{trust: req.Trust}
			defer func() { old = append(old, r) }()
			return scan(&r.target, &r.platform, &r.inputs)
		})
	if err != nil {
		return fmt.Errorf("look for old results of %s: %w", req.Project, err)
	}
	for _, r := range old {
		// The row first: it must never name what may be gone.
		if err := e.DB.Update(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(`DELETE FROM results WHERE project = ? AND trust = ? AND target = ? AND platform = ? AND inputs = ?`, req.Project, req.Trust, r.target, r.platform, r.inputs)
			return err
		}); err != nil {
			return err
		}
		if err := e.Store.Unpin(ctx, resultHolder(req.Project, r)); err != nil {
			return err
		}
	}
	return e.cleanRecords(ctx, req)
}

func (e *Engine) cleanRecords(ctx context.Context, req Request) error {
	type oldRun struct{ id, number int64 }
	var old []oldRun
	if err := e.DB.Read(ctx).Each(`SELECT id, number FROM runs WHERE project = ? AND trust = ? AND record <> '' ORDER BY number DESC LIMIT 500 OFFSET ?`,
		[]any{req.Project, req.Trust, keepRecords}, func(scan func(...any) error) error {
			var r oldRun
			defer func() { old = append(old, r) }()
			return scan(&r.id, &r.number)
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
		if err := e.Publisher.Untag(ctx, builds(req.Project, req.Trust), recordTag(r.number), Change{"builder", fmt.Sprintf("the newest %d logs are kept", keepRecords)}); err != nil {
			return err
		}
	}
	return nil
}

// recordTag is the tag of a run's record.
func recordTag(number int64) string { return "run-" + strconv.FormatInt(number, 10) }
