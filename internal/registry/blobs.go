package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"slipway/internal/blob"
	"slipway/internal/db"
	"slipway/internal/events"
	"slipway/internal/meta"
	"slipway/internal/oci"
)

// Blob is an open blob.
type Blob struct {
	Digest  oci.Digest
	Size    int64
	Content []byte // all of it, where it is in memory; not to be changed
	// Whole is set while the bytes are still arriving: it waits until they all
	// have and are verified, or fails. Before that, reads may block, and the
	// last byte is held back; a part of the content may be false.
	Whole func(context.Context) error
	io.ReadSeekCloser
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

// OpenBlob opens a blob that the repository holds: the only place that turns a
// digest into bytes.
func (r *Registry) OpenBlob(ctx context.Context, repository string, d oci.Digest) (*Blob, error) {
	for attempt := 0; ; attempt++ {
		b, found, err := recall(r, hotKey{"blob", repository, d.String()}, func() (meta.Blob, int, bool, error) {
			b, found, err := meta.FindBlob(r.DB.Read(ctx), repository, d)
			return b, len(b.Content), found, err
		})
		if err != nil {
			return nil, fmt.Errorf("find blob %s: %w", d, err)
		}
		if !found {
			return nil, r.blobUnknown(ctx, repository, d)
		}
		if b.Key == "" {
			return &Blob{Digest: d, Size: b.Size, Content: b.Content, ReadSeekCloser: inMemory{bytes.NewReader(b.Content)}}, nil
		}
		f, err := r.Blobs.Open(ctx, b.Key)
		if err == nil {
			return &Blob{Digest: d, Size: b.Size, ReadSeekCloser: f}, nil
		}
		// Between the row and the file the blob may have been collected and
		// pushed again: look once more.
		if !errors.Is(err, blob.ErrNotFound) || attempt > 0 {
			return nil, fmt.Errorf("open blob %s: %w", d, err)
		}
	}
}

// StatBlob returns the size of a blob that the repository holds. A client that
// is told so will not upload it, so collection has to leave it alone for the
// grace time: if half of that is over since its last use, the use is recorded,
// durably, before the answer.
func (r *Registry) StatBlob(ctx context.Context, repository string, d oci.Digest) (int64, error) {
	tx := r.DB.Read(ctx)
	size, used, found, err := meta.StatBlob(tx, repository, d)
	if err != nil {
		return 0, fmt.Errorf("find blob %s: %w", d, err)
	}
	if !found {
		return 0, r.blobUnknown(ctx, repository, d)
	}
	if tx.Now()-used < r.Grace.Milliseconds()/2 {
		return size, nil
	}
	if found, err = r.use(ctx, repository, d); err != nil {
		// A question is answered even where nothing can be written.
		r.Log.Warn("recording the use of a blob failed; collection may free it", "repo", repository, "digest", d, "err", err)
		return size, nil
	}
	if !found {
		return 0, r.blobUnknown(ctx, repository, d)
	}
	return size, nil
}

// use records, durably, that a client relies on a blob which the repository
// holds, and reports whether it does.
func (r *Registry) use(ctx context.Context, repository string, d oci.Digest) (found bool, err error) {
	err = r.DB.Update(ctx, func(tx *db.Tx) (err error) {
		found, err = meta.Touch(tx, repository, d)
		return err
	})
	return found, err
}

// blobUnknown says which part of the address is wrong.
func (r *Registry) blobUnknown(ctx context.Context, repository string, d oci.Digest) error {
	if _, found, err := meta.FindRepository(r.DB.Read(ctx), repository); err == nil && !found {
		return nameUnknown(repository)
	}
	return oci.NewError(oci.CodeBlobUnknown, fmt.Sprintf("repository %s has no blob %s", repository, d)).WithDetail(map[string]string{"digest": d.String()})
}

func nameUnknown(repository string) error {
	return oci.NewError(oci.CodeNameUnknown, fmt.Sprintf("there is no repository %s: check the spelling, or push to it to create it", repository)).WithDetail(map[string]string{"name": repository})
}

// MountBlob makes a blob of another repository a member of this one, and
// reports whether it could. An empty from means any repository for which
// visible returns true.
func (r *Registry) MountBlob(ctx context.Context, repository string, d oci.Digest, from string, visible func(string) bool) (mounted bool, err error) {
	var a allowance
	err = r.DB.Update(ctx, func(tx *db.Tx) error {
		mounted = false
		if ok, err := mayMount(tx, d, from, visible); err != nil || !ok {
			return err
		}
		if _, err := meta.AddBlob(tx, meta.Blob{Digest: d}); err != nil { // exists: only counts as use
			return err
		}
		mounted = true
		return r.admit(tx, repository, &a, func(id meta.RepoID) error { return meta.Join(tx, id, d) })
	})
	if err == nil {
		a.warn(r.Log)
	}
	return mounted && err == nil, err
}

const maxHolders = 1000

func mayMount(tx *db.Tx, d oci.Digest, from string, visible func(string) bool) (bool, error) {
	if from != "" {
		_, _, found, err := meta.StatBlob(tx, from, d)
		return found, err
	}
	if _, found, err := meta.BlobSize(tx, d); err != nil || !found {
		return false, err
	}
	names, err := meta.Holders(tx, d, maxHolders)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "_") && visible(name) { // the server's own are nobody's
			return true, nil
		}
	}
	return false, nil
}

// DeleteBlob takes a blob out of a repository. Collection frees its bytes when
// nothing else needs them. A blob that a manifest of the repository uses is
// kept: deleting it would falsify that image.
func (r *Registry) DeleteBlob(ctx context.Context, repository string, d oci.Digest, c meta.Change) error {
	return r.DB.Update(ctx, func(tx *db.Tx) error {
		repo, found, err := meta.FindRepository(tx, repository)
		if err != nil {
			return err
		}
		if !found {
			return nameUnknown(repository)
		}
		user, used, err := meta.UserOf(tx, repo.ID, d)
		if err != nil {
			return err
		}
		if used {
			return oci.NewError(oci.CodeBlobInUse, fmt.Sprintf("blob %s is part of manifest %s in repository %s: delete that manifest first, and collection frees the blob", d, user, repository)).
				WithDetail(map[string]string{"manifest": user.String()})
		}
		was, err := meta.Leave(tx, repo.ID, d)
		if err == nil && !was {
			err = oci.NewError(oci.CodeBlobUnknown, fmt.Sprintf("repository %s has no blob %s", repository, d)).WithDetail(map[string]string{"digest": d.String()})
		}
		if err != nil {
			return err
		}
		return events.Append(tx, events.Event{Kind: events.BlobRemoved, Repository: repository, OldDigest: d.String(), Actor: c.Actor, Address: c.Address, Cause: c.Cause})
	})
}
