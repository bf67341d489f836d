package registry

import (
	"context"
	"fmt"

	"slipway/internal/db"
	"slipway/internal/events"
	"slipway/internal/meta"
	"slipway/internal/oci"
)

// Manifest is a stored manifest: exactly the bytes that were pushed.
type Manifest = meta.Manifest

// GetManifest resolves a tag or a digest and counts as a pull.
func (r *Registry) GetManifest(ctx context.Context, repository string, ref oci.Reference) (Manifest, error) {
	m, found, err := recall(r, hotKey{"manifest", repository, ref.String()}, func() (Manifest, int, bool, error) {
		m, found, err := meta.FindManifest(r.DB.Read(ctx), repository, ref)
		return m, len(m.Content), found, err
	})
	if err != nil {
		return m, fmt.Errorf("find manifest %s:%s: %w", repository, ref, err)
	}
	if !found {
		return m, r.manifestUnknown(ctx, repository, ref)
	}
	r.usage.pulled(repository, ref.Tag, m.Digest)
	return m, nil
}

// StatManifest is GetManifest without content, and changes nothing.
func (r *Registry) StatManifest(ctx context.Context, repository string, ref oci.Reference) (Manifest, error) {
	m, found, err := meta.StatManifest(r.DB.Read(ctx), repository, ref)
	if err != nil {
		return m, fmt.Errorf("find manifest %s:%s: %w", repository, ref, err)
	}
	if !found {
		return m, r.manifestUnknown(ctx, repository, ref)
	}
	return m, nil
}

func (r *Registry) manifestUnknown(ctx context.Context, repository string, ref oci.Reference) error {
	if _, found, err := meta.FindRepository(r.DB.Read(ctx), repository); err == nil && !found {
		return nameUnknown(repository)
	}
	what := "manifest " + ref.Digest.String()
	if ref.Tag != "" {
		what = "tag " + ref.Tag
	}
	return oci.NewError(oci.CodeManifestUnknown, fmt.Sprintf("repository %s has no %s", repository, what)).WithDetail(map[string]string{"name": repository, "reference": ref.String()})
}

// Push is a manifest to store.
type Push struct {
	Repository string
	Reference  oci.Reference // where it was put
	Tags       []string      // further tags, of a push by digest
	// Digest that the content must have; empty for a push by tag that does
	// not name one.
	Digest    oci.Digest
	MediaType string // Content-Type without parameters
	Content   []byte
	Change    meta.Change
	Guards    []meta.Guard
	// Sparse allows more content to be missing than Config.Sparse does.
	Sparse Sparse
	// Record, if set, runs last in the push's transaction: what the caller
	// has to remember becomes true together with the push.
	Record func(*db.Tx, Pushed) error
}

// Pushed is what a push of a manifest came to.
type Pushed struct {
	Digest  oci.Digest
	Subject oci.Digest // empty without one
}

// PutManifest stores a manifest and moves its tags in one transaction, after
// checking that the repository holds all that it points at.
func (r *Registry) PutManifest(ctx context.Context, p Push) (Pushed, error) {
	if err := r.space.checkManifest(int64(len(p.Content))); err != nil {
		return Pushed{}, err
	}
	want := p.Digest
	if p.Reference.Digest != "" {
		want = p.Reference.Digest
	}
	algorithm := oci.SHA256
	if want != "" {
		algorithm = want.Algorithm()
	}
	digest := oci.FromBytes(algorithm, p.Content)
	if want != "" && digest != want {
		return Pushed{}, oci.NewError(oci.CodeDigestInvalid, fmt.Sprintf("the manifest has digest %s, not %s: nothing was stored", digest, want)).
			WithDetail(map[string]string{"expected": want.String(), "received": digest.String()})
	}
	m, err := oci.ParseManifest(p.MediaType, p.Content)
	if err != nil {
		return Pushed{}, err
	}
	tags := p.Tags
	if p.Reference.Tag != "" {
		tags = append([]string{p.Reference.Tag}, tags...)
	}
	var a allowance
	err = r.DB.Update(context.WithoutCancel(ctx), func(tx *db.Tx) error {
		var id meta.RepoID
		if err := r.admit(tx, p.Repository, &a, func(repo meta.RepoID) error {
			id = repo
			if err := checkEdges(tx, id, p.Repository, m, max(r.Sparse, p.Sparse)); err != nil {
				return err
			}
			return meta.PutManifest(tx, id, m, digest, p.Content)
		}); err != nil {
			return err
		}
		if err := events.Append(tx, events.Event{Kind: events.ManifestPushed, Repository: p.Repository, Digest: digest.String(), Actor: p.Change.Actor, Address: p.Change.Address, Cause: p.Change.Cause}); err != nil {
			return err
		}
		for _, tag := range tags {
			if _, err := meta.MoveTag(tx, id, p.Repository, tag, digest, p.Change, r.guards(p.Guards)...); err != nil {
				return err
			}
		}
		if p.Record != nil {
			return p.Record(tx, Pushed{digest, m.Subject})
		}
		return nil
	})
	if err == nil {
		a.warn(r.Log)
	}
	return Pushed{digest, m.Subject}, err
}

// maxMissing bounds the list of missing content in an error.
const maxMissing = 20

