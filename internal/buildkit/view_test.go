package buildkit

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	cerrdefs "github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/internal/oci"
	"slipway/internal/pipeline"
	"slipway/internal/pipeline/local"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
)

func openView(t *testing.T, r *registrytest.Store, bases ...pipeline.Base) *view {
	t.Helper()
	v := newView(&local.Store{Registry: r.Registry}, "_builds/p", "run 1", bases)
	t.Cleanup(v.Close)
	return v
}

func read(t *testing.T, v *view, d oci.Digest) ([]byte, error) {
	t.Helper()
	r, err := v.ReaderAt(t.Context(), ocispec.Descriptor{Digest: d})
	if err != nil {
		return nil, err
	}
	return io.ReadAll(content.NewReader(r))
}

func TestViewReadsTheClosureOfItsBases(t *testing.T) {
	r := registrytest.Open(t, registry.Config{}, nil)
	layer := bytes.Repeat([]byte("layer "), 100_000)
	base := r.PutImage("base", "1", layer)
	other := r.PutImage("secret", "1", []byte("another project's"))
	v := openView(t, r, pipeline.Base{Repository: "base", Digest: base})

	layerDigest := oci.FromBytes(oci.SHA256, layer)
	if _, err := read(t, v, base); err != nil {
		t.Fatalf("the base: %v", err)
	}
	if got, err := read(t, v, layerDigest); err != nil || !bytes.Equal(got, layer) {
		t.Errorf("its layer: %d bytes, %v", len(got), err)
	}
	info, err := v.Info(t.Context(), layerDigest)
	if err != nil || info.Size != int64(len(layer)) {
		t.Errorf("its layer has size %d, %v", info.Size, err)
	}
	for name, d := range map[string]oci.Digest{
		"manifest of another repository": other,
		"layer of another repository":    oci.FromBytes(oci.SHA256, []byte("another project's")),
		"unknown":                        oci.FromBytes(oci.SHA256, []byte("nothing")),
	} {
		if _, err := v.Info(t.Context(), d); !cerrdefs.IsNotFound(err) {
			t.Errorf("info of %s: %v, want not found", name, err)
		}
		if _, err := read(t, v, d); !cerrdefs.IsNotFound(err) {
			t.Errorf("read of %s: %v, want not found", name, err)
		}
	}
	if err := v.Walk(t.Context(), func(i content.Info) error { return errors.New("listed " + i.Digest.String()) }); err != nil {
		t.Error(err)
	}
	if err := v.Delete(t.Context(), layerDigest); !cerrdefs.IsPermissionDenied(err) {
		t.Errorf("delete: %v, want permission denied", err)
	}
}

// The builder merges equal steps of two solves: it reads the manifest of a base
// over one session, and may read its layers over the other.
func TestViewReadsALayerFirst(t *testing.T) {
	r := registrytest.Open(t, registry.Config{}, nil)
	layer := []byte("a layer")
	base := r.PutImage("base", "1", layer)
	gone := pipeline.Base{Repository: "base", Digest: oci.FromBytes(oci.SHA256, []byte("a platform that is not here"))}
	d := oci.FromBytes(oci.SHA256, layer)
	for name, first := range map[string]func(*view) error{
		"info": func(v *view) error { _, err := v.Info(t.Context(), d); return err },
		"read": func(v *view) error { _, err := read(t, v, d); return err },
	} {
		if err := first(openView(t, r, gone, pipeline.Base{Repository: "base", Digest: base})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := first(openView(t, r, gone)); !cerrdefs.IsNotFound(err) {
			t.Errorf("%s without the base: %v, want not found", name, err)
		}
	}
}

// A result that another solve built has base layers that this one never read.
func TestViewTakesALayerFirst(t *testing.T) {
	r := registrytest.Open(t, registry.Config{}, nil)
	layer := []byte("a layer")
	v := openView(t, r, pipeline.Base{Repository: "base", Digest: r.PutImage("base", "1", layer)})
	d := oci.FromBytes(oci.SHA256, layer)
	if err := write(t, v, layer, d); !cerrdefs.IsAlreadyExists(err) {
		t.Errorf("writing a layer of the base: %v, want that it exists", err)
	}
	if size, err := v.store.StatBlob(t.Context(), v.repository, d); err != nil || size != int64(len(layer)) {
		t.Errorf("in the repository of the build it has size %d, %v", size, err)
	}
}

func TestViewReadsAnywhere(t *testing.T) {
	r := registrytest.Open(t, registry.Config{}, nil)
	layer := bytes.Repeat([]byte("0123456789"), 10_000)
	base := r.PutImage("base", "1", layer)
	v := openView(t, r, pipeline.Base{Repository: "base", Digest: base})
	if _, err := read(t, v, base); err != nil {
		t.Fatal(err)
	}
	ra, err := v.ReaderAt(t.Context(), ocispec.Descriptor{Digest: oci.FromBytes(oci.SHA256, layer)})
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 10)
	for _, off := range []int64{99_990, 0, 10, 5, 50_000} {
		if n, err := ra.ReadAt(p, off); n != 10 || (err != nil && !errors.Is(err, io.EOF)) || !bytes.Equal(p, layer[off:off+10]) {
			t.Errorf("at %d: %d bytes, %q, %v", off, n, p, err)
		}
	}
	if n, err := ra.ReadAt(p, 99_995); n != 5 || !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %d bytes, %v", n, err)
	}
	if n, err := ra.ReadAt(p, 100_000); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("past the end: %d bytes, %v", n, err)
	}
	v.Close()
	if _, err := ra.ReadAt(p, 0); err == nil {
		t.Error("it reads after the build has ended")
	}
}

