package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/internal/db"
)

// Record is a run as it is remembered.
type Record struct {
	Outcome
	Actor, Cause, Commit, Branch string
	Files                        []string // what RunFile has
}

const runColumns = `id, project, number, actor, cause, commit_id, branch, state, failure, error, record, started_at, ended_at`

func scanRun(scan func(...any) error) (r Record, err error) {
	var started, ended int64
	err = scan(&r.Run, &r.Project, &r.Number, &r.Actor, &r.Cause, &r.Commit, &r.Branch, &r.State, &r.Failure, &r.Error, &r.Outcome.Record, &started, &ended)
	r.Started = time.UnixMilli(started).UTC()
	if ended > 0 {
		r.Ended = time.UnixMilli(ended).UTC()
	}
	r.Targets, r.Tags = []TargetOutcome{}, []MovedTag{}
	return r, err
}

// Runs lists up to n runs of a project, the newest first; before, if it is not
// 0, takes only those with a smaller number. Their targets are left out.
func (e *Engine) Runs(ctx context.Context, project string, before int64, n int) (list []Record, err error) {
	err = e.DB.Read(ctx).Each(`SELECT `+runColumns+` FROM runs WHERE project = ? AND (? = 0 OR number < ?) ORDER BY number DESC LIMIT ?`,
		[]any{project, before, before, n}, func(scan func(...any) error) error {
			r, err := scanRun(scan)
			list = append(list, r)
			return err
		})
	return list, err
}

// FindRun returns a run with its targets; number 0 is the project's last one.
// It wraps ErrNotFound if there is none.
func (e *Engine) FindRun(ctx context.Context, project string, number int64) (r Record, err error) {
	found := false
	err = e.DB.View(ctx, func(tx *db.Tx) error {
		if err := tx.Each(`SELECT `+runColumns+` FROM runs WHERE project = ? AND (? = 0 OR number = ?) ORDER BY number DESC LIMIT 1`,
			[]any{project, number, number}, func(scan func(...any) error) (err error) {
				found = true
				r, err = scanRun(scan)
				return err
			}); err != nil || !found {
			return err
		}
		return tx.Each(`SELECT target, platform, verdict, reasons, inputs, previous, manifest, millis FROM run_targets WHERE run_id = ? ORDER BY target, platform`,
			[]any{r.Run}, func(scan func(...any) error) error {
				var t TargetOutcome
				var reasons string
				if err := scan(&t.Target, &t.Platform, &t.Verdict, &reasons, &t.Inputs, &t.Previous, &t.Manifest, &t.Millis); err != nil {
					return err
				}
				r.Targets = append(r.Targets, t)
				return json.Unmarshal([]byte(reasons), &r.Targets[len(r.Targets)-1].Reasons)
			})
	})
	if err != nil {
		return r, fmt.Errorf("find run %d of %s: %w", number, project, err)
	}
	if !found && number == 0 {
		return r, fmt.Errorf("there was no run of a project %s: %w", project, ErrNotFound)
	}
	if !found {
		return r, fmt.Errorf("project %s has no run %d: %w", project, number, ErrNotFound)
	}
	m, _, err := e.record(ctx, r)
	if err != nil {
		return r, nil // its record may have been cleaned away; the row remains
	}
	for _, l := range m.Layers {
		name := l.Annotations[v1.AnnotationTitle]
		r.Files = append(r.Files, name)
	}
	return r, nil
}

// noLog says why a run has no log.
func noLog(r Record) string {
	switch {
	case r.State == Running:
		return "goes on: its log is kept when it ends"
	case r.State == Interrupted:
		return "was interrupted and left no log: " + r.Error
	case r.Error != "":
		return fmt.Sprintf("is %s, and its log is no longer here: %s", r.State, r.Error)
	}
	return fmt.Sprintf("is %s, and its log is no longer here", r.State)
}

// record reads the manifest of a run's record.
func (e *Engine) record(ctx context.Context, r Record) (m v1.Manifest, repository string, err error) {
	var trust string
	if _, err = e.DB.Read(ctx).Row(`SELECT trust FROM runs WHERE id = ?`, []any{r.Run}, &trust); err != nil {
		return m, "", err
	}
	repository = builds(r.Project, trust)
	if r.Outcome.Record == "" {
		return m, repository, fmt.Errorf("run %d of %s %s: %w", r.Number, r.Project, noLog(r), ErrNotFound)
	}
	_, content, err := e.Store.Manifest(ctx, repository, r.Outcome.Record)
	if err != nil {
		return m, repository, err
	}
	return m, repository, json.Unmarshal(content, &m)
}

// RunFile opens a file of a run: "log", or a report. It wraps ErrNotFound if
// there is none.
func (e *Engine) RunFile(ctx context.Context, project string, number int64, name string) (io.ReadCloser, int64, error) {
	r, err := e.FindRun(ctx, project, number)
	if err != nil {
		return nil, 0, err
	}
	m, repository, err := e.record(ctx, r)
	if err != nil {
		return nil, 0, err
	}
	for _, l := range m.Layers {
		if l.Annotations[v1.AnnotationTitle] != name {
			continue
		}
		blob, err := e.Store.OpenBlob(ctx, repository, l.Digest)
		if err != nil {
			return nil, 0, err
		}
		return blob, blob.Size(), nil
	}
	return nil, 0, fmt.Errorf("run %d of %s has no file %s: %w", r.Number, project, name, ErrNotFound)
}
