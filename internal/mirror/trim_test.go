package mirror_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"slipway/internal/db"
	"slipway/internal/gc"
	"slipway/internal/meta"
	"slipway/internal/mirror"
	"slipway/internal/oci"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
)

const layerSize = 100_000

// pull brings a whole image of one layer to the mirror.
func (l *local) pull(name string, layer []byte) {
	l.t.Helper()
	l.want(name+"/manifests/1", registrytest.Image(config, layer))
	l.want(name+"/blobs/"+digestOf(config), config)
	l.want(name+"/blobs/"+digestOf(layer), layer)
}

// here reports whether the mirror has a blob without asking anybody.
func (l *local) here(name string, content []byte) bool {
	_, err := l.store.StatBlob(context.Background(), name, oci.Digest(digestOf(content)))
	return err == nil
}

// atRest is the size of all blobs after a collection that leaves no grace.
func (l *local) atRest() int64 {
	l.t.Helper()
	ctx := context.Background()
	none := time.Duration(0)
	if _, err := gc.New(gc.Config{DB: l.store.DB, Blobs: l.store.Files}).Run(ctx, gc.Options{Grace: &none}); err != nil {
		l.t.Fatal(err)
	}
	totals, err := meta.CountBlobs(l.store.DB.Read(ctx))
	if err != nil {
		l.t.Fatal(err)
	}
	return totals.Bytes
}

func (l *local) mustTrim() mirror.Trimmed {
	l.t.Helper()
	r, err := l.Trim(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// TestTrimEvictsByLastUse: five images, room for three. The two that were used
// last longest ago go, and collection frees their bytes.
func TestTrimEvictsByLastUse(t *testing.T) {
	u := newUpstream(t)
	c := mirrorOf(u)
	c.MaxSize = 3*layerSize + layerSize/2
	l := newLocal(t, c)
	var layers [][]byte
	name := func(i int) string { return fmt.Sprintf("docker.io/library/image%d", i) }
	for i := range 5 {
		layer := random(layerSize + i)
		layers = append(layers, layer)
		u.PutImage(strings.TrimPrefix(name(i), "docker.io/"), "1", layer)
		l.pull(name(i), layer)
		l.clock.Advance(time.Minute)
	}
	l.want(name(0)+"/manifests/1", registrytest.Image(config, layers[0])) // used again
	r := l.mustTrim()
	if r.Manifests != 2 || r.Bytes < 2*layerSize || r.Cached > c.MaxSize || r.Cached < 3*layerSize {
		t.Errorf("trimmed %+v", r)
	}
	for i, want := range []bool{true, false, false, true, true} {
		if got := l.here(name(i), layers[i]); got != want {
			t.Errorf("image %d is here: %v", i, got)
		}
	}
	if bytes := l.atRest(); bytes > c.MaxSize || bytes < 3*layerSize {
		t.Errorf("%d bytes after collection", bytes)
	}
	if again := l.mustTrim(); again.Manifests != 0 || again.Cached != r.Cached {
		t.Errorf("a second trim: %+v", again)
	}
	l.pull(name(1), layers[1]) // what is gone is fetched again
	if history := l.store.Contents().Rows; history["mirror_tags"] != 4 || history["mirror_manifests"] != 4 {
		t.Errorf("notes: %v", history)
	}
}

// TestTrimSpares has one image each of what must stay under no room at all.
func TestTrimSpares(t *testing.T) {
	ctx := context.Background()
	for name, tt := range map[string]struct {
		prepare func(l *local, layer []byte)
		stays   bool // the image, though nothing fits
		bytes   bool // its layer's bytes, whatever becomes of the image
	}{
		"nothing special": {func(*local, []byte) {}, false, false},
		"a tag of another repository needs the layer": {func(l *local, layer []byte) {
			l.store.PutImage("own/app", "1", layer)
		}, true, true}, // evicting it would free next to nothing
		"a pin on the image": {func(l *local, layer []byte) {
			pin(l, digestOf(registrytest.Image(config, layer)))
		}, true, true},
		"a pin on the layer": {func(l *local, layer []byte) { pin(l, digestOf(layer)) }, false, true},
		"a person's push of the same image": {func(l *local, layer []byte) {
			if _, err := l.PutManifest(ctx, pushOf(library, "mine", registrytest.Image(config, layer))); err != nil {
				l.t.Fatal(err)
			}
		}, true, true},
		"a person's index that it was fetched for": {func(l *local, layer []byte) {
			image := registrytest.Image(config, layer)
			if err := l.DeleteManifest(ctx, library, oci.Digest(digestOf(image)), registrytest.Change); err != nil {
				l.t.Fatal(err)
			}
			p := pushOf(library, "all", registrytest.Index(image))
			p.Sparse = registry.SparseIndexes
			if _, err := l.PutManifest(ctx, p); err != nil {
				l.t.Fatal(err)
			}
			l.want(library+"/manifests/"+digestOf(image), image)
		}, true, true},
		"a person's index above it": {func(l *local, layer []byte) {
			if _, err := l.PutManifest(ctx, pushOf(library, "all", registrytest.Index(registrytest.Image(config, layer)))); err != nil {
				l.t.Fatal(err)
			}
		}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t)
			layer := random(layerSize)
			u.PutImage("library/debian", "1", layer)
			c := mirrorOf(u)
			c.MaxSize = 2000
			l := newLocal(t, c)
			l.pull(library, layer)
			tt.prepare(l, layer)
			l.clock.Advance(time.Hour)
			l.mustTrim()
			l.atRest()
			image := oci.Reference{Digest: oci.Digest(digestOf(registrytest.Image(config, layer)))}
			_, err := l.store.StatManifest(ctx, library, image)
			if stays := err == nil; stays != tt.stays {
				t.Errorf("the image stays: %v", stays)
			}
			if _, found, err := meta.BlobSize(l.store.DB.Read(ctx), oci.Digest(digestOf(layer))); err != nil || found != tt.bytes {
				t.Errorf("the bytes stay: %v, %v", found, err)
			}
		})
	}
}

