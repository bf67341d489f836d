package gc_test

import (
	"testing"
	"time"

	"slipway/internal/meta"
	"slipway/internal/oci"
	"slipway/internal/registry/registrytest"
)

func TestDeletedRepository(t *testing.T) {
	w := newWorld(t)
	w.PutImage("app", "v1", large("x"))
	w.PutImage("other", "v1", large("x"))
	w.PutBlob("app", large("only here"))
	if err := w.DeleteRepository(ctx, "app", registrytest.Change); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(2 * time.Hour)
	w.collect()
	w.wantExists(oci.FromBytes(oci.SHA256, large("only here")), false, "after its repository")
	w.wantBlob("other", large("x"))
}

func TestEmptyRepositoryIsForgotten(t *testing.T) {
	w := newWorld(t)
	w.PutBlob("gone", small("x"))
	w.PutBlob("kept", small("x"))
	w.deleteUntagged("kept") // somebody has set something about it
	w.clock.Advance(2 * time.Hour)
	if r := w.collect(); r.Freed.Repositories != 1 {
		t.Errorf("freed %+v", r.Freed)
	}
	for name, want := range map[string]bool{"gone": false, "kept": true} {
		if _, found, err := meta.FindRepository(w.DB.Read(ctx), name); err != nil || found != want {
			t.Errorf("repository %s: %v, %v", name, found, err)
		}
	}
}
