package gc_test

import (
	"testing"
	"time"

	"slipway/internal/db"
	"slipway/internal/gc"
	"slipway/internal/meta"
	"slipway/internal/oci"
	"slipway/internal/registry/registrytest"
)

func TestWhatTagsNeedStays(t *testing.T) {
	w := newWorld(t)
	w.PutImage("app", "v1", small("a"), large("b"))
	before := w.Contents()
	w.clock.Advance(1000 * time.Hour)
	r := w.collect()
	if r.Freed != (gc.Freed{}) {
		t.Errorf("freed %+v", r.Freed)
	}
	after := w.Contents()
	before.Rows["events"] = after.Rows["events"] // old ones are trimmed
	if !before.Equal(after) {
		t.Errorf("collection changed\n%+v to\n%+v", before, after)
	}
	w.wantBlob("app", large("b"))
}

func TestPins(t *testing.T) {
	pin := func(w *world, d oci.Digest) {
		w.update(func(tx *db.Tx) error { return meta.Pin(tx, "build 44", d, tx.Now()+(10*time.Hour).Milliseconds()) })
	}
	t.Run("a blob", func(t *testing.T) {
		w := newWorld(t)
		d := w.PutBlob("app", large("x"))
		pin(w, d)
		w.clock.Advance(5 * time.Hour)
		wantReason(t, w.collect(), d, "pinned by build 44")
		w.wantBlob("app", large("x"))
		w.clock.Advance(6 * time.Hour)
		w.collect()
		w.wantExists(d, false, "after the pin's time")
	})
	t.Run("all that an index needs", func(t *testing.T) {
		w := newWorld(t)
		layer := large("x")
		image := w.PutImage("app", "", layer)
		index := w.PutManifest("app", registrytest.Index(registrytest.Image([]byte(`{"architecture":"amd64","os":"linux"}`), layer)))
		pin(w, index)
		w.deleteManifest("app", index)
		w.deleteManifest("app", image)
		w.clock.Advance(5 * time.Hour)
		w.collect()
		for _, d := range []oci.Digest{index, image, oci.FromBytes(oci.SHA256, layer)} {
			w.wantExists(d, true, "while the index is pinned")
		}
		w.update(func(tx *db.Tx) error { return meta.Unpin(tx, "build 44") })
		w.collect()
		for _, d := range []oci.Digest{index, image, oci.FromBytes(oci.SHA256, layer)} {
			w.wantExists(d, false, "after Unpin")
		}
	})
}
