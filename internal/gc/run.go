package gc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"slipway/internal/blob"
	"slipway/internal/db"
	"slipway/internal/events"
	"slipway/internal/meta"
	"slipway/internal/oci"
)

const (
	lookSlice   = 500 // rows read at a time
	removeSlice = 50  // rows removed in one transaction
	maxDepth    = 64  // nested indexes: each pass may free the children of the last
)

// Reasons for keeping, as people read them.
const (
	keptTagged   = "a tag points at it"
	keptPolicy   = "untagged, and its repository keeps untagged manifests"
	keptUsed     = "a manifest of its repository uses it"
	keptHeld     = "a repository holds it"
	keptGrace    = ReasonGrace
	keptPinned   = "pinned"
	keptRestore  = "deleted, but can still be restored"
	keptIndex    = "an index holds it"
	keptSubject  = "it refers to a subject that is there"
	keptYoung    = "file younger than the orphan age"
	actor        = "slipway"
	causeCollect = "collection: untagged"
)

// ReasonGrace is the Reason of all that was used too lately.
const ReasonGrace = "used within the grace time"

// run is one collection.
type run struct {
	*Collector
	dry    bool
	grace  time.Duration
	report Report
	kept   map[Kept]sum
	gone   forecast
}

func (r *run) all(ctx context.Context) error {
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"uploads", r.uploads}, {"rows whose time is over", r.expire}, {"repositories", r.repositories},
		{"blobs", r.blobs}, {"garbage", r.garbage}, {"bytes without rows", r.orphans},
	}
	for _, s := range steps {
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// update runs a slice and then leaves the writer to others for as long again.
func (r *run) update(ctx context.Context, fn func(*db.Tx) error) error {
	start := time.Now()
	if err := r.DB.Update(ctx, fn); err != nil {
		return err
	}
	return rest(ctx, time.Since(start))
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(min(d, time.Second)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *run) keep(kind, reason string, bytes int64) {
	key := Kept{Kind: kind, Reason: reason}
	k := r.kept[key]
	r.kept[key] = sum{k.count + 1, k.bytes + bytes}
}

// undoOver is the time up to which deletions can no longer be undone, beside
// what their tombstones say: a run with a grace time of its own frees deleted
// content too.
func (r *run) undoOver() int64 {
	if r.grace == r.Grace {
		return 0
	}
	// Not the time of a transaction: a deletion during the run is later.
	return r.report.StartedAt.Add(-r.grace).UnixMilli()
}

// uploads ends those that were silent for too long.
func (r *run) uploads(ctx context.Context) error {
	before := r.DB.Now().Add(-r.UploadExpiry).UnixMilli()
	if r.dry {
		list, err := meta.ExpiredUploads(r.DB.Read(ctx), before, math.MaxInt32)
		for _, u := range list {
			r.freedUpload(u)
		}
		return err
	}
	for {
		list, err := meta.ExpiredUploads(r.DB.Read(ctx), before, removeSlice)
		if err != nil || len(list) == 0 {
			return err
		}
		var gone []meta.Upload
		if err := r.update(ctx, func(tx *db.Tx) error {
			gone = gone[:0]
			for _, u := range list {
				removed, err := meta.RemoveUpload(tx, u.ID, u.Version)
				if err != nil {
					return err
				}
				if removed {
					gone = append(gone, u)
				}
			}
			return nil
		}); err != nil {
			return err
		}
		for _, u := range gone {
			if err := r.Blobs.Abort(ctx, u.State); err != nil {
				return err
			}
			r.freedUpload(u)
		}
	}
}

func (r *run) freedUpload(u meta.Upload) {
	if u.Cancelled {
		return // only the memory of it
	}
	r.report.Freed.Uploads++
	r.report.Freed.Bytes += u.Size
	r.report.add(Detail{Freed: true, Kind: "upload", Repository: u.Repository, Subject: u.ID, Bytes: u.Size, Reason: "abandoned: silent for more than " + r.UploadExpiry.String()})
}

func (r *run) expire(ctx context.Context) error {
	if r.dry {
		return nil
	}
	eventsBefore := r.DB.Now().Add(-r.EventAge).UnixMilli()
	for _, remove := range []func(*db.Tx) (int64, error){
		func(tx *db.Tx) (int64, error) { return meta.ExpirePins(tx, lookSlice) },
		func(tx *db.Tx) (int64, error) { return meta.ExpireTombstones(tx, r.undoOver(), lookSlice) },
		func(tx *db.Tx) (int64, error) { return events.Trim(tx, eventsBefore, lookSlice) },
	} {
		for more := true; more; {
			if err := r.update(ctx, func(tx *db.Tx) error {
				n, err := remove(tx)
				more = n == lookSlice
				return err
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) repositories(ctx context.Context) error {
	var after meta.RepoID
	for {
		repo, found, err := meta.NextRepository(r.DB.Read(ctx), after)
		if err != nil || !found {
			return err
		}
		after = repo.ID
		if err := r.manifests(ctx, repo); err != nil {
			return fmt.Errorf("%s: %w", repo.Name, err)
		}
		if err := r.members(ctx, repo); err != nil {
			return fmt.Errorf("%s: %w", repo.Name, err)
		}
		if err := r.emptyRepository(ctx, repo); err != nil {
			return fmt.Errorf("%s: %w", repo.Name, err)
		}
	}
}

// emptyRepository forgets a repository that has held nothing for a while,
// unless a person has set something about it.
func (r *run) emptyRepository(ctx context.Context, repo meta.Repository) error {
	if repo.DeleteUntagged || repo.CreatedAt > r.DB.Now().Add(-r.grace).UnixMilli() {
		return nil
	}
	tx := r.DB.Read(ctx)
	left := r.gone.members[repo.ID]
	members, err := meta.MembersAfter(tx, repo.ID, "", left+1)
	if err != nil || len(members) > left {
		return err
	}
	deleted := len(r.gone.manifests[repo.ID])
	list, err := meta.Manifests(tx, repo.ID, "", deleted+1)
	if err != nil || len(list) > deleted {
		return err
	}
	r.report.Freed.Repositories++
	if r.dry {
		return nil
	}
	return r.update(ctx, func(tx *db.Tx) error { return meta.RemoveRepository(tx, repo.ID) })
}

// manifests deletes untagged ones where the repository wants that. What an
// index kept may be free once the index is gone, hence the passes; the report
// tells of the last.
func (r *run) manifests(ctx context.Context, repo meta.Repository) error {
	before := r.kept
	var kept []Detail
	for pass, deleted := 0, 1; deleted > 0 && pass < maxDepth; pass++ {
		r.kept, kept, deleted = map[Kept]sum{}, nil, 0
		var last oci.Digest
		for full := true; full; {
			list, err := meta.UntaggedAfter(r.DB.Read(ctx), repo.ID, last, lookSlice)
			if err != nil {
				return err
			}
			full = len(list) == lookSlice
			var candidates []meta.Candidate
			for _, m := range list {
				last = m.Digest
				switch {
				case r.gone.deleted(repo.ID, m.Digest):
				case m.InUse:
					r.keep("manifest", keptTagged, m.Size)
				case !repo.DeleteUntagged:
					r.keep("manifest", keptPolicy, m.Size)
				default:
					candidates = append(candidates, m)
				}
			}
			for chunk := range slices.Chunk(candidates, removeSlice) {
				stayed, err := r.deleteManifests(ctx, repo, chunk)
				if err != nil {
					return err
				}
				deleted += len(chunk) - len(stayed)
				kept = append(kept, stayed...)
			}
		}
	}
	for key, k := range before {
		now := r.kept[key]
		r.kept[key] = sum{k.count + now.count, k.bytes + now.bytes}
	}
	for _, d := range kept {
		r.report.add(d)
	}
	return nil
}

// deleteManifests returns those that it kept.
func (r *run) deleteManifests(ctx context.Context, repo meta.Repository, list []meta.Candidate) (kept []Detail, err error) {
	details, err := r.slice(ctx, "manifest", list, func(tx *db.Tx, m meta.Candidate) (reason, extra string, err error) {
		reason, extra, err = r.whyKeepManifest(tx, repo.ID, m)
		switch {
		case reason != "" || err != nil:
		case r.dry:
			r.gone.deleteManifest(repo.ID, m.Digest)
		default:
			_, err = meta.DeleteManifest(tx, repo.ID, repo.Name, m.Digest, meta.Change{Actor: actor, Cause: causeCollect}, tx.Now()+r.UndoGrace.Milliseconds())
		}
		return reason, extra, err
	})
	for _, d := range details {
		d.Repository = repo.Name
		if !d.Freed {
			kept = append(kept, d)
			continue
		}
		d.Reason = "untagged"
		r.report.Freed.Manifests++
		r.report.add(d)
	}
	return kept, err
}

// slice asks about each candidate, and acts on it, in one transaction (a
// snapshot in a dry run), and sums up what is kept. An empty reason is none.
func (r *run) slice(ctx context.Context, kind string, list []meta.Candidate, judge func(*db.Tx, meta.Candidate) (reason, extra string, err error)) ([]Detail, error) {
	var details []Detail
	var reasons []string
	fn := func(tx *db.Tx) error {
		details, reasons = details[:0], reasons[:0]
		for _, c := range list {
			reason, extra, err := judge(tx, c)
			if err != nil {
				return err
			}
			details = append(details, Detail{Freed: reason == "", Kind: kind, Subject: c.Digest.String(), Bytes: c.Size, Reason: reason + extra})
			reasons = append(reasons, reason)
		}
		return nil
	}
	var err error
	if r.dry {
		err = r.DB.View(ctx, fn)
	} else {
		err = r.update(ctx, fn)
	}
	if err != nil {
		return nil, err
	}
	for i, d := range details {
		if !d.Freed {
			r.keep(kind, reasons[i], d.Bytes)
		}
	}
	return details, nil
}

func (r *run) whyKeepManifest(tx *db.Tx, id meta.RepoID, m meta.Candidate) (reason, extra string, err error) {
	if tags, err := meta.TagsOf(tx, id, m.Digest); err != nil || len(tags) > 0 {
		return keptTagged, "", err
	}
	if m.At > tx.Now()-r.grace.Milliseconds() {
		return keptGrace, "", nil
	}
	if index, found, err := r.gone.parent(tx, id, m.Digest, true); err != nil || found {
		return keptIndex, ": " + index.String(), err
	}
	if subject, found, err := meta.PresentSubject(tx, id, m.Digest); err != nil || (found && !r.gone.deleted(id, subject)) {
		return keptSubject, ": " + subject.String(), err
	}
	if holder, found, err := meta.PinHolder(tx, m.Digest); err != nil || found {
		return keptPinned, " by " + holder, err
	}
	return "", "", nil
}

// members lets a repository go of blobs that its manifests do not use.
func (r *run) members(ctx context.Context, repo meta.Repository) error {
	used := map[oci.Digest]struct{}{}
	var last oci.Digest
	for {
		var n int
		var err error
		if last, n, err = meta.UsedBy(r.DB.Read(ctx), repo.ID, last, lookSlice, func(parent, child oci.Digest) {
			if !r.gone.deleted(repo.ID, parent) {
				used[child] = struct{}{}
			}
		}); err != nil {
			return err
		}
		if n < lookSlice {
			break
		}
	}
	last = ""
	for {
		list, err := meta.MembersAfter(r.DB.Read(ctx), repo.ID, last, lookSlice)
		if err != nil {
			return err
		}
		var candidates []meta.Candidate
		for _, m := range list {
			last = m.Digest
			if _, ok := used[m.Digest]; ok {
				r.keep("membership", keptUsed, m.Size)
			} else {
				candidates = append(candidates, m)
			}
		}
		for chunk := range slices.Chunk(candidates, removeSlice) {
			if err := r.leave(ctx, repo, chunk); err != nil {
				return err
			}
		}
		if len(list) < lookSlice {
			return nil
		}
	}
}

func (r *run) leave(ctx context.Context, repo meta.Repository, list []meta.Candidate) error {
	details, err := r.slice(ctx, "membership", list, func(tx *db.Tx, m meta.Candidate) (reason, extra string, err error) {
		reason, extra, err = r.whyKeepMember(tx, repo.ID, m.Digest)
		switch {
		case reason != "" || err != nil:
		case r.dry:
			r.gone.leave(repo.ID, m.Digest)
		default:
			_, err = meta.Leave(tx, repo.ID, m.Digest)
		}
		return reason, extra, err
	})
	for _, d := range details {
		d.Repository = repo.Name
		if d.Freed {
			d.Reason = "no manifest of the repository uses it"
			r.report.Freed.Memberships++
		}
		r.report.add(d)
	}
	return err
}

func (r *run) whyKeepMember(tx *db.Tx, id meta.RepoID, d oci.Digest) (reason, extra string, err error) {
	at, found, err := meta.MemberTouched(tx, id, d)
	if err != nil {
		return "", "", err
	}
	if found && at > tx.Now()-r.grace.Milliseconds() {
		return keptGrace, "", nil
	}
	if user, used, err := r.gone.parent(tx, id, d, false); err != nil || used {
		return keptUsed, ": " + user.String(), err
	}
	if holder, found, err := meta.PinHolder(tx, d); err != nil || found {
		return keptPinned, " by " + holder, err
	}
	return "", "", nil
}

// blobs removes those that no repository holds.
func (r *run) blobs(ctx context.Context) error {
	var last oci.Digest
	for {
		list, err := meta.BlobsAfter(r.DB.Read(ctx), last, lookSlice)
		if err != nil {
			return err
		}
		var candidates []meta.Candidate
		for _, b := range list {
			last = b.Digest
			if b.InUse && r.gone.leaving[b.Digest]+r.gone.copies[b.Digest] > 0 {
				if b.InUse, err = r.gone.held(ctx, r.DB, b.Digest); err != nil {
					return err
				}
			}
			if b.InUse {
				r.keep("blob", keptHeld, b.Size)
			} else {
				candidates = append(candidates, b)
			}
		}
		for chunk := range slices.Chunk(candidates, removeSlice) {
			if err := r.removeBlobs(ctx, chunk); err != nil {
				return err
			}
		}
		if len(list) < lookSlice {
			return nil
		}
	}
}

func (r *run) removeBlobs(ctx context.Context, list []meta.Candidate) error {
	details, err := r.slice(ctx, "blob", list, func(tx *db.Tx, b meta.Candidate) (reason, extra string, err error) {
		reason, extra, err = r.whyKeepBlob(tx, b.Digest)
		if reason == "" && err == nil && !r.dry {
			err = meta.RemoveBlob(tx, b.Digest)
		}
		return reason, extra, err
	})
	if err != nil {
		return err
	}
	for _, d := range details {
		if d.Freed {
			d.Reason = "no repository holds it"
			r.report.Freed.Blobs++
			r.report.Freed.Bytes += d.Bytes
		}
		r.report.add(d)
	}
	return r.garbage(ctx)
}

func (r *run) whyKeepBlob(tx *db.Tx, d oci.Digest) (reason, extra string, err error) {
	b, found, err := meta.FindCandidate(tx, d)
	if err != nil || !found {
		return "", "", err
	}
	if b.InUse && !r.dry {
		return keptHeld, "", nil
	}
	if b.At > tx.Now()-r.grace.Milliseconds() {
		return keptGrace, "", nil
	}
	if holder, found, err := meta.PinHolder(tx, d); err != nil || found {
		return keptPinned, " by " + holder, err
	}
	if until, found, err := meta.RestorableUntil(tx, d, r.undoOver()); err != nil || found {
		return keptRestore, " until " + time.UnixMilli(until).UTC().Format(time.RFC3339), err
	}
	if found, err := r.gone.restorable(tx, d); err != nil || found {
		return keptRestore, "", err
	}
	return "", "", nil
}

// garbage deletes the bytes whose rows are durably gone.
func (r *run) garbage(ctx context.Context) error {
	if r.dry {
		return nil
	}
	for {
		keys, err := meta.Garbage(r.DB.Read(ctx), removeSlice)
		if err != nil || len(keys) == 0 {
			return err
		}
		for _, k := range keys {
			if err := r.Blobs.Delete(ctx, k); err != nil {
				return err
			}
		}
		if err := r.update(ctx, func(tx *db.Tx) error {
			for _, k := range keys {
				if err := meta.RemoveGarbage(tx, k); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
}

// orphans deletes bytes that no row names, which a crash left behind.
func (r *run) orphans(ctx context.Context) error {
	before := time.Now().Add(-max(r.grace, r.OrphanAge))
	uploads, err := meta.UploadStates(r.DB.Read(ctx))
	if err != nil {
		return err
	}
	n := 0
	return r.Blobs.Walk(ctx, func(e blob.Entry) error {
		if n++; n%lookSlice == 0 {
			if err := rest(ctx, time.Millisecond); err != nil {
				return err
			}
		}
		named, err := r.named(ctx, uploads, e)
		if err != nil || named {
			return err
		}
		if e.Modified.After(before) {
			r.keep("file", keptYoung, e.Size)
			return nil
		}
		d := Detail{Freed: true, Kind: "file", Subject: string(e.Key) + string(e.State), Bytes: e.Size, Reason: "no row names it: left by a crash"}
		if !r.dry {
			if e.Key != "" {
				err = r.Blobs.Delete(ctx, e.Key)
			} else {
				err = r.Blobs.Abort(ctx, e.State)
			}
			if err != nil && !errors.Is(err, blob.ErrNotFound) {
				return err
			}
		}
		r.report.Freed.Files++
		r.report.Freed.Bytes += e.Size
		r.report.add(d)
		return nil
	})
}

func (r *run) named(ctx context.Context, uploads map[blob.State]struct{}, e blob.Entry) (bool, error) {
	if e.Key == "" {
		_, named := uploads[e.State]
		return named, nil
	}
	k, found, err := meta.KeyOf(r.DB.Read(ctx), e.Digest)
	return found && k == e.Key, err
}
