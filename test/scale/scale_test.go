package main

import (
	"io"
	"path/filepath"
	"strings"
	"testing"

	"slipway/internal/blob"
	"slipway/internal/db"
	"slipway/internal/oci"
	"slipway/internal/registry"
)

// Every tag must be pullable through the registry itself, and running again
// must change nothing.
func TestEveryTagIsWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := shape{repositories: 25, tags: 7, manifests: 3}
	for range 2 {
		if err := run(t.Context(), dir, s, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	d, err := db.Open(t.Context(), filepath.Join(dir, "slipway.db"), db.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	blobs, err := blob.OpenFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := registry.New(t.Context(), registry.Config{DB: d, Blobs: blobs})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	for i := range s.repositories {
		for tag := range s.tags {
			m, err := r.GetManifest(t.Context(), repositoryName(i), oci.Reference{Tag: tagName(tag)})
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := oci.ParseManifest(m.MediaType, m.Content)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range parsed.Edges {
				b, err := r.OpenBlob(t.Context(), repositoryName(i), e.Digest)
				if err != nil {
					t.Fatal(err)
				}
				content, err := io.ReadAll(b)
				b.Close()
				if err != nil || oci.FromBytes(oci.SHA256, content) != e.Digest || int64(len(content)) != e.Size {
					t.Errorf("%s:%s: %s is not whole: %v", repositoryName(i), tagName(tag), e.Digest, err)
				}
			}
		}
	}
	tables := map[string]int{"repositories": 25, "tags": 25 * 7, "manifests": 25 * 3, "blobs": 25 * (1 + 3 + 3), "tag_history": 25 * 7}
	for table, want := range tables {
		var got int
		if _, err := d.Read(t.Context()).Row("SELECT COUNT(*) FROM "+table, nil, &got); err != nil || got != want {
			t.Errorf("%s: %d rows, want %d, %v", table, got, want, err)
		}
	}
}

func TestAFolderInUse(t *testing.T) {
	dir := t.TempDir()
	lock, err := lockData(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	err = run(t.Context(), dir, shape{1, 1, 1}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "stop the server") {
		t.Errorf("a folder that another process uses: %v", err)
	}
}
