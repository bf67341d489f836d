package check_test

import (
	"bytes"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway/internal/oci"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
	"slipway/test/check"
)

// layer is too large to be kept in the database.
var layer = bytes.Repeat([]byte("layer"), 10_000)

func soundFolder(t *testing.T) *registrytest.Store {
	t.Helper()
	s := registrytest.Open(t, registry.Config{}, nil)
	s.PutImage("app", "1", layer)
	deleted := s.PutImage("app", "2", append([]byte("other"), layer...))
	if err := s.DeleteManifest(t.Context(), "app", deleted, registrytest.Change); err != nil {
		t.Fatal(err)
	}
	u, err := s.StartUpload(t.Context(), "app", oci.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AppendUpload(t.Context(), "app", u.ID, registry.Body{Reader: bytes.NewReader(layer), Length: -1}); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSoundFolder(t *testing.T) {
	r := check.Folder(t, soundFolder(t).Dir, check.Options{})
	if r.Blobs != 5 || r.Inline != 3 || r.Members != 3 || r.Manifests != 1 || r.Tags != 1 || r.Uploads != 1 || r.Bytes < int64(2*len(layer)) {
		t.Errorf("it counts %s", r)
	}
}

// Every kind of damage must be seen: what is not seen here is promised by
// nobody.
func TestDamage(t *testing.T) {
	blob := oci.FromBytes(oci.SHA256, layer).Encoded()
	file := func(change func(path string) error) func(*testing.T, *registrytest.Store) {
		return func(t *testing.T, s *registrytest.Store) {
			t.Helper()
			paths, err := filepath.Glob(filepath.Join(s.Dir, "blobs/sha256/*", blob+"-*"))
			if err != nil || len(paths) != 1 {
				t.Fatal(paths, err)
			}
			if err := change(paths[0]); err != nil {
				t.Fatal(err)
			}
		}
	}
	query := func(query string) func(*testing.T, *registrytest.Store) {
		return func(t *testing.T, s *registrytest.Store) {
			t.Helper()
			d, err := sql.Open("sqlite", filepath.Join(s.Dir, "slipway.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			res, err := d.Exec(query)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := res.RowsAffected(); err != nil || n == 0 {
				t.Fatalf("%s changed nothing: %v", query, err)
			}
		}
	}
	for name, c := range map[string]struct {
		damage func(*testing.T, *registrytest.Store)
		want   string
	}{
		"file lost":          {file(os.Remove), "no such file"},
		"file empty":         {file(func(p string) error { return os.Truncate(p, 0) }), "has 0 bytes"},
		"file longer":        {file(func(p string) error { return os.WriteFile(p, append(layer, 'x'), 0o600) }), "bytes, its row says"},
		"file changed":       {file(func(p string) error { return os.WriteFile(p, bytes.ToUpper(layer), 0o600) }), "has digest"},
		"inline lost":        {query(`DELETE FROM blob_content WHERE digest IN (SELECT child FROM edges WHERE kind = 'config')`), "no bytes"},
		"inline changed":     {query(`UPDATE blob_content SET content = '{"x"' || substr(content, 5) WHERE digest IN (SELECT child FROM edges WHERE kind = 'config')`), "has digest"},
		"inline without row": {query(`INSERT INTO blob_content VALUES ('sha256:00', 'x')`), "have no row"},
		"blob row lost":      {query(`DELETE FROM blobs WHERE store_key IS NOT NULL`), "has no blob"},
		"member lost":        {query(`DELETE FROM members`), "which its repository does not hold"},
		"repository lost":    {query(`DELETE FROM repositories`), "has no repository"},
		"manifest row lost":  {query(`DELETE FROM manifests`), "which is no manifest there"},
		"manifest lost":      {query(`DELETE FROM blob_content WHERE digest IN (SELECT digest FROM manifests)`), "has no bytes"},
		"edge lost":          {query(`DELETE FROM edges WHERE kind = 'layer'`), "has no edge"},
		"edge too many":      {query(`INSERT INTO edges SELECT digest, 'sha256:00', 'layer', 1 FROM manifests`), "which is not in it"},
		"still garbage":      {query(`INSERT INTO garbage SELECT store_key, 0 FROM blobs WHERE store_key IS NOT NULL`), "is to be deleted"},
		"restorable lost":    {query(`DELETE FROM blob_content WHERE digest IN (SELECT digest FROM tombstones)`), "which can still be restored, has no bytes"},
		"counter wrong":      {query(`UPDATE repositories SET bytes = bytes + 1`), "by its counter"},
		"total wrong":        {query(`UPDATE content SET bytes = bytes - 1`), "by their counter"},
		"upload too short":   {query(`UPDATE uploads SET size = size + 1`), "upload"},
	} {
		t.Run(name, func(t *testing.T) {
			s := soundFolder(t)
			c.damage(t, s)
			r, err := check.Run(t.Context(), s.Dir, check.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if all := strings.Join(r.Problems, "\n"); !strings.Contains(all, c.want) {
				t.Errorf("want a problem with %q, got:\n%s", c.want, all)
			}
		})
	}
}
