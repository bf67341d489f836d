package remote

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// repoSource reads from a repository.
type repoSource struct {
	client *Client
	repo   name.Repository
}

var _ source = (*repoSource)(nil)

func (s *repoSource) manifest(ctx context.Context, desc v1.Descriptor) (*manifest, error) {
	return s.client.child(ctx, s.repo, desc)
}

func (s *repoSource) openBlob(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	return s.client.blob(ctx, s.repo, desc)
}

func (s *repoSource) referrers(ctx context.Context, digest v1.Hash) ([]v1.Descriptor, error) {
	return s.client.referrers(ctx, s.repo, digest)
}

// repoSink writes to a repository.
type repoSink struct {
	client *Client
	repo   name.Repository
	// from is where blobs can be mounted from: another repository of the same
	// registry, or nil.
	from *name.Repository
	// Where the referrers API is missing, each manifest with a subject rewrites
	// the tag that stands in for it; two at once would lose one.
	subjects sync.Mutex
}

var _ sink = (*repoSink)(nil)

// hasManifest takes any answer but a success for "no": writing the manifest is
// then tried, and tells better what is wrong.
func (s *repoSink) hasManifest(ctx context.Context, digest v1.Hash) (bool, error) {
	return s.has(ctx, s.repo.Digest(digest.String()), digest)
}

func (s *repoSink) has(ctx context.Context, ref name.Reference, digest v1.Hash) (bool, error) {
	d, err := s.client.puller.Head(ctx, ref)
	var answer *transport.Error
	switch {
	case err == nil:
		return d.Digest == digest, nil
	case errors.As(err, &answer) && answer.StatusCode != http.StatusUnauthorized:
		return false, nil
	}
	return false, err
}

func (s *repoSink) putBlob(ctx context.Context, desc v1.Descriptor, open func() (io.ReadCloser, error)) (Outcome, error) {
	ref := s.repo.Digest(desc.Digest.String())
	if there, err := s.client.puller.Layer(ctx, ref); err == nil {
		if ok, err := partial.Exists(there); err == nil && ok {
			return Existed, nil
		}
	}
	upload := &uploadLayer{desc: desc, open: open}
	var layer v1.Layer = upload
	if s.from != nil {
		layer = &ggcr.MountableLayer{Layer: upload, Reference: s.from.Digest(desc.Digest.String())}
	}
	if err := s.client.pusher.Upload(ctx, s.repo, layer); err != nil {
		return Failed, err
	}
	if !upload.opened {
		return Mounted, nil
	}
	return Copied, nil
}

func (s *repoSink) putManifest(ctx context.Context, m *manifest) error {
	if m.Subject != nil {
		s.subjects.Lock()
		defer s.subjects.Unlock()
	}
	return s.client.pusher.Put(ctx, s.repo.Digest(m.desc.Digest.String()), m)
}

func (s *repoSink) tag(ctx context.Context, m *manifest, tag string) error {
	ref := s.repo.Tag(tag)
	if there, err := s.has(ctx, ref, m.desc.Digest); err != nil || there {
		return err
	}
	return s.client.pusher.Put(ctx, ref, m)
}

// uploadLayer is a blob of known digest in the shape that the library uploads.
type uploadLayer struct {
	desc   v1.Descriptor
	open   func() (io.ReadCloser, error)
	opened bool
}

var errCompressedOnly = errors.New("only the stored form of a blob is available")

func (l *uploadLayer) Digest() (v1.Hash, error) { return l.desc.Digest, nil }
func (l *uploadLayer) Size() (int64, error)     { return l.desc.Size, nil }
func (l *uploadLayer) DiffID() (v1.Hash, error) { return v1.Hash{}, errCompressedOnly }
func (l *uploadLayer) MediaType() (types.MediaType, error) {
	return "application/octet-stream", nil
}
func (l *uploadLayer) Uncompressed() (io.ReadCloser, error) { return nil, errCompressedOnly }
func (l *uploadLayer) Compressed() (io.ReadCloser, error) {
	l.opened = true
	return l.open()
}
