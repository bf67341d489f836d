package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// manifest is an image manifest or an index: the exact bytes, what they say,
// and the descriptor that names them. It can be handed to the library's Put.
type manifest struct {
	raw  []byte
	desc v1.Descriptor // digest, size and media type

	Type         types.MediaType   `json:"mediaType"`
	Kind         string            `json:"artifactType"`
	Config       *v1.Descriptor    `json:"config"`
	Layers       []v1.Descriptor   `json:"layers"`
	Manifests    []v1.Descriptor   `json:"manifests"`
	Subject      *v1.Descriptor    `json:"subject"`
	Annotations  map[string]string `json:"annotations"`
	FSLayers     json.RawMessage   `json:"fsLayers"`
	SchemaNumber int               `json:"schemaVersion"`
}

func (m *manifest) RawManifest() ([]byte, error)        { return m.raw, nil }
func (m *manifest) MediaType() (types.MediaType, error) { return m.desc.MediaType, nil }
func (m *manifest) Digest() (v1.Hash, error)            { return m.desc.Digest, nil }
func (m *manifest) Size() (int64, error)                { return m.desc.Size, nil }

func (m *manifest) isIndex() bool { return m.desc.MediaType.IsIndex() }

// artifactType is the manifest's own, or its configuration's media type.
func (m *manifest) artifactType() string {
	if m.Kind == "" && m.Config != nil {
		return string(m.Config.MediaType)
	}
	return m.Kind
}

// isImage reports whether the configuration is that of a container image.
func (m *manifest) isImage() bool {
	return m.Config != nil && m.Config.MediaType.IsConfig()
}

// blobs lists the configuration and the layers, each digest once.
func (m *manifest) blobs() []v1.Descriptor {
	var all []v1.Descriptor
	if m.Config != nil {
		all = append(all, *m.Config)
	}
	all = append(all, m.Layers...)
	seen := map[v1.Hash]bool{}
	unique := all[:0:0]
	for _, d := range all {
		if !seen[d.Digest] {
			seen[d.Digest] = true
			unique = append(unique, d)
		}
	}
	return unique
}

// parseManifest reads a manifest that came with the given media type, which
// may be empty or too general. digest is what the bytes are known to have. It
// refuses content that could be read as two things, as
// https://github.com/opencontainers/image-spec/security/advisories/GHSA-77vh-xpmg-72qh asks.
func parseManifest(raw []byte, contentType string, digest v1.Hash) (*manifest, error) {
	if len(raw) > maxManifest {
		return nil, fmt.Errorf("manifest %s is larger than %d MiB", digest, maxManifest>>20)
	}
	m := &manifest{raw: raw}
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("manifest %s is not valid: %w", digest, err)
	}
	mt, err := m.settleMediaType(contentType)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", digest, err)
	}
	m.desc = v1.Descriptor{MediaType: mt, Digest: digest, Size: int64(len(raw))}
	for _, d := range append(m.blobs(), m.Manifests...) {
		if d.Size < 0 || d.Digest.Hex == "" {
			return nil, fmt.Errorf("manifest %s names content without a digest or a size", digest)
		}
	}
	return m, nil
}

func (m *manifest) settleMediaType(contentType string) (types.MediaType, error) {
	label, _, _ := mime.ParseMediaType(contentType)
	labelled := types.MediaType(label)
	switch {
	case m.FSLayers != nil || labelled.IsSchema1():
		return "", errors.New("it has Docker's first manifest format, which is too old to work with")
	case m.Manifests != nil && (m.Layers != nil || m.Config != nil):
		return "", errors.New("it claims to be an image and an index at once")
	}
	known := func(t types.MediaType) bool { return t.IsImage() || t.IsIndex() }
	mt := m.Type
	switch {
	case known(mt) && known(labelled) && mt != labelled:
		return "", fmt.Errorf("it says it is %s but is labelled %s", mt, labelled)
	case !known(mt) && known(labelled):
		mt = labelled
	case !known(mt) && m.Manifests != nil:
		mt = types.OCIImageIndex
	case !known(mt) && m.Config != nil:
		mt = types.OCIManifestSchema1
	}
	switch {
	case mt.IsIndex() && m.Manifests != nil && m.Config == nil:
	case mt.IsIndex() && m.Manifests == nil && m.Config == nil && m.Layers == nil:
	case mt.IsImage() && m.Config != nil:
	default:
		return "", fmt.Errorf("it is neither an image manifest nor an index (media type %q)", CleanText(string(mt)))
	}
	return mt, nil
}

// manifest fetches what ref names. A digest in ref is verified.
func (c *Client) manifest(ctx context.Context, ref name.Reference) (*manifest, error) {
	d, err := c.puller.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	return parseManifest(d.Manifest, string(d.MediaType), d.Digest)
}

// child fetches a manifest that another one names, and holds it to the size
// that was promised.
func (c *Client) child(ctx context.Context, repo name.Repository, desc v1.Descriptor) (*manifest, error) {
	m, err := c.manifest(ctx, repo.Digest(desc.Digest.String()))
	if err != nil {
		return nil, err
	}
	if m.desc.Size != desc.Size {
		return nil, fmt.Errorf("manifest %s has %d bytes, not the %d that were promised", desc.Digest, m.desc.Size, desc.Size)
	}
	return m, nil
}

// blob opens a blob; reading it to the end verifies it.
func (c *Client) blob(ctx context.Context, repo name.Repository, desc v1.Descriptor) (io.ReadCloser, error) {
	layer, err := c.puller.Layer(ctx, repo.Digest(desc.Digest.String()))
	if err != nil {
		return nil, err
	}
	rc, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	return verified(rc, desc)
}

// config fetches and parses the configuration of an image manifest.
func (c *Client) config(ctx context.Context, repo name.Repository, m *manifest) (*v1.ConfigFile, error) {
	if !m.isImage() {
		return nil, fmt.Errorf("%s is not a container image but an artifact of type %s", m.desc.Digest, CleanText(m.artifactType()))
	}
	layer, err := c.puller.Layer(ctx, repo.Digest(m.Config.Digest.String()))
	if err != nil {
		return nil, err
	}
	rc, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	raw, err := readVerified(rc, *m.Config, maxConfig)
	if err != nil {
		return nil, err
	}
	return v1.ParseConfigFile(bytes.NewReader(raw))
}
