package registry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"slipway/internal/blob"
	"slipway/internal/db"
	"slipway/internal/gc"
	"slipway/internal/meta"
	"slipway/internal/oci"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
)

const kB = 1000

// content is n bytes that are different for every name.
func content(name string, n int) []byte { return bytes.Repeat([]byte(name), n/len(name)+1)[:n] }

func digest(b []byte) oci.Digest { return oci.FromBytes(oci.SHA256, b) }

// use is what the counter says of a repository.
func use(t *testing.T, s *registrytest.Store, repository string) int64 {
	t.Helper()
	u, err := meta.UseOf(s.DB.Read(context.Background()), repository)
	if err != nil {
		t.Fatal(err)
	}
	return u.Bytes
}

func setQuota(t *testing.T, s *registrytest.Store, repository string, bytes int64) {
	t.Helper()
	if err := s.DB.Update(context.Background(), func(tx *db.Tx) error { return meta.SetQuota(tx, repository, bytes) }); err != nil {
		t.Fatal(err)
	}
}

// refused checks that err is a quota's, says so to people, and left nothing.
func refused(t *testing.T, err error, status int, parts ...string) {
	t.Helper()
	var e *oci.Error
	if !errors.As(err, &e) || e.Status() != status {
		t.Fatalf("got %v, want status %d", err, status)
	}
	for _, p := range parts {
		if !strings.Contains(e.Message, p) {
			t.Errorf("%q does not say %q", e.Message, p)
		}
	}
}