func write(t *testing.T, v *view, text []byte, named oci.Digest) error {
	t.Helper()
	w, err := v.Writer(t.Context(), content.WithRef(named.String()), content.WithDescriptor(ocispec.Descriptor{Digest: named, Size: int64(len(text))}))
	if err != nil {
		return err
	}
	defer w.Close()
	for chunk := range bytes.SplitAfterSeq(text, []byte("\n")) {
		if _, err := w.Write(chunk); err != nil {
			return err
		}
	}
	return w.Commit(t.Context(), int64(len(text)), named)
}

func TestViewWritesDurably(t *testing.T) {
	r := registrytest.Open(t, registry.Config{}, nil)
	base := r.PutImage("base", "1", []byte("base layer"))
	v := openView(t, r, pipeline.Base{Repository: "base", Digest: base})
	text := []byte("a layer\nof two lines")
	d := oci.FromBytes(oci.SHA256, text)
	if err := write(t, v, text, d); err != nil {
		t.Fatal(err)
	}
	if err := write(t, v, text, d); !cerrdefs.IsAlreadyExists(err) {
		t.Errorf("again: %v, want already exists", err)
	}
	r.Reopen()
	v = openView(t, r, pipeline.Base{Repository: "base", Digest: base})
	if got, err := r.Registry.StatBlob(t.Context(), "_builds/p", d); err != nil || got != int64(len(text)) {
		t.Errorf("after a restart: %d bytes, %v", got, err)
	}

	t.Run("a layer of a base is taken over, not copied", func(t *testing.T) {
		if _, err := read(t, v, base); err != nil {
			t.Fatal(err)
		}
		layer := oci.FromBytes(oci.SHA256, []byte("base layer"))
		if err := write(t, v, []byte("base layer"), layer); !cerrdefs.IsAlreadyExists(err) {
			t.Errorf("got %v, want already exists", err)
		}
		if _, err := r.Registry.StatBlob(t.Context(), "_builds/p", layer); err != nil {
			t.Error(err)
		}
	})
	t.Run("wrong content is refused", func(t *testing.T) {
		if err := write(t, v, []byte("something else"), oci.FromBytes(oci.SHA256, []byte("expected"))); err == nil {
			t.Error("it was accepted")
		}
	})
	t.Run("an unfinished write leaves nothing", func(t *testing.T) {
		d := oci.FromBytes(oci.SHA256, []byte("never finished"))
		w, err := v.Writer(t.Context(), content.WithRef("r"), content.WithDescriptor(ocispec.Descriptor{Digest: d}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("never")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Registry.StatBlob(t.Context(), "_builds/p", d); err == nil {
			t.Error("it is there")
		}
	})
	t.Run("a write can begin again", func(t *testing.T) {
		text := []byte("second try")
		d := oci.FromBytes(oci.SHA256, text)
		w, err := v.Writer(t.Context(), content.WithRef("again"), content.WithDescriptor(ocispec.Descriptor{Digest: d}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("first")); err != nil {
			t.Fatal(err)
		}
		if err := w.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(t.Context(), int64(len(text)), d); err != nil {
			t.Error(err)
		}
	})
	t.Run("a test has no output", func(t *testing.T) {
		v := newView(&local.Store{Registry: r.Registry}, "", "run 1", nil)
		defer v.Close()
		if err := write(t, v, text, d); !cerrdefs.IsPermissionDenied(err) {
			t.Errorf("got %v, want permission denied", err)
		}
	})
}
