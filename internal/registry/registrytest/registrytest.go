// Package registrytest gives tests a real registry: SQLite and files in a
// temporary folder, a clock that they move, and short ways to push.
package registrytest

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"maps"
	"path/filepath"
	"sync"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/internal/blob"
	"slipway/internal/db"
	"slipway/internal/meta"
	"slipway/internal/oci"
	"slipway/internal/registry"
)

// Clock is a time that only moves when it is told to.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock starts at the present time.
func NewClock() *Clock { return &Clock{now: time.Now()} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Store is a registry and what it stands on.
type Store struct {
	*registry.Registry
	DB    *db.DB
	Files *blob.FS
	Dir   string

	tb     testing.TB
	clock  *Clock
	config registry.Config
}

// Open opens a registry in a new folder. DB and Blobs of the configuration are
// filled in; a nil clock is the system's.
func Open(tb testing.TB, c registry.Config, clock *Clock) *Store {
	tb.Helper()
	s := &Store{Dir: tb.TempDir(), tb: tb, clock: clock, config: c}
	s.open()
	tb.Cleanup(s.close)
	return s
}

// Reopen is a restart: everything that is only in memory is gone.
func (s *Store) Reopen() {
	s.tb.Helper()
	s.close()
	s.open()
}

func (s *Store) open() {
	s.tb.Helper()
	var err error
	o := db.Options{Version: "test"}
	if s.clock != nil {
		o.Now = s.clock.Now
	}
	if s.Files, err = blob.OpenFS(s.Dir); err != nil {
		s.tb.Fatal(err)
	}
	if s.DB, err = db.Open(context.Background(), filepath.Join(s.Dir, "slipway.db"), o); err != nil {
		s.tb.Fatal(err)
	}
	c := s.config
	c.DB = s.DB
	if c.Blobs == nil {
		c.Blobs = s.Files
	}
	if s.Registry, err = registry.New(context.Background(), c); err != nil {
		s.tb.Fatal(err)
	}
}

func (s *Store) close() {
	s.tb.Helper()
	s.Registry.Close(context.Background())
	if err := s.DB.Close(); err != nil {
		s.tb.Error(err)
	}
}

// PutBlob pushes a blob.
func (s *Store) PutBlob(repository string, content []byte) oci.Digest {
	s.tb.Helper()
	d := oci.FromBytes(oci.SHA256, content)
	if err := s.Registry.PutBlob(context.Background(), repository, d, registry.Body{Reader: bytes.NewReader(content), Length: int64(len(content))}); err != nil {
		s.tb.Fatal(err)
	}
	return d
}

// PutManifest pushes a manifest by its digest, under tags if any are given.
func (s *Store) PutManifest(repository string, content []byte, tags ...string) oci.Digest {
	s.tb.Helper()
	d := oci.FromBytes(oci.SHA256, content)
	if _, err := s.Registry.PutManifest(context.Background(), registry.Push{Repository: repository, Reference: oci.Reference{Digest: d}, Tags: tags, Content: content, Change: Change}); err != nil {
		s.tb.Fatal(err)
	}
	return d
}

// PutImage pushes an image with a small configuration and the layers given.
func (s *Store) PutImage(repository, tag string, layers ...[]byte) oci.Digest {
	s.tb.Helper()
	config := []byte(`{"architecture":"amd64","os":"linux"}`)
	s.PutBlob(repository, config)
	for _, l := range layers {
		s.PutBlob(repository, l)
	}
	var tags []string
	if tag != "" {
		tags = []string{tag}
	}
	return s.PutManifest(repository, Image(config, layers...), tags...)
}

// Change is who the pushes of tests are by.
var Change = meta.Change{Actor: "test", Cause: "test"}

// Image is the manifest of an image.
func Image(config []byte, layers ...[]byte) []byte {
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: Descriptor(v1.MediaTypeImageConfig, config), Layers: []v1.Descriptor{}}
	m.SchemaVersion = 2
	for _, l := range layers {
		m.Layers = append(m.Layers, Descriptor(v1.MediaTypeImageLayer, l))
	}
	return JSON(m)
}

// Index is the manifest of an index over manifests.
func Index(children ...[]byte) []byte {
	m := v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{}}
	m.SchemaVersion = 2
	for _, c := range children {
		m.Manifests = append(m.Manifests, Descriptor(v1.MediaTypeImageManifest, c))
	}
	return JSON(m)
}

// Artifact is a manifest that refers to a subject, with the empty blob "{}"
// as its configuration and only layer.
func Artifact(artifactType string, subject []byte, annotations map[string]string) []byte {
	empty := Descriptor(v1.MediaTypeEmptyJSON, []byte("{}"))
	s := Descriptor(v1.MediaTypeImageManifest, subject)
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, ArtifactType: artifactType, Config: empty, Layers: []v1.Descriptor{empty}, Subject: &s, Annotations: annotations}
	m.SchemaVersion = 2
	return JSON(m)
}

// Descriptor describes content.
func Descriptor(mediaType string, content []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: oci.FromBytes(oci.SHA256, content), Size: int64(len(content))}
}

// JSON is v as JSON.
func JSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // the values are this package's own
	}
	return b
}

// Contents is what a store holds: the number of rows of each table, and the
// size of each file of the blob store.
type Contents struct {
	Rows  map[string]int64
	Files map[string]int64
}

// Contents looks at what is there now.
func (s *Store) Contents() Contents {
	s.tb.Helper()
	c := Contents{map[string]int64{}, map[string]int64{}}
	tx := s.DB.Read(context.Background())
	var tables []string
	if err := tx.Each(`SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`, nil, func(scan func(...any) error) error {
		var name string
		defer func() { tables = append(tables, name) }()
		return scan(&name)
	}); err != nil {
		s.tb.Fatal(err)
	}
	for _, name := range tables {
		var n int64
		if _, err := tx.Row(`SELECT COUNT(*) FROM `+name, nil, &n); err != nil {
			s.tb.Fatal(err)
		}
		c.Rows[name] = n
	}
	for _, folder := range []string{"blobs", "uploads"} {
		if err := filepath.WalkDir(filepath.Join(s.Dir, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(s.Dir, path)
			c.Files[rel] = info.Size()
			return err
		}); err != nil {
			s.tb.Fatal(err)
		}
	}
	return c
}

// Equal reports whether nothing was written in between.
func (c Contents) Equal(d Contents) bool {
	return maps.Equal(c.Rows, d.Rows) && maps.Equal(c.Files, d.Files)
}
