package registry_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway/internal/blob"
	"slipway/internal/gc"
	"slipway/internal/meta"
	"slipway/internal/oci"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
)

// A blob whose file was lost answers with an error until somebody pushes it
// again, by whatever way and into whatever repository.
func TestPushBringsBackLostBytes(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"gone": os.Remove,
		"cut":  func(path string) error { return os.Truncate(path, 5) },
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.Open(t, registry.Config{}, nil)
			content := bytes.Repeat([]byte("a file "), 10_000)
			d := s.PutBlob("app", content)
			if err := s.Files.Walk(t.Context(), func(e blob.Entry) error {
				return damage(filepath.Join(s.Dir, "blobs", string(e.Key)))
			}); err != nil {
				t.Fatal(err)
			}
			s.Reopen()
			s.PutBlob("other", content)
			for _, repository := range []string{"app", "other"} {
				b, err := s.OpenBlob(t.Context(), repository, d)
				if err != nil {
					t.Fatalf("%s: %v", repository, err)
				}
				got, err := io.ReadAll(b)
				if _ = b.Close(); err != nil || !bytes.Equal(got, content) {
					t.Errorf("%s: %d bytes, want %d: %v", repository, len(got), len(content), err)
				}
			}
		})
	}
}

// A closing request that is repeated because its answer was lost succeeds.
func TestClosingTwice(t *testing.T) {
	s := registrytest.Open(t, registry.Config{}, nil)
	content := []byte("content")
	d := oci.FromBytes(oci.SHA256, content)
	u, err := s.StartUpload(t.Context(), "app", oci.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AppendUpload(t.Context(), "app", u.ID, registry.Body{Reader: bytes.NewReader(content), Length: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.FinishUpload(t.Context(), "app", u.ID, d, registry.Body{Reader: strings.NewReader("")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.FinishUpload(t.Context(), "app", u.ID, oci.FromBytes(oci.SHA256, []byte("another")), registry.Body{Reader: strings.NewReader("")}); !oci.HasCode(err, oci.CodeDigestInvalid) {
		t.Errorf("closing with the digest of what was never sent: %v", err)
	}
}

// An answer 201 is a use that collection knows of, also where the bytes were
// there already: the repeated request, and the empty blob, which sends none.
func TestClosingIsAUse(t *testing.T) {
	clock := registrytest.NewClock()
	s := registrytest.Open(t, registry.Config{}, clock)
	for _, content := range []string{"content", ""} {
		d := oci.FromBytes(oci.SHA256, []byte(content))
		s.PutBlob("app", []byte(content))
		clock.Advance(time.Minute)
		u, err := s.StartUpload(t.Context(), "app", oci.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.FinishUpload(t.Context(), "app", u.ID, d, registry.Body{Reader: strings.NewReader("")}); err != nil {
			t.Fatal(err)
		}
		tx := s.DB.Read(t.Context())
		if _, used, _, err := meta.StatBlob(tx, "app", d); err != nil || used != tx.Now() {
			t.Errorf("%q: used %d ms before the answer (%v)", content, tx.Now()-used, err)
		}
	}
}

// A non-distributable layer need not be here, but if it is, it stays as long
// as its image.
func TestForeignLayerThatWasPushedStays(t *testing.T) {
	clock := registrytest.NewClock()
	s := registrytest.Open(t, registry.Config{}, clock)
	config, foreign := []byte("{}"), []byte("a foreign layer")
	s.PutBlob("app", config)
	s.PutBlob("app", foreign)
	s.PutManifest("app", fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":%q,"size":2},"layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":%q,"size":%d}]}`,
		oci.MediaTypeDockerManifest, oci.FromBytes(oci.SHA256, config), oci.FromBytes(oci.SHA256, foreign), len(foreign)), "v1")
	clock.Advance(48 * time.Hour)
	if _, err := gc.New(gc.Config{DB: s.DB, Blobs: s.Files}).Run(t.Context(), gc.Options{}); err != nil {
		t.Fatal(err)
	}
	d := oci.FromBytes(oci.SHA256, foreign)
	if _, err := s.StatBlob(t.Context(), "app", d); err != nil {
		t.Error(err)
	}
	if err := s.DeleteBlob(t.Context(), "app", d, registrytest.Change); !oci.HasCode(err, oci.CodeBlobInUse) {
		t.Errorf("deleting it: %v", err)
	}
}

func put(t *testing.T, s *registrytest.Store, tag, mediaType string, content []byte) (registry.Pushed, error) {
	ref := oci.Reference{Tag: tag}
	if tag == "" {
		ref = oci.Reference{Digest: oci.FromBytes(oci.SHA256, content)}
	}
	return s.Registry.PutManifest(t.Context(), registry.Push{Repository: "app", Reference: ref, MediaType: mediaType, Content: content, Change: registrytest.Change})
}

// Bytes that are pushed again as another type are served as that, with all
// that it needs.
func TestPushedAgainAsAnotherType(t *testing.T) {
	s := registrytest.Open(t, registry.Config{}, nil)
	config := []byte("{}")
	s.PutBlob("app", config)
	content := fmt.Appendf(nil, `{"schemaVersion":2,"config":{"mediaType":"x/y","digest":%q,"size":2},"layers":[]}`, oci.FromBytes(oci.SHA256, config))
	for _, mediaType := range []string{oci.MediaTypeArtifactManifest, oci.MediaTypeDockerManifest, oci.MediaTypeImageManifest} {
		if _, err := put(t, s, "1", mediaType, content); err != nil {
			t.Fatal(err)
		}
		m, err := s.StatManifest(t.Context(), "app", oci.Reference{Tag: "1"})
		if err != nil || m.MediaType != mediaType {
			t.Errorf("pushed as %s, served as %s: %v", mediaType, m.MediaType, err)
		}
	}
	if err := s.DeleteBlob(t.Context(), "app", oci.FromBytes(oci.SHA256, config), registrytest.Change); !oci.HasCode(err, oci.CodeBlobInUse) {
		t.Errorf("deleting its config: %v", err)
	}
}

// A page of referrers stays small, however large their annotations are, and
// leads to the next.
func TestReferrersOfManyBytes(t *testing.T) {
	s := registrytest.Open(t, registry.Config{}, nil)
	s.PutBlob("app", []byte("{}"))
	subject := registrytest.Image([]byte("{}"))
	const n = 5
	for i := range n {
		content := registrytest.Artifact("text/x", subject, map[string]string{"large": strings.Repeat("<", 200_000), "n": fmt.Sprint(i)})
		if _, err := put(t, s, "", oci.MediaTypeImageManifest, content); err != nil {
			t.Fatal(err)
		}
	}
	var last oci.Digest
	seen, pages := 0, 0
	for more := true; more; pages++ {
		p, err := s.Referrers(t.Context(), "app", oci.FromBytes(oci.SHA256, subject), "", last, 500)
		if err != nil {
			t.Fatal(err)
		}
		seen += len(p.Items)
		last, more = p.Items[len(p.Items)-1].Digest, p.More
	}
	// A '<' takes six bytes of JSON: two and a half on a page of 3 MiB.
	if seen != n || pages != 3 {
		t.Errorf("%d referrers on %d pages, want %d on 3", seen, pages, n)
	}
}
