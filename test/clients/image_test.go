//go:build linux

package clients

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"slipway/test/harness"
)

const greeting = "hello from a pulled image"

func TestMain(m *testing.M) { os.Exit(harness.Isolate(m)) }

// hello builds the static program that the images hold.
func hello(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hello")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./testdata/hello")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return path
}

// newImage makes an image in Docker's format that runs: a static program, a layer
// of random bytes that no earlier push can have brought, and a tiny one.
func newImage(t *testing.T, program string) v1.Image {
	t.Helper()
	return makeImage(t, program, types.DockerManifestSchema2, types.DockerConfigJSON, types.DockerLayer)
}

// newOCIImage makes the same in the OCI's format.
func newOCIImage(t *testing.T, program string) v1.Image {
	t.Helper()
	return makeImage(t, program, types.OCIManifestSchema1, types.OCIConfigJSON, types.OCILayer)
}

func makeImage(t *testing.T, program string, manifest, config, layers types.MediaType) v1.Image {
	t.Helper()
	code, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 1<<20)
	rand.Read(noise)
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, manifest), config)
	img, err = mutate.AppendLayers(img,
		layer(t, layers, "hello", code, 0o755),
		layer(t, layers, "noise", noise, 0o644),
		layer(t, layers, "tiny", []byte("1"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", runtime.GOARCH
	cf.Config.Entrypoint = []string{"/hello"}
	img, err = mutate.ConfigFile(img, cf)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func layer(t *testing.T, kind types.MediaType, name string, content []byte, mode int64) v1.Layer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content)), Format: tar.FormatPAX}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
	}, tarball.WithMediaType(kind))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// saveArchive writes an image as `docker save` does, named ref.
func saveArchive(t *testing.T, img v1.Image, ref string) string {
	t.Helper()
	tag, err := name.NewTag(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(path, tag, img); err != nil {
		t.Fatal(err)
	}
	return path
}

// saveLayout writes an image as an OCI layout whose only image is named name.
func saveLayout(t *testing.T, img v1.Image, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	annotations := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": name})
	if err := l.AppendImage(img, annotations); err != nil {
		t.Fatal(err)
	}
	return dir
}
