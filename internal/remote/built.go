package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// builtSource is one image put together on this machine: its configuration in
// memory, its layers wherever open finds them.
type builtSource struct {
	root  *manifest
	blobs map[v1.Hash]func() (io.ReadCloser, error)
}

var _ source = (*builtSource)(nil)

func (s *builtSource) manifest(_ context.Context, desc v1.Descriptor) (*manifest, error) {
	if desc.Digest != s.root.desc.Digest {
		return nil, fmt.Errorf("manifest %s: %w", desc.Digest, fs.ErrNotExist)
	}
	return s.root, nil
}

func (s *builtSource) openBlob(_ context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	open := s.blobs[desc.Digest]
	if open == nil {
		return nil, fmt.Errorf("blob %s: %w", desc.Digest, fs.ErrNotExist)
	}
	rc, err := open()
	if err != nil {
		return nil, err
	}
	return verified(rc, desc)
}

func (s *builtSource) referrers(context.Context, v1.Hash) ([]v1.Descriptor, error) { return nil, nil }

// builtLayer is a layer and the way to its bytes.
type builtLayer struct {
	desc v1.Descriptor
	open func() (io.ReadCloser, error)
}

// build makes an image manifest of the given media type around a configuration.
func build(config []byte, manifestType, configType types.MediaType, layers []builtLayer) (*builtSource, error) {
	s := &builtSource{blobs: map[v1.Hash]func() (io.ReadCloser, error){}}
	cfg := v1.Descriptor{MediaType: configType, Size: int64(len(config)), Digest: digestOf(config)}
	s.blobs[cfg.Digest] = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(config)), nil }
	m := v1.Manifest{SchemaVersion: 2, MediaType: manifestType, Config: cfg, Layers: []v1.Descriptor{}}
	for _, l := range layers {
		m.Layers = append(m.Layers, l.desc)
		s.blobs[l.desc.Digest] = l.open
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	s.root, err = parseManifest(raw, string(manifestType), digestOf(raw))
	return s, err
}

func digestOf(b []byte) v1.Hash {
	h := sha256.New()
	h.Write(b)
	return sumOf(h)
}

// fromDockerArchive builds the image that docker save wrote. Layers that are
// gzip keep their bytes; others are compressed. Each is held to the digest that
// the configuration gives for its plain content.
func fromDockerArchive(ctx context.Context, a *archive, wanted string) (*builtSource, error) {
	images, err := dockerImages(a.files)
	if err != nil {
		return nil, err
	}
	image, err := chooseImage(images, wanted)
	if err != nil {
		return nil, err
	}
	config, err := readSmall(a.files, image.Config, maxConfig)
	if err != nil {
		return nil, err
	}
	cfg, err := v1.ParseConfigFile(bytes.NewReader(config))
	if err != nil {
		return nil, fmt.Errorf("the configuration %s is not valid: %w", CleanText(image.Config), err)
	}
	if len(cfg.RootFS.DiffIDs) != len(image.Layers) {
		return nil, fmt.Errorf("the archive has %d layers where its configuration has %d", len(image.Layers), len(cfg.RootFS.DiffIDs))
	}
	var layers []builtLayer
	for i, name := range image.Layers {
		l, err := dockerLayer(ctx, a, name, cfg.RootFS.DiffIDs[i])
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", CleanText(path.Base(name)), err)
		}
		layers = append(layers, *l)
	}
	return build(config, types.DockerManifestSchema2, types.DockerConfigJSON, layers)
}

func chooseImage(images []dockerImage, wanted string) (*dockerImage, error) {
	names := []string{}
	for i, image := range images {
		if len(image.RepoTags) == 0 {
			names = append(names, image.Config)
		}
		for _, tag := range image.RepoTags {
			if tag == wanted {
				return &images[i], nil
			}
			names = append(names, tag)
		}
		if image.Config == wanted {
			return &images[i], nil
		}
	}
	switch {
	case len(images) == 0:
		return nil, fmt.Errorf("the archive lists no image")
	case wanted != "":
		return nil, choices(fmt.Sprintf("the archive has no image %q, but", CleanText(wanted)), names)
	case len(images) > 1:
		return nil, choices(fmt.Sprintf("the archive holds %d images", len(images)), names)
	}
	return &images[0], nil
}

func dockerLayer(ctx context.Context, a *archive, name string, diffID v1.Hash) (*builtLayer, error) {
	open := func() (io.ReadCloser, error) {
		rc, _, err := a.files.open(name)
		return rc, err
	}
	rc, err := open()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	stored := newMeter(io.Discard)
	raw := io.TeeReader(rc, stored)
	plain, compression, err := decompressed(raw)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	if compression != "gzip" {
		p, err := pack(ctx, a.temp, plain, "gzip")
		if err != nil {
			return nil, err
		}
		p.desc.MediaType = types.DockerLayer
		return &builtLayer{desc: p.desc, open: p.open}, matches(p.diffID, diffID)
	}
	inner := newMeter(io.Discard)
	if _, err := io.Copy(inner, &cancelled{ctx: ctx, r: plain}); err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, raw); err != nil { // what follows the compressed stream
		return nil, err
	}
	desc := v1.Descriptor{MediaType: types.DockerLayer, Digest: stored.digest(), Size: stored.size}
	return &builtLayer{desc: desc, open: open}, matches(inner.digest(), diffID)
}

func matches(got, want v1.Hash) error {
	if got != want {
		return fmt.Errorf("its content has the digest %s, not the %s that the configuration says", got, want)
	}
	return nil
}
