package pipeline

import (
	"context"

	"slipway/internal/db"
	"slipway/internal/oci"
)

// Publisher makes results visible. Nothing is copied.
type Publisher interface {
	// Publish carries out all publications in one transaction, or none. skip
	// and also run in it: skip says of a tag that it is to stay where it is,
	// also comes last, and its error undoes everything.
	Publish(ctx context.Context, list []Publication, c Change, skip func(tx *db.Tx, repository, tag string) (bool, error), also func(tx *db.Tx) error) ([]MovedTag, error)
	// Untag deletes a tag, if it is there.
	Untag(ctx context.Context, repository, tag string, c Change) error
	// Tag moves a tag in a repository of the server's own.
	Tag(ctx context.Context, repository, tag string, d oci.Digest, c Change) error
}

// Publication makes a manifest of one repository, and all that it points at, a
// member of another, and moves tags to it.
type Publication struct {
	From, To  string
	Digest    oci.Digest
	Referrers []oci.Digest
	Tags      []string
}

// Change is who changes something, and why.
type Change struct{ Actor, Cause string }