func pin(l *local, digest string) {
	l.t.Helper()
	if err := l.store.DB.Update(context.Background(), func(tx *db.Tx) error {
		return meta.Pin(tx, "test", oci.Digest(digest), tx.Now()+int64(24*time.Hour/time.Millisecond))
	}); err != nil {
		l.t.Fatal(err)
	}
}

// TestTrimKeepsWhatAnIndexUses: pulling an index by its tag is using what is
// here of it; and it goes before what it holds.
func TestTrimKeepsWhatAnIndexUses(t *testing.T) {
	u := newUpstream(t)
	layer, other := random(layerSize), random(layerSize+1)
	u.PutImage("library/debian", "", layer)
	u.PutImage("library/other", "1", other)
	image := registrytest.Image(config, layer)
	index := registrytest.Index(image)
	u.PutManifest("library/debian", index, "1")
	c := mirrorOf(u)
	c.MaxSize = layerSize + layerSize/2
	l := newLocal(t, c)
	l.want(library+"/manifests/1", index)
	l.want(library+"/manifests/"+digestOf(image), image)
	l.want(library+"/blobs/"+digestOf(layer), layer)
	l.clock.Advance(time.Minute)
	l.pull("docker.io/library/other", other)
	l.clock.Advance(time.Minute)
	l.want(library+"/manifests/1", index) // only the index
	if r := l.mustTrim(); r.Manifests != 1 || !l.here(library, layer) || l.here("docker.io/library/other", other) {
		t.Errorf("%+v: the layer of the index is here: %v", r, l.here(library, layer))
	}
	l.clock.Advance(time.Minute)
	l.pull("docker.io/library/other", other)
	if r := l.mustTrim(); r.Manifests != 2 || l.here(library, layer) {
		t.Errorf("%+v", r)
	}
}

// TestRunTrimsAfterFills: nobody calls Trim.
func TestRunTrimsAfterFills(t *testing.T) {
	u := newUpstream(t)
	a, b := random(layerSize), random(layerSize+1)
	u.PutImage("library/a", "1", a)
	u.PutImage("library/b", "1", b)
	c := mirrorOf(u)
	c.MaxSize = layerSize + layerSize/2
	l := newLocal(t, c)
	l.pull("docker.io/library/a", a)
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() { l.Run(ctx); close(ran) }()
	l.clock.Advance(time.Minute)
	// The first look comes at the start, with room enough; this one because of
	// what was fetched since, whichever comes first.
	l.pull("docker.io/library/b", b)
	within(t, "the older image is evicted", func() bool { return !l.here("docker.io/library/a", a) })
	if !l.here("docker.io/library/b", b) {
		t.Error("the newer image is gone too")
	}
	stop()
	<-ran
}

// TestNoLimit: 0 evicts nothing.
func TestNoLimit(t *testing.T) {
	_, l, layer := image(t, layerSize, 0)
	l.want(library+"/blobs/"+digestOf(layer), layer)
	l.clock.Advance(10_000 * time.Hour)
	if r := l.mustTrim(); r.Manifests != 0 || r.Cached < layerSize || !l.here(library, layer) {
		t.Errorf("%+v", r)
	}
	if resp, _, err := l.get(library + "/blobs/" + digestOf(layer)); err != nil || resp.StatusCode != http.StatusOK {
		t.Error(resp.Status, err)
	}
}
