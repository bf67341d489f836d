package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"slipway/internal/db"
	"slipway/internal/oci"
)

// builds is the repository in which a project's results are kept until they
// are published. No client can name it: it begins with an underscore, and so
// does the part before a trust level, which no project's name can have.
//
// Collection takes from it whatever is not needed: results are kept by pins,
// records of runs by their tags.
func builds(project, trust string) string {
	if trust != "" {
		project += "/_trust/" + trust
	}
	return "_builds/" + project
}

// begin makes a run and gives it the next number of its project.
func (e *Engine) begin(ctx context.Context, req Request) (o Outcome, err error) {
	err = e.DB.Update(ctx, func(tx *db.Tx) error {
		o = Outcome{Project: req.Project, State: Running, Started: time.UnixMilli(tx.Now()).UTC()}
		if _, err := tx.Exec(`INSERT INTO projects (name, next_number, created_at) VALUES (?, 2, ?)
			ON CONFLICT (name) DO UPDATE SET next_number = next_number + 1`, req.Project, tx.Now()); err != nil {
			return err
		}
		if _, err := tx.Row(`SELECT next_number - 1 FROM projects WHERE name = ?`, []any{req.Project}, &o.Number); err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO runs (project, number, trust, actor, cause, source, commit_id, branch, state, started_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			req.Project, o.Number, req.Trust, req.Actor, req.Cause, req.Source.URI, req.Source.Commit, req.Source.Branch, Running, tx.Now()); err != nil {
			return err
		}
		_, err := tx.Row(`SELECT id FROM runs WHERE project = ? AND number = ?`, []any{req.Project, o.Number}, &o.Run)
		return err
	})
	if err != nil {
		return o, fmt.Errorf("begin a run of %s: %w", req.Project, err)
	}
	return o, nil
}

// end writes what became of a run, in tx. A run that was given up stays so.
func end(tx *db.Tx, o *Outcome) error {
	n, err := tx.Exec(`UPDATE runs SET state = ?, failure = ?, error = ?, ended_at = ? WHERE id = ? AND state = ?`,
		o.State, o.Failure, o.Error, tx.Now(), o.Run, Running)
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("run %d of %s was given up meanwhile: somebody restarted the server, or removed it", o.Number, o.Project)
	}
	for _, t := range o.Targets {
		reasons, err := json.Marshal(t.Reasons)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO run_targets (run_id, target, platform, verdict, reasons, inputs, previous, manifest, millis) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			o.Run, t.Target, t.Platform, t.Verdict, string(reasons), t.Inputs, t.Previous, t.Manifest, t.Millis); err != nil {
			return err
		}
	}
	return nil
}

