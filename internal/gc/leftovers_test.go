package gc_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway/internal/gc"
	"slipway/internal/oci"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
)

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