func checkEdges(tx *db.Tx, id meta.RepoID, repository string, m *oci.Manifest, sparse Sparse) error {
	var missing []string
	for _, e := range m.Edges {
		if e.Kind == oci.EdgeForeign {
			continue
		}
		var size int64
		var found bool
		var err error
		if e.Kind == oci.EdgeManifest {
			size, found, err = meta.HasManifest(tx, id, e.Digest)
		} else {
			size, found, err = meta.IsMember(tx, id, e.Digest)
		}
		if err != nil {
			return err
		}
		if !found {
			if sparse != SparseAll && (sparse != SparseIndexes || e.Kind != oci.EdgeManifest) {
				missing = append(missing, e.Digest.String())
			}
			continue
		}
		if size != e.Size {
			return oci.NewError(oci.CodeSizeInvalid, fmt.Sprintf("the manifest says that %s %s has %d bytes, but it has %d", e.Kind, e.Digest, e.Size, size))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	more := ""
	if len(missing) > maxMissing {
		more = fmt.Sprintf(" and %d more", len(missing)-maxMissing)
		missing = missing[:maxMissing]
	}
	return oci.NewError(oci.CodeManifestBlobUnknown, fmt.Sprintf("repository %s lacks content that the manifest points at: %v%s; push it first", repository, missing, more)).
		WithDetail(map[string]any{"missing": missing})
}

// DeleteTag removes a tag; its manifest stays.
func (r *Registry) DeleteTag(ctx context.Context, repository, tag string, c meta.Change, guards ...meta.Guard) error {
	return r.DB.Update(ctx, func(tx *db.Tx) error {
		repo, found, err := meta.FindRepository(tx, repository)
		if err != nil {
			return err
		}
		if !found {
			return nameUnknown(repository)
		}
		moved, err := meta.MoveTag(tx, repo.ID, repository, tag, "", c, r.guards(guards)...)
		if err == nil && !moved {
			err = oci.NewError(oci.CodeManifestUnknown, fmt.Sprintf("repository %s has no tag %s", repository, tag)).WithDetail(map[string]string{"name": repository, "reference": tag})
		}
		return err
	})
}

// DeleteManifest removes a manifest and all its tags at once. It can be
// restored for Grace.
func (r *Registry) DeleteManifest(ctx context.Context, repository string, d oci.Digest, c meta.Change, guards ...meta.Guard) error {
	return r.DB.Update(ctx, func(tx *db.Tx) error {
		repo, found, err := meta.FindRepository(tx, repository)
		if err != nil {
			return err
		}
		if !found {
			return nameUnknown(repository)
		}
		deleted, err := meta.DeleteManifest(tx, repo.ID, repository, d, c, tx.Now()+r.Grace.Milliseconds(), r.guards(guards)...)
		if err == nil && !deleted {
			err = oci.NewError(oci.CodeManifestUnknown, fmt.Sprintf("repository %s has no manifest %s", repository, d)).WithDetail(map[string]string{"name": repository, "reference": d.String()})
		}
		return err
	})
}

// RestoreManifest takes back the deletion of a manifest.
func (r *Registry) RestoreManifest(ctx context.Context, repository string, d oci.Digest, c meta.Change, guards ...meta.Guard) error {
	return r.DB.Update(ctx, func(tx *db.Tx) error {
		restored, err := meta.Restore(tx, repository, d, c, r.guards(guards)...)
		if err == nil && !restored {
			err = oci.NewError(oci.CodeManifestUnknown, fmt.Sprintf("repository %s has no deleted manifest %s that can be restored: the time for that may be over", repository, d))
		}
		return err
	})
}

// How many manifests, and after them blobs, one transaction takes out of a
// repository that is deleted.
const (
	deleteSlice = 500
	leaveSlice  = 5000
)

// DeleteRepository deletes every manifest and tag of a repository and lets go
// of its blobs. A large repository takes several transactions; pushes by
// others go on between them.
func (r *Registry) DeleteRepository(ctx context.Context, repository string, c meta.Change, guards ...meta.Guard) error {
	for {
		done := false
		err := r.DB.Update(ctx, func(tx *db.Tx) error {
			done = false
			repo, found, err := meta.FindRepository(tx, repository)
			if err != nil {
				return err
			}
			if !found {
				return nameUnknown(repository)
			}
			list, err := meta.Manifests(tx, repo.ID, "", deleteSlice)
			if err != nil {
				return err
			}
			for _, m := range list {
				if _, err := meta.DeleteManifest(tx, repo.ID, repository, m.Digest, c, tx.Now()+r.Grace.Milliseconds(), r.guards(guards)...); err != nil {
					return err
				}
			}
			if len(list) == deleteSlice {
				return nil
			}
			left, err := meta.LeaveSome(tx, repo.ID, leaveSlice)
			if err != nil || left == leaveSlice {
				return err
			}
			done = true
			if err := meta.RemoveRepository(tx, repo.ID); err != nil {
				return err
			}
			return events.Append(tx, events.Event{Kind: events.RepositoryDeleted, Repository: repository, Actor: c.Actor, Address: c.Address, Cause: c.Cause})
		})
		if err != nil || done {
			return err
		}
	}
}
