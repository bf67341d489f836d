package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/internal/attest"
	"slipway/internal/db"
	"slipway/internal/oci"
)

// publishAll moves the tags of the run. If a build failed none moves; if a
// test did, those that it gates stay.
func (r *run) publishAll(ctx context.Context) error {
	var failed error
	for _, n := range r.nodes {
		var held *heldError
		if n.err == nil || errors.As(n.err, &held) {
			continue
		}
		var f *Failure
		if !errors.As(n.err, &f) {
			f = &Failure{KindInternal, n.err}
		}
		if f.Kind != KindTest || !n.test {
			return &Failure{f.Kind, fmt.Errorf("target %s: %w", n.key, f.Err)}
		}
		if failed == nil {
			failed = &Failure{f.Kind, fmt.Errorf("target %s: %w", n.key, f.Err)}
		}
	}
	list, err := r.publications(ctx)
	if err == nil {
		err = r.mayPublish(ctx) // a build takes time, in which rights may end
	}
	if err != nil {
		return failure(KindPublish, err)
	}
	if err := ctx.Err(); err != nil { // from here on it is one transaction
		return context.Cause(ctx)
	}
	r.log.Section("Publishing")
	if len(list) == 0 {
		r.log.Linef("", "no tag moves")
		return failed
	}
	settled := r.settle(failed)
	moved, err := r.Publisher.Publish(ctx, list, r.change(), r.newerRun, func(tx *db.Tx) error {
		// The run ends in the transaction that moves its tags: no crash leaves
		// moved tags of a run that did not end.
		if err := r.notePublished(tx, list); err != nil {
			return err
		}
		return end(tx, &settled)
	})
	if err != nil {
		return failure(KindPublish, fmt.Errorf("no tag was moved: %w", err))
	}
	r.outcome, r.ended = settled, true
	r.outcome.Tags = moved
	for _, t := range moved {
		switch {
		case t.Skipped:
			r.log.Linef("", "%s:%s stays: a newer run has moved it", t.Repository, t.Tag)
		case t.Old == t.Digest:
			r.log.Linef("", "%s:%s is %s already", t.Repository, t.Tag, t.Digest)
		default:
			r.log.Linef("", "%s:%s -> %s (was %s)", t.Repository, t.Tag, t.Digest, orNone(t.Old.String()))
		}
	}
	if err := r.expireNumbers(ctx, list); err != nil {
		r.log.Linef("", "warning: old numbered tags were not removed: %v", err)
	}
	return failed
}

// mayPublish asks whether the run may move all of its tags.
func (r *run) mayPublish(ctx context.Context) error {
	if r.MayPublish == nil || r.req.Trust != "" {
		return nil // without trust none moves
	}
	asked := map[string]bool{}
	for target, tags := range r.tags {
		for _, t := range tags {
			if asked[t.repository] {
				continue
			}
			asked[t.repository] = true
			if err := r.MayPublish(ctx, r.req.Actor, t.repository); err != nil {
				return fmt.Errorf("target %s: this run is made for %s, who may not move tags of %s: %w", target, r.req.Actor, t.repository, err)
			}
		}
	}
	return nil
}

func (r *run) change() Change {
	return Change{Actor: orNone(r.req.Actor), Cause: fmt.Sprintf("run %d of %s: %s", r.outcome.Number, r.req.Project, orNone(r.req.Cause))}
}

// publications are the images that get tags.
func (r *run) publications(ctx context.Context) (list []Publication, err error) {
	for _, name := range r.project.Selected {
		tags := r.tags[name]
		if len(tags) == 0 {
			continue
		}
		if r.req.Trust != "" {
			r.log.Linef(name, "its tags stay: the source is not trusted (%s)", r.req.Trust)
			continue
		}
		if test, held := r.heldBack(name); held {
			r.log.Linef(name, "its tags stay: test %s failed", test)
			continue
		}
		root, referrers, ok, err := r.root(ctx, name)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		for _, t := range tags {
			i := slices.IndexFunc(list, func(p Publication) bool { return p.To == t.repository && p.Digest == root.Digest })
			if i < 0 {
				i = len(list)
				list = append(list, Publication{From: root.Repository, To: t.repository, Digest: root.Digest, Referrers: referrers})
			}
			list[i].Tags = append(list[i].Tags, t.name)
		}
	}
	return list, conflict(list)
}

