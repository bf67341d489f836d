package gc_test

import (
	"testing"
	"time"

	"slipway/internal/db"
	"slipway/internal/meta"
	"slipway/internal/oci"
	"slipway/internal/registry/registrytest"
)

func TestUntagged(t *testing.T) {
	config := []byte(`{"architecture":"amd64","os":"linux"}`)
	for _, c := range []struct {
		name    string
		policy  bool
		prepare func(w *world) (watched oci.Digest)
		kept    bool
		reason  string
	}{
		{"kept by default", false, func(w *world) oci.Digest { return w.PutImage("app", "", small("x")) }, true, ""},
		{"deleted where that is wanted", true, func(w *world) oci.Digest { return w.PutImage("app", "", small("x")) }, false, ""},
		{"tagged", true, func(w *world) oci.Digest { return w.PutImage("app", "v1", small("x")) }, true, ""},
		{"child of an index", true, func(w *world) oci.Digest {
			d := w.PutImage("app", "", small("x"))
			w.PutManifest("app", registrytest.Index(registrytest.Image(config, small("x"))), "v1")
			return d
		}, true, "an index holds it"},
		{"grandchild of an index", true, func(w *world) oci.Digest {
			d := w.PutImage("app", "", small("x"))
			inner := registrytest.Index(registrytest.Image(config, small("x")))
			w.PutManifest("app", inner)
			w.PutManifest("app", registrytest.Index(inner), "v1")
			return d
		}, true, "an index holds it"},
		{"child of an index that goes", true, func(w *world) oci.Digest {
			d := w.PutImage("app", "", small("x"))
			w.PutManifest("app", registrytest.Index(registrytest.Image(config, small("x"))))
			return d
		}, false, ""},
		{"referrer of a tagged subject", true, func(w *world) oci.Digest {
			w.PutImage("app", "v1", small("x"))
			w.PutBlob("app", []byte("{}"))
			return w.PutManifest("app", registrytest.Artifact("text/sbom", registrytest.Image(config, small("x")), nil))
		}, true, "it refers to a subject that is there"},
		{"referrer of a subject that goes", true, func(w *world) oci.Digest {
			w.PutImage("app", "", small("x"))
			w.PutBlob("app", []byte("{}"))
			return w.PutManifest("app", registrytest.Artifact("text/sbom", registrytest.Image(config, small("x")), nil))
		}, false, ""},
		{"referrer of a subject that never came", true, func(w *world) oci.Digest {
			w.PutBlob("app", []byte("{}"))
			return w.PutManifest("app", registrytest.Artifact("text/sbom", []byte("missing"), nil))
		}, false, ""},
		{"pinned", true, func(w *world) oci.Digest {
			d := w.PutImage("app", "", small("x"))
			w.update(func(tx *db.Tx) error { return meta.Pin(tx, "build 44", d, tx.Now()+(1000*time.Hour).Milliseconds()) })
			return d
		}, true, "pinned by build 44"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			d := c.prepare(w)
			if c.policy {
				w.deleteUntagged("app")
			}
			w.clock.Advance(59 * time.Minute)
			w.collect()
			if _, err := w.StatManifest(ctx, "app", oci.Reference{Digest: d}); err != nil {
				t.Fatalf("within the grace time: %v", err)
			}
			// Deleted ones free what they held: the second run sees that.
			w.clock.Advance(2 * time.Minute)
			r := w.collect()
			_, err := w.StatManifest(ctx, "app", oci.Reference{Digest: d})
			if (err == nil) != c.kept {
				t.Errorf("kept: %v, want %v", err == nil, c.kept)
			}
			if c.reason != "" {
				wantReason(t, r, d, c.reason)
			}
			if c.kept {
				return
			}
			if err := w.restore("app", d); err != nil {
				t.Errorf("what collection deleted can be restored: %v", err)
			}
			w.clock.Advance(2 * time.Hour) // untagged again, so it goes again
			w.collect()
			w.clock.Advance(2 * time.Hour)
			w.collect()
			w.wantExists(d, false, "after the undo grace")
		})
	}
}