// Recover ends the runs that a crash cut off, lets go of what they had pinned,
// and returns how many there were.
// It is called once, before the first Run.
func (e *Engine) Recover(ctx context.Context) (n int64, err error) {
	var holders []string
	err = e.DB.Update(ctx, func(tx *db.Tx) error {
		holders = nil
		if err := tx.Each(`SELECT id FROM runs WHERE state = ?`, []any{Running}, func(scan func(...any) error) error {
			var id int64
			err := scan(&id)
			holders = append(holders, holder(id))
			return err
		}); err != nil {
			return err
		}
		n, err = tx.Exec(`UPDATE runs SET state = ?, error = 'the server ended before the run did', ended_at = ? WHERE state = ?`, Interrupted, tx.Now(), Running)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("end interrupted runs: %w", err)
	}
	for _, h := range holders {
		if err := e.Store.Unpin(ctx, h); err != nil {
			return n, fmt.Errorf("let go of what an interrupted run held: %w", err)
		}
	}
	return n, nil
}

// holder names a run as the holder of pins.
func holder(run int64) string { return fmt.Sprintf("run %d", run) }

// result is a row of the result index.
type result struct {
	trust      string
	target     string
	platform   string
	inputs     oci.Digest
	manifest   oci.Digest
	listing    oci.Digest
	provenance oci.Digest
	number     int64
	builtAt    time.Time
}

const resultColumns = `trust, target, platform, inputs, manifest, listing, provenance, number, built_at`

func scanResult(scan func(...any) error) (r result, err error) {
	var at int64
	err = scan(&r.trust, &r.target, &r.platform, &r.inputs, &r.manifest, &r.listing, &r.provenance, &r.number, &at)
	r.builtAt = time.UnixMilli(at).UTC()
	return r, err
}

// findResult looks for a result with these inputs. A build that is not
// trusted reads what a trusted one made, never the other way round.
func (e *Engine) findResult(ctx context.Context, req Request, inputs oci.Digest, test bool) (found *result, err error) {
	err = e.DB.Read(ctx).Each(`SELECT `+resultColumns+` FROM results WHERE project = ? AND trust IN ('', ?) AND inputs = ? AND (manifest = '') = ? ORDER BY built_at DESC LIMIT 1`,
		[]any{req.Project, req.Trust, inputs, test}, func(scan func(...any) error) error {
			r, err := scanResult(scan)
			found = &r
			return err
		})
	return found, err
}

// lastResult is the result of a target that was used last.
func (e *Engine) lastResult(ctx context.Context, req Request, target, platform string) (found *result, err error) {
	err = e.DB.Read(ctx).Each(`SELECT `+resultColumns+` FROM results WHERE project = ? AND trust IN ('', ?) AND target = ? AND platform = ? ORDER BY used_at DESC, built_at DESC LIMIT 1`,
		[]any{req.Project, req.Trust, target, platform}, func(scan func(...any) error) error {
			r, err := scanResult(scan)
			found = &r
			return err
		})
	return found, err
}

// saveResult records a result, in tx. It is used now.
func saveResult(tx *db.Tx, project string, r result) error {
	_, err := tx.Exec(`INSERT INTO results (project, trust, target, platform, inputs, manifest, listing, provenance, number, built_at, used_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (project, trust, target, platform, inputs) DO UPDATE SET manifest = excluded.manifest, listing = excluded.listing, provenance = excluded.provenance,
			number = excluded.number, built_at = excluded.built_at, used_at = excluded.used_at`,
		project, r.trust, r.target, r.platform, r.inputs, r.manifest, r.listing, r.provenance, r.number, r.builtAt.UnixMilli(), tx.Now())
	return err
}

// use notes that a run used a result, for a target that may be another than
// the one that it was made for. What is not trusted writes nothing that others
// read.
func (e *Engine) use(ctx context.Context, req Request, r result, target, platform string) error {
	if r.trust != req.Trust {
		return nil
	}
	if r.target == target && r.platform == platform {
		return e.DB.Update(ctx, func(tx *db.Tx) error { return saveResult(tx, req.Project, r) })
	}
	r.target, r.platform = target, platform
	return e.keep(ctx, req.Project, r)
}

// resultPin lasts as long as a result does: until another one takes its place,
// or it is cleaned away.
const resultPin = 100 * 365 * 24 * time.Hour

// resultHolder names a result as the holder of pins.
func resultHolder(project string, r result) string {
	return fmt.Sprintf("result of %s %s, target %s for %s, inputs %s", project, r.trust, r.target, r.platform, r.inputs)
}

// keep pins what a result names, and then records it: it never names what
// collection may take. What it named before is let go of.
func (e *Engine) keep(ctx context.Context, project string, r result) error {
	held := resultHolder(project, r)
	if err := e.Store.Unpin(ctx, held); err != nil { // the run's own pins still hold
		return err
	}
	var digests []oci.Digest
	for _, d := range []oci.Digest{r.manifest, r.listing, r.provenance} {
		if d != "" {
			digests = append(digests, d)
		}
	}
	if err := e.Store.Pin(ctx, held, resultPin, digests...); err != nil {
		return err
	}
	return e.DB.Update(ctx, func(tx *db.Tx) error { return saveResult(tx, project, r) })
}