// conflict refuses two targets that claim one tag.
func conflict(list []Publication) error {
	seen := map[tag]oci.Digest{}
	for _, p := range list {
		for _, name := range p.Tags {
			t := tag{p.To, name}
			if other, taken := seen[t]; taken && other != p.Digest {
				return fmt.Errorf("two targets have the tag %s:%s: give one of them another", t.repository, t.name)
			}
			seen[t] = p.Digest
		}
	}
	return nil
}

// root is what a target's tags point at: its image, or an index of its images
// for several platforms. Images of platforms that did not change go into the
// index as they are.
func (r *run) root(ctx context.Context, name string) (root Base, referrers []oci.Digest, ok bool, err error) {
	var parts []v1.Descriptor
	var reused []Publication // parts that another trust level made
	own := builds(r.req.Project, r.req.Trust)
	for _, n := range r.nodes {
		if n.target.Name != name {
			continue
		}
		if n.err != nil || n.result.manifest == "" {
			return root, nil, false, nil
		}
		root = Base{n.where, n.result.manifest}
		if n.where != own {
			reused = append(reused, Publication{From: n.where, To: own, Digest: n.result.manifest, Referrers: slices.DeleteFunc([]oci.Digest{n.result.listing, n.result.provenance}, func(d oci.Digest) bool { return d == "" })})
		}
		for _, d := range []oci.Digest{n.result.listing, n.result.provenance} {
			if d != "" && !slices.Contains(referrers, d) {
				referrers = append(referrers, d)
			}
		}
		mediaType, content, err := r.Store.Manifest(ctx, n.where, n.result.manifest)
		if err != nil {
			return root, nil, false, err
		}
		p, err := platforms.Parse(n.platform)
		if err != nil {
			return root, nil, false, err
		}
		parts = append(parts, v1.Descriptor{MediaType: mediaType, Digest: n.result.manifest, Size: int64(len(content)), Platform: &p})
	}
	if len(parts) < 2 {
		return root, referrers, len(parts) == 1, nil
	}
	// An index stands beside its images, and this run writes only in its own repository.
	root.Repository = own
	if len(reused) > 0 {
		if _, err := r.Publisher.Publish(ctx, reused, r.change(), nil, nil); err != nil {
			return root, nil, false, err
		}
	}
	index := attest.Index(parts, indexAnnotations(r.project.Targets[name].Annotations))
	if root.Digest, err = r.Store.PutManifest(ctx, root.Repository, v1.MediaTypeImageIndex, index); err != nil {
		return root, nil, false, err
	}
	return root, referrers, true, r.Store.Pin(ctx, holder(r.outcome.Run), pinTime, root.Digest)
}