// files are the blobs and uploads that the store has.
func files(t *testing.T, s *registrytest.Store) (n int) {
	t.Helper()
	if err := s.Files.Walk(context.Background(), func(blob.Entry) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func putBlob(s *registrytest.Store, repository string, b []byte, known bool) error {
	body := registry.Body{Reader: bytes.NewReader(b), Length: -1}
	if known {
		body.Length = int64(len(b))
	}
	return s.Registry.PutBlob(context.Background(), repository, digest(b), body)
}

func TestQuotaOfRepository(t *testing.T) {
	ctx := context.Background()
	s := registrytest.Open(t, registry.Config{Quota: registry.Quota{Repository: 100 * kB, Exempt: func(name string) bool { return name == "docker.io/app" }}}, nil)
	first, second := content("first", 60*kB), content("second", 60*kB)
	s.PutBlob("team/app", first)
	for _, known := range []bool{true, false} {
		before := files(t, s)
		refused(t, putBlob(s, "team/app", second, known), http.StatusRequestEntityTooLarge, "team/app", "100000 bytes", "60000 bytes", "slipway gc", "slipway quota team/app")
		if got := files(t, s); got != before {
			t.Errorf("a refused blob left %d files", got-before)
		}
	}
	if err := putBlob(s, "team/app", first, true); err != nil {
		t.Errorf("what is there already: %v", err)
	}
	s.PutBlob("team/other", second)
	if mounted, err := s.MountBlob(ctx, "team/app", digest(second), "team/other", nil); mounted {
		t.Error("mounted past the quota")
	} else {
		refused(t, err, http.StatusRequestEntityTooLarge, "team/app")
	}
	if got := use(t, s, "team/app"); got != 60*kB {
		t.Errorf("uses %d", got)
	}

	for name, quota := range map[string]int64{"team/large": 150 * kB, "team/free": 0} {
		setQuota(t, s, name, quota)
		s.PutBlob(name, first)
		s.PutBlob(name, second)
	}
	refused(t, putBlob(s, "team/large", content("third", 40*kB), true), http.StatusRequestEntityTooLarge, "team/large", "150000 bytes")
	for _, name := range []string{"_builds", "docker.io/app"} { // no person pushes there
		s.PutBlob(name, first)
		s.PutBlob(name, second)
	}
}

// A repository that is full still takes what adds no bytes, and says at the
// start of an upload that it takes no more.
func TestFullRepository(t *testing.T) {
	ctx := context.Background()
	s := registrytest.Open(t, registry.Config{}, nil)
	s.PutImage("app", "v1", content("layer", 50*kB))
	m, err := s.GetManifest(ctx, "app", oci.Reference{Tag: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	setQuota(t, s, "app", use(t, s, "app"))
	s.PutManifest("app", m.Content, "v2")
	s.PutImage("app", "v3", content("layer", 50*kB))
	if _, err := s.Publish(ctx, []registry.Publication{{From: "app", To: "app", Digest: m.Digest, Tags: []string{"v4"}}}, registrytest.Change, nil); err != nil {
		t.Error(err)
	}
	_, err = s.StartUpload(ctx, "app", oci.SHA256)
	refused(t, err, http.StatusRequestEntityTooLarge, "app")
	index := registrytest.Index(m.Content)
	_, err = s.Registry.PutManifest(ctx, registry.Push{Repository: "app", Reference: oci.Reference{Tag: "all"}, MediaType: oci.MediaTypeImageIndex, Content: index, Change: registrytest.Change})
	refused(t, err, http.StatusRequestEntityTooLarge, "app")

	setQuota(t, s, "small", 10*kB)
	_, err = s.Publish(ctx, []registry.Publication{{From: "app", To: "small", Digest: m.Digest, Tags: []string{"v1"}}}, registrytest.Change, nil)
	refused(t, err, http.StatusRequestEntityTooLarge, "small")
	if _, err := s.StatManifest(ctx, "small", oci.Reference{Tag: "v1"}); !oci.HasCode(err, oci.CodeNameUnknown) {
		t.Errorf("something of it was published: %v", err)
	}

	// Deleting makes room, once collection has taken the blobs.
	if err := s.DeleteManifest(ctx, "app", m.Digest, registrytest.Change); err != nil {
		t.Fatal(err)
	}
	none := gc.Options{Grace: new(time.Duration)}
	if _, err := gc.New(gc.Config{DB: s.DB, Blobs: s.Files, Flush: s.Flush}).Run(ctx, none); err != nil {
		t.Fatal(err)
	}
	if got := use(t, s, "app"); got != 0 {
		t.Errorf("an empty repository uses %d", got)
	}
	s.PutBlob("app", content("other", 50*kB))
}

// endless counts what is read of it.
type endless struct{ n atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) { e.n.Add(int64(len(p))); return len(p), nil }

func TestQuotaCutsOffStream(t *testing.T) {
	ctx := context.Background()
	s := registrytest.Open(t, registry.Config{Quota: registry.Quota{Repository: 1000 * kB}}, nil)
	u, err := s.StartUpload(ctx, "app", oci.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	body := &endless{}
	_, err = s.AppendUpload(ctx, "app", u.ID, registry.Body{Reader: body, Length: -1})
	refused(t, err, http.StatusRequestEntityTooLarge, "app")
	if n := body.n.Load(); n > 2000*kB {
		t.Errorf("%d bytes were read", n)
	}
	if n := files(t, s); n != 0 {
		t.Errorf("%d files are left", n)
	}
	// The upload is as it was, and goes on with what fits.
	some := content("some", 900*kB)
	if u, err = s.AppendUpload(ctx, "app", u.ID, registry.Body{Reader: bytes.NewReader(some), Length: -1}); err != nil || u.Size != 900*kB {
		t.Fatalf("%+v %v", u, err)
	}
	for _, length := range []int64{-1, 200 * kB} {
		_, err = s.AppendUpload(ctx, "app", u.ID, registry.Body{Reader: io.LimitReader(body, 200*kB), Length: length})
		refused(t, err, http.StatusRequestEntityTooLarge, "app")
	}
	if err := s.FinishUpload(ctx, "app", u.ID, digest(some), registry.Body{Reader: http.NoBody}); err != nil {
		t.Fatal(err)
	}
	if got := use(t, s, "app"); got != 900*kB {
		t.Errorf("uses %d", got)
	}
}

// Uploads that each fit alone do not pass the limit together.
func TestQuotaHoldsAgainstParallelUploads(t *testing.T) {
	ctx := context.Background()
	for name, q := range map[string]struct {
		registry.Quota
		status int
	}{
		"repository": {registry.Quota{Repository: 100 * kB}, http.StatusRequestEntityTooLarge},
		"total":      {registry.Quota{Total: 100 * kB}, http.StatusInsufficientStorage},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.Open(t, registry.Config{Quota: q.Quota}, nil)
			const n = 8
			var ids, blobs = [n]string{}, [n][]byte{}
			for i := range n {
				blobs[i] = content(string(rune('a'+i)), 40*kB)
				u, err := s.StartUpload(ctx, "app", oci.SHA256)
				if err == nil {
					u, err = s.AppendUpload(ctx, "app", u.ID, registry.Body{Reader: bytes.NewReader(blobs[i]), Length: 40 * kB})
				}
				if err != nil {
					t.Fatal(err)
				}
				ids[i] = u.ID
			}
			var took atomic.Int64
			var all sync.WaitGroup
			for i := range n {
				all.Go(func() {
					err := s.FinishUpload(ctx, "app", ids[i], digest(blobs[i]), registry.Body{Reader: http.NoBody})
					if err == nil {
						took.Add(1)
						return
					}
					var e *oci.Error
					if !errors.As(err, &e) || e.Status() != q.status {
						t.Errorf("%v", err)
					}
				})
			}
			all.Wait()
			if took.Load() != 2 || use(t, s, "app") != 80*kB {
				t.Errorf("%d of 40 kB each were taken, the repository uses %d", took.Load(), use(t, s, "app"))
			}
			if total, err := meta.TotalUse(s.DB.Read(ctx)); err != nil || total != 80*kB {
				t.Errorf("total %d %v", total, err)
			}
		})
	}
}

func TestQuotaOfAll(t *testing.T) {
	s := registrytest.Open(t, registry.Config{Quota: registry.Quota{Total: 100 * kB}}, nil)
	first, second := content("first", 60*kB), content("second", 60*kB)
	s.PutBlob("one", first)
	s.PutBlob("two", first) // the same bytes
	refused(t, putBlob(s, "two", second, false), http.StatusInsufficientStorage, "whole registry", "100000 bytes", "quota.total", "slipway gc")
	refused(t, putBlob(s, "two", second, true), http.StatusInsufficientStorage)
	if got := use(t, s, "two"); got != 60*kB {
		t.Errorf("uses %d", got)
	}
}

func TestQuotaWarnsOnce(t *testing.T) {
	var out bytes.Buffer
	s := registrytest.Open(t, registry.Config{Quota: registry.Quota{Repository: 100 * kB}, Log: slog.New(slog.NewTextHandler(&out, nil))}, nil)
	for i, want := range []int{0, 1, 1} { // at 60, 90 and 95 kB
		s.PutBlob("app", content(string(rune('a'+i)), []int{60 * kB, 30 * kB, 5 * kB}[i]))
		if got := strings.Count(out.String(), "90 %"); got != want {
			t.Errorf("%d warnings after %d blobs, want %d: %s", got, i+1, want, out.String())
		}
	}
}
