package gc_test

import (
	"bytes"
	"context"
	"io"
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
