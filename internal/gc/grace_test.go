package gc_test

import (
	"testing"
	"time"

	"slipway/internal/gc"
	"slipway/internal/oci"
)

func TestGrace(t *testing.T) {
	for _, content := range [][]byte{small("s"), large("l")} {
		w := newWorld(t)
		d := w.PutBlob("app", content)
		w.clock.Advance(59 * time.Minute)
		wantReason(t, w.collect(), d, "grace")
		w.wantBlob("app", content)

		// A client that was told that the blob exists relies on it.
		if _, err := w.StatBlob(ctx, "app", d); err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(59 * time.Minute)
		w.collect()
		w.wantBlob("app", content)

		// So does one that mounts it, for a repository of its own.
		if ok, err := w.MountBlob(ctx, "other", d, "app", nil); !ok || err != nil {
			t.Fatal(ok, err)
		}
		w.clock.Advance(59 * time.Minute)
		w.collect()
		w.wantBlob("other", content)
		if _, err := w.OpenBlob(ctx, "app", d); !oci.HasCode(err, oci.CodeBlobUnknown) && !oci.HasCode(err, oci.CodeNameUnknown) {
			t.Errorf("the repository that did not use the blob: %v", err)
		}

		w.clock.Advance(2 * time.Minute)
		r := w.collect()
		if w.exists(d) || r.Freed.Blobs != 1 || r.Freed.Bytes != int64(len(content)) {
			t.Errorf("after the grace time: %+v", r.Freed)
		}
		if c := w.Contents(); len(c.Files) != 0 || c.Rows["blob_content"] != 0 || c.Rows["garbage"] != 0 || c.Rows["members"] != 0 {
			t.Errorf("left behind: %+v", c)
		}
	}
}

func TestGraceOfOneRun(t *testing.T) {
	w := newWorld(t)
	d := w.PutBlob("app", large("x"))
	w.clock.Advance(time.Second)
	zero := time.Duration(0)
	if _, err := w.Run(ctx, gc.Options{Grace: &zero}); err != nil {
		t.Fatal(err)
	}
	w.wantExists(d, false, "after a run with grace 0")
}
