package gc_test

import (
	"testing"
	"time"

	"slipway/internal/oci"
	"slipway/internal/registry/registrytest"
)

func TestDeletionCanBeUndone(t *testing.T) {
	w := newWorld(t)
	layer := large("x")
	d := w.PutImage("app", "v1", layer)
	w.clock.Advance(2 * time.Hour) // beyond grace: only the tombstone keeps it
	w.deleteManifest("app", d)
	w.clock.Advance(59 * time.Minute)
	wantReason(t, w.collect(), oci.FromBytes(oci.SHA256, layer), "can still be restored until")
	if err := w.restore("app", d); err != nil {
		t.Fatal(err)
	}
	if m, err := w.StatManifest(ctx, "app", oci.Reference{Tag: "v1"}); err != nil || m.Digest != d {
		t.Errorf("the tag after restoring: %v, %v", m.Digest, err)
	}
	w.wantBlob("app", layer)

	w.deleteManifest("app", d)
	w.clock.Advance(61 * time.Minute)
	r := w.collect()
	if r.Freed.Blobs != 3 { // manifest, configuration, layer
		t.Errorf("freed %+v", r.Freed)
	}
	if c := w.Contents(); len(c.Files) != 0 || c.Rows["blobs"] != 0 || c.Rows["edges"] != 0 || c.Rows["tombstones"] != 0 {
		t.Errorf("left behind: %+v", c)
	}
	if err := w.restore("app", d); !oci.HasCode(err, oci.CodeManifestUnknown) {
		t.Errorf("restoring what is gone: %v", err)
	}
}

// Collection may free parts of a deleted manifest as soon as its time is over,
// so restoring it then could bring back an image with holes.
func TestRestoreEndsWithItsTime(t *testing.T) {
	w := newWorld(t)
	d := w.PutImage("app", "v1", large("x"))
	w.deleteManifest("app", d)
	w.clock.Advance(61 * time.Minute)
	if err := w.restore("app", d); !oci.HasCode(err, oci.CodeManifestUnknown) {
		t.Errorf("restoring after the undo grace, before a collection: %v", err)
	}
}

func TestRestoredIndexIsWhole(t *testing.T) {
	w := newWorld(t)
	layer := large("x")
	image := w.PutImage("app", "", layer)
	index := w.PutManifest("app", registrytest.Index(registrytest.Image([]byte(`{"architecture":"amd64","os":"linux"}`), layer)), "v1")
	w.deleteUntagged("app")
	w.clock.Advance(2 * time.Hour)
	w.deleteManifest("app", index)
	w.clock.Advance(30 * time.Minute)
	wantReason(t, w.collect(), image, "can still be restored until")
	if err := w.restore("app", index); err != nil {
		t.Fatal(err)
	}
	if _, err := w.StatManifest(ctx, "app", oci.Reference{Digest: image}); err != nil {
		t.Errorf("a child of the restored index: %v", err)
	}
	w.wantBlob("app", layer)
}
