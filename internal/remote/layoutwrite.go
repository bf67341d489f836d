package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	layoutMarker  = `{"imageLayoutVersion":"1.0.0"}`
	refNameLabel  = "org.opencontainers.image.ref.name"
	maxLayoutRoot = 4 << 20
)

// layoutSink writes an OCI layout folder (image specification, "Image Layout").
// A blob appears under its name only when it is complete and verified.
type layoutSink struct{ dir string }

var _ sink = (*layoutSink)(nil)

// newLayoutSink makes dir an OCI layout, or continues one. It refuses a folder
// that holds something else.
func newLayoutSink(dir string) (*layoutSink, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	marker := filepath.Join(dir, "oci-layout")
	if _, err := os.Stat(marker); err != nil && len(entries) > 0 {
		return nil, fmt.Errorf("the folder %s holds other files; give an empty one, or an OCI layout", dir)
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return nil, err
	}
	return &layoutSink{dir: dir}, writeFile(marker, []byte(layoutMarker))
}

func (s *layoutSink) path(h v1.Hash) string {
	return filepath.Join(s.dir, "blobs", h.Algorithm, h.Hex)
}

func (s *layoutSink) hasManifest(_ context.Context, digest v1.Hash) (bool, error) {
	_, err := os.Stat(s.path(digest))
	return err == nil, nil
}

func (s *layoutSink) putBlob(_ context.Context, desc v1.Descriptor, open func() (io.ReadCloser, error)) (Outcome, error) {
	if info, err := os.Stat(s.path(desc.Digest)); err == nil && info.Size() == desc.Size {
		return Existed, nil
	}
	rc, err := open()
	if err != nil {
		return Failed, err
	}
	defer rc.Close()
	path := s.path(desc.Digest)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return Failed, err
	}
	err = replaceFile(path, func(w io.Writer) error {
		_, err := io.Copy(w, rc)
		return err
	})
	if err != nil {
		return Failed, err
	}
	return Copied, nil
}

func (s *layoutSink) putManifest(_ context.Context, m *manifest) error {
	path := s.path(m.desc.Digest)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return writeFile(path, m.raw)
}

// tag lists a root in index.json under a name, in place of what had that name.
// An empty tag lists it without one.
func (s *layoutSink) tag(_ context.Context, m *manifest, tag string) error {
	file := filepath.Join(s.dir, "index.json")
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	raw, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(raw, &index)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", file, err)
	}
	entry := m.desc
	if tag != "" {
		entry.Annotations = map[string]string{refNameLabel: tag}
	}
	kept := []v1.Descriptor{}
	for _, d := range index.Manifests {
		name := d.Annotations[refNameLabel]
		if name == tag && (tag != "" || d.Digest == entry.Digest) {
			continue
		}
		kept = append(kept, d)
	}
	index.Manifests = append(kept, entry)
	if raw, err = json.MarshalIndent(index, "", "  "); err != nil {
		return err
	}
	return writeFile(file, append(raw, '\n'))
}

func writeFile(path string, content []byte) error {
	return replaceFile(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// replaceFile writes a file in full before it appears under its name. A
// failure leaves what was there.
func replaceFile(path string, fill func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".slipway-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err = fill(f); err != nil {
		return err
	}
	if err = f.Chmod(0o644); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