// indexAnnotations are those that are written for an index.
func indexAnnotations(list []string) map[string]string {
	all := map[string]string{}
	for _, a := range list {
		kind, rest, typed := strings.Cut(a, ":")
		if key, value, ok := strings.Cut(rest, "="); typed && ok && strings.Contains(kind, "index") && !strings.Contains(kind, "=") {
			all[key] = value
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// newerRun says of a tag whether a later run of this project moved it.
func (r *run) newerRun(tx *db.Tx, repository, name string) (bool, error) {
	var number int64
	found, err := tx.Row(`SELECT number FROM published WHERE repository = ? AND tag = ? AND project = ?`, []any{repository, name, r.req.Project}, &number)
	return found && number > r.outcome.Number, err
}

// notePublished writes which run moved the tags, in the transaction that moves them.
func (r *run) notePublished(tx *db.Tx, list []Publication) error {
	for _, p := range list {
		for _, name := range p.Tags {
			if _, err := tx.Exec(`INSERT INTO published (repository, tag, project, number, first_at) VALUES (?, ?, ?, ?, ?)
				ON CONFLICT (repository, tag) DO UPDATE SET project = excluded.project, number = excluded.number
				WHERE published.project <> excluded.project OR published.number < excluded.number`,
				p.To, name, r.req.Project, r.outcome.Number, tx.Now()); err != nil {
				return err
			}
		}
	}
	return nil
}

// expireNumbers removes the oldest numbered tags that this project's runs made.
func (r *run) expireNumbers(ctx context.Context, list []Publication) error {
	keep := r.project.Settings.Keep
	if keep < 0 {
		return nil
	}
	done := map[string]bool{}
	for _, p := range list {
		if done[p.To] {
			continue
		}
		done[p.To] = true
		var old []string
		if err := r.DB.Read(ctx).Each(`SELECT p.tag FROM published p JOIN repositories r ON r.name = p.repository JOIN tags t ON t.repository_id = r.id AND t.name = p.tag
			WHERE p.repository = ? AND p.project = ? AND p.tag = CAST(p.number AS TEXT)
				AND (SELECT h.cause FROM tag_history h WHERE h.repository = p.repository AND h.tag = p.tag ORDER BY h.id DESC LIMIT 1) LIKE 'run ' || p.number || ' of %'
			ORDER BY p.number DESC LIMIT 1000 OFFSET ?`,
			[]any{p.To, r.req.Project, keep}, func(scan func(...any) error) error {
				var name string
				defer func() { old = append(old, name) }()
				return scan(&name)
			}); err != nil {
			return err
		}
		for _, name := range old {
			c := r.change()
			c.Cause = fmt.Sprintf("older than the newest %d numbered tags", keep)
			if err := r.Publisher.Untag(ctx, p.To, name, c); err != nil {
				return err
			}
			r.log.Linef("", "%s:%s removed: the newest %d numbered tags are kept", p.To, name, keep)
		}
	}
	return nil
}

// settle is the outcome of the run if it ends with err.
func (r *run) settle(err error) Outcome {
	o := r.outcome
	o.State = Passed
	var f *Failure
	switch {
	case err == nil:
	case errors.As(err, &f):
		o.State, o.Failure = Failed, f.Kind
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		o.State = Cancelled
	default:
		o.State, o.Failure = Failed, KindInternal
	}
	if err != nil {
		o.Error = r.log.text(err.Error())
	}
	o.Targets = []TargetOutcome{}
	for _, n := range r.nodes {
		t := n.outcome
		if t.Verdict == "" {
			t.Verdict = Held
		}
		reasons := []Reason{}
		for _, why := range t.Reasons {
			reasons = append(reasons, Reason{why.What, r.log.text(why.Name), r.log.text(why.How)})
		}
		t.Reasons = reasons
		o.Targets = append(o.Targets, t)
	}
	o.Ended = r.DB.Now().UTC()
	return o
}

// finish records what became of the run, and lets go of its pins.
func (r *run) finish(ctx context.Context, err error) error {
	if !r.ended {
		r.outcome = r.settle(err)
		if dbErr := r.DB.Update(ctx, func(tx *db.Tx) error { return end(tx, &r.outcome) }); dbErr != nil {
			err = errors.Join(err, failure(KindInternal, fmt.Errorf("record the end of run %d: %w", r.outcome.Number, dbErr)))
		}
	}
	o := &r.outcome
	r.log.Section("Finished: %s, %.1f s", o.State, o.Ended.Sub(o.Started).Seconds())
	if o.Error != "" {
		r.log.Linef("", "%s", o.Error)
	}
	if recordErr := r.keepRecord(ctx); recordErr != nil {
		r.Log.Warn("the log of a run was not kept", "project", o.Project, "run", o.Number, "err", recordErr)
	}
	if cleanErr := r.clean(ctx, r.req); cleanErr != nil {
		r.Log.Warn("old results of a project stay", "project", o.Project, "err", cleanErr)
	}
	if pinErr := r.Store.Unpin(ctx, holder(o.Run)); pinErr != nil {
		r.Log.Warn("the pins of a run stay until they expire", "project", o.Project, "run", o.Number, "err", pinErr)
	}
	if err != nil {
		return failure(KindInternal, err)
	}
	return nil
}

// keepRecord stores the log, the reports and the outcome of the run under a
// tag of the server's own repository of this project.
func (r *run) keepRecord(ctx context.Context) error {
	outcome, err := json.Marshal(r.outcome)
	if err != nil {
		return err
	}
	docs := []document{{attest.MediaTypeRun, "run.json", outcome}, {"text/plain", "log", r.log.Text()}}
	for _, n := range r.nodes {
		for _, file := range n.reports {
			docs = append(docs, document{"application/octet-stream", "reports/" + strings.ReplaceAll(n.key, " ", "/") + file.Path, file.Content})
		}
	}
	repository := builds(r.req.Project, r.req.Trust)
	record, err := r.keepDocument(ctx, repository, "", attest.MediaTypeRun, nil, docs...)
	if err != nil {
		return err
	}
	r.outcome.Record = record
	if err := r.Publisher.Tag(ctx, repository, recordTag(r.outcome.Number), record, Change{"builder", "record of a run"}); err != nil {
		return err
	}
	return r.DB.Update(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(`UPDATE runs SET record = ? WHERE id = ?`, record, r.outcome.Run)
		return err
	})
}
