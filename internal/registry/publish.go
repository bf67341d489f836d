package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"slipway/internal/db"
	"slipway/internal/events"
	"slipway/internal/meta"
	"slipway/internal/oci"
)

// Publication makes a manifest that one repository holds, with everything that
// it points at, a member of another repository, and moves tags to it.
type Publication struct {
	From      string
	To        string
	Digest    oci.Digest
	Referrers []oci.Digest // manifests of From that go with it
	Tags      []string
}

// Moved is a tag that a publication moved.
type Moved struct {
	Repository, Tag string
	Old, New        oci.Digest
}

// Publish carries out publications in one transaction: all of them, or none.
// No byte is copied. also runs in that transaction, after the tags moved; an
// error of it undoes everything. A guard that returns ErrSkipTag leaves that
// tag where it is.
func (r *Registry) Publish(ctx context.Context, list []Publication, c meta.Change, also func(*db.Tx) error, guards ...meta.Guard) (moved []Moved, err error) {
	allowances := make([]allowance, len(list))
	err = r.DB.Update(context.WithoutCancel(ctx), func(tx *db.Tx) error {
		moved = nil
		for i, p := range list {
			var m []Moved
			if err := r.admit(tx, p.To, &allowances[i], func(id meta.RepoID) (err error) {
				m, err = publishOne(tx, id, p, c, r.guards(guards))
				return err
			}); err != nil {
				return fmt.Errorf("publish %s: %w", p.To, err)
			}
			moved = append(moved, m...)
		}
		if also == nil {
			return nil
		}
		return also(tx)
	})
	if err != nil {
		return nil, err
	}
	for i := range allowances {
		allowances[i].warn(r.Log)
	}
	return moved, nil
}

// ErrSkipTag is what a guard of Publish returns for a tag that is to stay
// where it is while the others move.
var ErrSkipTag = errors.New("the tag stays where it is")

func publishOne(tx *db.Tx, id meta.RepoID, p Publication, c meta.Change, guards []meta.Guard) (moved []Moved, err error) {
	for _, d := range append([]oci.Digest{p.Digest}, p.Referrers...) {
		if _, there, err := meta.StatManifest(tx, p.From, oci.Reference{Digest: d}); err != nil {
			return nil, err
		} else if !there && d != p.Digest {
			continue // an image without its papers is better than none
		}
		added, err := adopt(tx, p.From, id, d, 0)
		if err != nil {
			return nil, err
		}
		if !added {
			continue
		}
		if err := events.Append(tx, events.Event{Kind: events.ManifestPushed, Repository: p.To, Digest: d.String(), Actor: c.Actor, Address: c.Address, Cause: c.Cause}); err != nil {
			return nil, err
		}
	}
	for _, tag := range p.Tags {
		var old oci.Digest
		note := func(_ *db.Tx, m meta.Move) error { old = oci.Digest(m.Old); return nil }
		did, err := meta.MoveTag(tx, id, p.To, tag, p.Digest, c, append([]meta.Guard{note}, guards...)...)
		if errors.Is(err, ErrSkipTag) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if did {
			moved = append(moved, Moved{p.To, tag, old, p.Digest})
		}
	}
	return moved, nil
}

// maxDepth is how deep indexes of indexes may be.
const maxDepth = 8

// adopt makes a manifest of one repository, and what it points at, members of
// another, and reports whether it was new there.
func adopt(tx *db.Tx, from string, to meta.RepoID, d oci.Digest, depth int) (added bool, err error) {
	if depth > maxDepth {
		return false, fmt.Errorf("%s: more than %d indexes within each other", d, maxDepth)
	}
	_, had, err := meta.HasManifest(tx, to, d)
	if err != nil {
		return false, err
	}
	m, found, err := meta.FindManifest(tx, from, oci.Reference{Digest: d})
	if err != nil {
		return false, err
	}
	if !found {
		return false, fmt.Errorf("%s has no manifest %s", from, d)
	}
	parsed, err := oci.ParseManifest(m.MediaType, m.Content)
	if err != nil {
		return false, err
	}
	for _, e := range parsed.Edges {
		if e.Kind == oci.EdgeManifest {
			if _, err := adopt(tx, from, to, e.Digest, depth+1); err != nil {
				return false, err
			}
			continue
		}
		if _, there, err := meta.BlobSize(tx, e.Digest); err != nil {
			return false, err
		} else if !there && e.Kind == oci.EdgeForeign {
			continue
		} else if !there {
			return false, fmt.Errorf("manifest %s: its %s %s is not here", d, e.Kind, e.Digest)
		}
		if _, err := meta.AddBlob(tx, meta.Blob{Digest: e.Digest}); err != nil { // exists: only counts as use
			return false, err
		}
		if err := meta.Join(tx, to, e.Digest); err != nil {
			return false, err
		}
	}
	return !had, meta.PutManifest(tx, to, parsed, d, m.Content)
}

// Pin keeps manifests and blobs, and what they point at, from collection for
// a time. Pinning again moves its end.
func (r *Registry) Pin(ctx context.Context, holder string, lasts time.Duration, digests ...oci.Digest) error {
	return r.DB.Update(ctx, func(tx *db.Tx) error {
		for _, d := range digests {
			if err := meta.Pin(tx, holder, d, tx.Now()+lasts.Milliseconds()); err != nil {
				return err
			}
		}
		return nil
	})
}

// Unpin ends all pins of a holder.
func (r *Registry) Unpin(ctx context.Context, holder string) error {
	return r.DB.Update(ctx, func(tx *db.Tx) error { return meta.Unpin(tx, holder) })
}

// Whole reports whether a manifest and everything that it points at is here:
// rows, and all bytes.
func (r *Registry) Whole(ctx context.Context, repository string, d oci.Digest) (bool, error) {
	return r.wholeFrom(ctx, repository, d, 0)
}

func (r *Registry) wholeFrom(ctx context.Context, repository string, d oci.Digest, depth int) (bool, error) {
	m, found, err := meta.FindManifest(r.DB.Read(ctx), repository, oci.Reference{Digest: d})
	if err != nil || !found || depth > maxDepth {
		return false, err
	}
	parsed, err := oci.ParseManifest(m.MediaType, m.Content)
	if err != nil {
		return false, err
	}
	for _, e := range parsed.Edges {
		switch e.Kind {
		case oci.EdgeForeign:
			continue
		case oci.EdgeManifest:
			if ok, err := r.wholeFrom(ctx, repository, e.Digest, depth+1); err != nil || !ok {
				return false, err
			}
			continue
		}
		b, found, err := meta.FindBlob(r.DB.Read(ctx), repository, e.Digest)
		if err != nil || !found {
			return false, err
		}
		if b.Key != "" && !r.whole(ctx, b.Key, b.Size) {
			return false, nil
		}
	}
	return true, nil
}
