// Package local gives the pipeline this server's own registry: its Store, its
// Resolver and its Publisher. What builds read and write never passes through
// HTTP.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"slipway/internal/db"
	"slipway/internal/meta"
	"slipway/internal/oci"
	"slipway/internal/pipeline"
	"slipway/internal/registry"
)

// Reader reads images: the registry, or a mirror that wraps it and fetches
// what is missing.
type Reader interface {
	OpenBlob(ctx context.Context, repository string, d oci.Digest) (*registry.Blob, error)
	StatBlob(ctx context.Context, repository string, d oci.Digest) (int64, error)
	GetManifest(ctx context.Context, repository string, ref oci.Reference) (registry.Manifest, error)
}

// Store implements pipeline.Store.
type Store struct {
	Registry *registry.Registry
	Reader   Reader // nil: the registry itself
}

var _ pipeline.Store = (*Store)(nil)

func (s *Store) reader() Reader {
	if s.Reader != nil {
		return s.Reader
	}
	return s.Registry
}

// missing says of an error of the registry whether something is not there.
func missing(err error) error {
	var e *oci.Error
	if errors.As(err, &e) && (e.Code == oci.CodeBlobUnknown || e.Code == oci.CodeManifestUnknown || e.Code == oci.CodeNameUnknown) {
		return fmt.Errorf("%w: %w", pipeline.ErrNotFound, err)
	}
	return err
}

// Manifest implements pipeline.Store.
func (s *Store) Manifest(ctx context.Context, repository string, d oci.Digest) (string, []byte, error) {
	m, err := s.reader().GetManifest(ctx, repository, oci.Reference{Digest: d})
	return m.MediaType, m.Content, missing(err)
}

type openBlob struct{ *registry.Blob }

func (b openBlob) Size() int64 { return b.Blob.Size }

// OpenBlob implements pipeline.Store.
func (s *Store) OpenBlob(ctx context.Context, repository string, d oci.Digest) (pipeline.Blob, error) {
	b, err := s.reader().OpenBlob(ctx, repository, d)
	if err != nil {
		return nil, missing(err)
	}
	return openBlob{b}, nil
}

// StatBlob implements pipeline.Store.
func (s *Store) StatBlob(ctx context.Context, repository string, d oci.Digest) (int64, error) {
	size, err := s.reader().StatBlob(ctx, repository, d)
	return size, missing(err)
}

// PutBlob implements pipeline.Store.
func (s *Store) PutBlob(ctx context.Context, repository string, d oci.Digest, content io.Reader) error {
	return s.Registry.PutBlob(ctx, repository, d, registry.Body{Reader: content, Length: -1})
}

// Mount implements pipeline.Store.
func (s *Store) Mount(ctx context.Context, repository string, d oci.Digest, from string) (bool, error) {
	return s.Registry.MountBlob(ctx, repository, d, from, func(string) bool { return false })
}

// PutManifest implements pipeline.Store.
func (s *Store) PutManifest(ctx context.Context, repository, mediaType string, content []byte) (oci.Digest, error) {
	d := oci.FromBytes(oci.SHA256, content)
	pushed, err := s.Registry.PutManifest(ctx, registry.Push{
		Repository: repository, Reference: oci.Reference{Digest: d}, MediaType: mediaType, Content: content,
		Change: meta.Change{Actor: "builder", Cause: "build"},
	})
	return pushed.Digest, err
}

// Whole implements pipeline.Store.
func (s *Store) Whole(ctx context.Context, repository string, d oci.Digest) (bool, error) {
	return s.Registry.Whole(ctx, repository, d)
}

// Prepare implements pipeline.Store.
func (s *Store) Prepare(ctx context.Context, repository string) error {
	return s.Registry.DB.Update(ctx, func(tx *db.Tx) error {
		id, err := meta.EnsureRepository(tx, repository)
		if err != nil {
			return err
		}
		return meta.SetDeleteUntagged(tx, id, true)
	})
}

// Pin implements pipeline.Store.
func (s *Store) Pin(ctx context.Context, holder string, lasts time.Duration, digests ...oci.Digest) error {
	digests = slices.DeleteFunc(slices.Clone(digests), func(d oci.Digest) bool { return d == "" })
	return s.Registry.Pin(ctx, holder, lasts, digests...)
}

// Unpin implements pipeline.Store.
func (s *Store) Unpin(ctx context.Context, holder string) error {
	return s.Registry.Unpin(ctx, holder)
}
