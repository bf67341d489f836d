package gc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway/internal/db"
	"slipway/internal/gc"
	"slipway/internal/meta"
	"slipway/internal/oci"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
)

var ctx = context.Background()

// world is a registry with a collector on one clock.
type world struct {
	*registrytest.Store
	*gc.Collector
	t     *testing.T
	clock *registrytest.Clock
}

func newWorld(t *testing.T) *world {
	clock := registrytest.NewClock()
	s := registrytest.Open(t, registry.Config{Grace: time.Hour, UploadExpiry: 24 * time.Hour}, clock)
	c := gc.New(gc.Config{DB: s.DB, Blobs: s.Files, Flush: s.Flush, Grace: time.Hour, UploadExpiry: 24 * time.Hour, OrphanAge: 15 * time.Minute})
	return &world{s, c, t, clock}
}

func (w *world) collect() gc.Report {
	w.t.Helper()
	r, err := w.Run(ctx, gc.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) dryRun() gc.Report {
	w.t.Helper()
	r, err := w.Run(ctx, gc.Options{DryRun: true})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) update(fn func(*db.Tx) error) {
	w.t.Helper()
	if err := w.DB.Update(ctx, fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) deleteUntagged(repository string) {
	w.t.Helper()
	w.update(func(tx *db.Tx) error {
		r, _, err := meta.FindRepository(tx, repository)
		if err != nil {
			return err
		}
		return meta.SetDeleteUntagged(tx, r.ID, true)
	})
}

func (w *world) deleteManifest(repository string, d oci.Digest) {
	w.t.Helper()
	if err := w.DeleteManifest(ctx, repository, d, registrytest.Change); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) restore(repository string, d oci.Digest) error {
	return w.RestoreManifest(ctx, repository, d, registrytest.Change)
}

// exists reports whether the bytes of a digest are there, whoever holds them.
func (w *world) exists(d oci.Digest) bool {
	w.t.Helper()
	_, found, err := meta.BlobSize(w.DB.Read(ctx), d)
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

func (w *world) wantExists(d oci.Digest, want bool, when string) {
	w.t.Helper()
	if got := w.exists(d); got != want {
		w.t.Errorf("%s: bytes of %s there: %v, want %v", when, d, got, want)
	}
}

// wantBlob reads a blob through the registry.
func (w *world) wantBlob(repository string, content []byte) {
	w.t.Helper()
	b, err := w.OpenBlob(ctx, repository, oci.FromBytes(oci.SHA256, content))
	if err != nil {
		w.t.Error(err)
		return
	}
	defer b.Close()
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, content) {
		w.t.Errorf("blob differs: %d bytes, %v", len(got), err)
	}
}

// bytesOf makes content of a size that is kept in the database (small) or as
// a file (large).
func bytesOf(seed string, n int) []byte { return bytes.Repeat([]byte(seed), n/len(seed)+1)[:n] }

func small(seed string) []byte { return bytesOf(seed, 100) }
func large(seed string) []byte { return bytesOf(seed, 20<<10) }

func keptReasons(r gc.Report) []string {
	var list []string
	for _, k := range r.Kept {
		list = append(list, k.Reason)
	}
	slices.Sort(list)
	return list
}

func wantReason(t *testing.T, r gc.Report, subject oci.Digest, part string) {
	t.Helper()
	for _, d := range r.Details {
		if d.Subject == subject.String() && !d.Freed && strings.Contains(d.Reason, part) {
			return
		}
	}
	t.Errorf("no detail says that %s is kept because %q: %+v", subject, part, r.Details)
}

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

func (w *world) startUpload(content []byte) string {
	w.t.Helper()
	u, err := w.StartUpload(ctx, "app", oci.SHA256)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.AppendUpload(ctx, "app", u.ID, registry.Body{Reader: bytes.NewReader(content), Length: -1}); err != nil {
		w.t.Fatal(err)
	}
	return u.ID
}

func TestAbandonedUploads(t *testing.T) {
	w := newWorld(t)
	silent, silentSmall := w.startUpload(large("x")), w.startUpload(small("x"))
	busy := w.startUpload(large("y"))
	cancelled := w.startUpload(large("z"))
	if err := w.CancelUpload(ctx, "app", cancelled); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(23 * time.Hour)
	if r := w.collect(); r.Freed != (gc.Freed{}) {
		t.Errorf("before the expiry: %+v", r.Freed)
	}
	if _, err := w.AppendUpload(ctx, "app", busy, registry.Body{Reader: strings.NewReader("more"), Length: 4}); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(2 * time.Hour)
	if r := w.collect(); r.Freed != (gc.Freed{Uploads: 2, Bytes: 20<<10 + 100}) {
		t.Errorf("after the expiry: %+v", r.Freed)
	}
	for _, id := range []string{silent, silentSmall, cancelled} {
		if _, err := w.UploadStatus(ctx, "app", id); !oci.HasCode(err, oci.CodeBlobUploadUnknown) {
			t.Errorf("an expired upload: %v", err)
		}
	}
	if u, err := w.UploadStatus(ctx, "app", busy); err != nil || u.Size != 20<<10+4 {
		t.Errorf("the upload that went on: %+v, %v", u, err)
	}
	if c := w.Contents(); len(c.Files) != 1 || c.Rows["uploads"] != 1 {
		t.Errorf("left behind: %+v", c)
	}
}

func TestBytesWithoutRows(t *testing.T) {
	w := newWorld(t)
	named := w.PutImage("app", "v1", large("named"))
	u := w.startUpload(large("upload"))
	// What a crash leaves: committed bytes and an upload whose rows never came.
	leave := func(content []byte, commit bool, age time.Duration) {
		n, state, err := w.Files.Append(ctx, "", 0, bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(w.Dir, "uploads", string(state))
		if commit {
			k, err := w.Files.Commit(ctx, state, oci.FromBytes(oci.SHA256, content), n)
			if err != nil {
				t.Fatal(err)
			}
			path = filepath.Join(w.Dir, "blobs", string(k))
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	before := w.Contents()
	leave(large("named"), true, 2*time.Hour) // the bytes are named, but under another key
	leave([]byte("gone"), true, 2*time.Hour)
	leave([]byte("gone too"), false, 2*time.Hour)
	leave([]byte("a push under way"), true, 30*time.Minute)
	leave([]byte("an upload under way"), false, 30*time.Minute)
	foreign := filepath.Join(w.Dir, "blobs", "README")
	if err := os.WriteFile(foreign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dry, r := w.dryRun(), w.collect()
	if r.Freed != (gc.Freed{Files: 3, Bytes: 20<<10 + 4 + 8}) || dry.Freed != r.Freed {
		t.Errorf("freed %+v, the dry run said %+v", r.Freed, dry.Freed)
	}
	if !slices.Contains(keptReasons(r), "file younger than the orphan age") {
		t.Errorf("reasons: %v", keptReasons(r))
	}
	after := w.Contents()
	if len(after.Files) != len(before.Files)+3 {
		t.Errorf("files: %v", after.Files)
	}
	w.wantBlob("app", large("named"))
	if _, err := w.UploadStatus(ctx, "app", u); err != nil {
		t.Error(err)
	}
	if _, err := w.StatManifest(ctx, "app", oci.Reference{Digest: named}); err != nil {
		t.Error(err)
	}
}

// A dry run changes nothing and says exactly what a real one then frees.
func TestDryRunPredicts(t *testing.T) {
	config := []byte(`{"architecture":"amd64","os":"linux"}`)
	for name, prepare := range map[string]func(w *world){
		"nothing":    func(*world) {},
		"stray blob": func(w *world) { w.PutBlob("app", large("x")); w.PutBlob("other", large("x")) },
		"shared blob of which one repository lets go": func(w *world) {
			w.PutImage("app", "v1", large("x"))
			w.PutBlob("other", large("x"))
		},
		"untagged image": func(w *world) {
			w.PutImage("app", "", large("x"))
			w.deleteUntagged("app")
		},
		"untagged tree": func(w *world) {
			w.PutImage("app", "", large("x"))
			inner := registrytest.Index(registrytest.Image(config, large("x")))
			w.PutManifest("app", inner)
			outer := registrytest.Index(inner)
			w.PutManifest("app", outer)
			w.PutBlob("app", []byte("{}"))
			w.PutManifest("app", registrytest.Artifact("text/sbom", outer, nil))
			w.PutImage("app", "v1", large("y"))
			w.deleteUntagged("app")
		},
		"deleted": func(w *world) { w.deleteManifest("app", w.PutImage("app", "v1", large("x"))) },
		"deleted repository": func(w *world) {
			w.PutImage("app", "v1", large("x"))
			if err := w.DeleteRepository(ctx, "app", registrytest.Change); err != nil {
				w.t.Fatal(err)
			}
		},
		"emptied repository": func(w *world) {
			w.PutImage("app", "v1", large("x"))
			w.PutBlob("only-a-blob", large("x"))
		},
		"abandoned uploads": func(w *world) { w.startUpload(large("x")); w.startUpload(small("x")) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			prepare(w)
			w.clock.Advance(25 * time.Hour)
			before := w.Contents()
			dry := w.dryRun()
			if !before.Equal(w.Contents()) {
				t.Error("the dry run changed something")
			}
			if w.Last() != nil {
				t.Error("the dry run counts as the last collection")
			}
			r := w.collect()
			if dry.Freed != r.Freed {
				t.Errorf("the dry run said %+v, the real one freed %+v", dry.Freed, r.Freed)
			}
			if a, b := freedSubjects(dry), freedSubjects(r); !maps.Equal(a, b) {
				t.Errorf("the dry run named %v, the real one freed %v", a, b)
			}
			if !slices.Equal(keptReasons(dry), keptReasons(r)) {
				t.Errorf("kept: the dry run said %v, the real one %v", keptReasons(dry), keptReasons(r))
			}
			if !dry.DryRun || r.DryRun || w.Last() == nil || w.Last().Freed != r.Freed {
				t.Error("the reports do not say which run they are of")
			}
		})
	}
}

func freedSubjects(r gc.Report) map[string]bool {
	set := map[string]bool{}
	for _, d := range r.Details {
		if d.Freed {
			set[d.Kind+" "+d.Repository+" "+d.Subject] = true
		}
	}
	return set
}

// A push that finds a blob already there, while collection is about to free
// it, must end with the blob there.
func TestPushRacesCollection(t *testing.T) {
	w := newWorld(t)
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for i := range rounds {
		content := large("x")
		if i%2 == 0 {
			content = small("x")
		}
		w.PutBlob("old", content)
		w.clock.Advance(2 * time.Hour) // free it is, from now on
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := w.Run(ctx, gc.Options{}); err != nil {
				t.Error(err)
			}
		}()
		if i%3 == 0 {
			time.Sleep(time.Duration(i) * 100 * time.Microsecond)
		}
		w.PutImage("new", "v1", content)
		<-done
		w.wantBlob("new", content)
		if err := w.DeleteRepository(ctx, "new", registrytest.Change); err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(2 * time.Hour)
		w.collect()
		if c := w.Contents(); c.Rows["blobs"] != 0 || len(c.Files) != 0 {
			t.Fatalf("round %d left %+v", i, c)
		}
	}
}

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

func TestOldEventsGo(t *testing.T) {
	w := newWorld(t)
	w.PutImage("app", "v1", small("x"))
	w.clock.Advance(6 * 24 * time.Hour)
	w.PutImage("app", "v2", small("x"))
	n := w.Contents().Rows["events"]
	w.collect()
	if got := w.Contents().Rows["events"]; got != n {
		t.Errorf("%d events after 6 days, want %d", got, n)
	}
	w.clock.Advance(2 * 24 * time.Hour)
	w.collect()
	if got := w.Contents().Rows["events"]; got == 0 || got >= n {
		t.Errorf("%d events after 8 days, of %d", got, n)
	}
}

// A disk that is too full to record the times of pulls needs collection most.
func TestCollectsThoughFlushFails(t *testing.T) {
	clock := registrytest.NewClock()
	s := registrytest.Open(t, registry.Config{}, clock)
	s.PutBlob("app", []byte("nothing needs this"))
	clock.Advance(2 * time.Hour)
	c := gc.New(gc.Config{DB: s.DB, Blobs: s.Files, Flush: func(context.Context) error { return errors.New("the disk is full") }})
	r, err := c.Run(t.Context(), gc.Options{})
	if err != nil || r.Freed.Blobs != 1 {
		t.Errorf("freed %d blobs: %v", r.Freed.Blobs, err)
	}
}
