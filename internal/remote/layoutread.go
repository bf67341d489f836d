package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// layoutSource reads an OCI layout.
type layoutSource struct{ files fileSet }

var _ source = (*layoutSource)(nil)

func (s *layoutSource) openBlob(_ context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	rc, _, err := s.files.open("blobs/" + desc.Digest.Algorithm + "/" + desc.Digest.Hex)
	if err != nil {
		return nil, err
	}
	return verified(rc, desc)
}

func (s *layoutSource) manifest(ctx context.Context, desc v1.Descriptor) (*manifest, error) {
	rc, err := s.openBlob(ctx, desc)
	if err != nil {
		return nil, err
	}
	raw, err := readVerified(rc, desc, maxManifest)
	if err != nil {
		return nil, err
	}
	return parseManifest(raw, string(desc.MediaType), desc.Digest)
}

func (s *layoutSource) referrers(context.Context, v1.Hash) ([]v1.Descriptor, error) { return nil, nil }

// root finds the entry of index.json with a name or digest, or the only one.
func (s *layoutSource) root(wanted string) (v1.Descriptor, error) {
	raw, err := readSmall(s.files, "index.json", maxLayoutRoot)
	if err != nil {
		return v1.Descriptor{}, err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return v1.Descriptor{}, fmt.Errorf("index.json is not valid: %w", err)
	}
	names := []string{}
	for _, d := range index.Manifests {
		tag, full := d.Annotations[refNameLabel], d.Annotations["io.containerd.image.name"]
		if wanted != "" && (wanted == tag || wanted == full || wanted == d.Digest.String()) {
			return d, nil
		}
		switch {
		case full != "":
			names = append(names, full)
		case tag != "":
			names = append(names, tag)
		default:
			names = append(names, d.Digest.String())
		}
	}
	switch {
	case len(names) == 0:
		return v1.Descriptor{}, fmt.Errorf("the layout lists no image")
	case wanted != "":
		return v1.Descriptor{}, choices(fmt.Sprintf("the layout has no image %q, but", CleanText(wanted)), names)
	case len(names) > 1:
		return v1.Descriptor{}, choices(fmt.Sprintf("the layout holds %d images", len(names)), names)
	}
	return index.Manifests[0], nil
}
