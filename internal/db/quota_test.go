package db

import (
	"context"
	"database/sql"
	"io/fs"
	"path/filepath"
	"testing"
	"testing/fstest"
)

// Data from before there were counters gets them, counted once.
func TestMigrationCountsUse(t *testing.T) {
	ctx := context.Background()
	files := fstest.MapFS{}
	for _, name := range []string{"00001_registry.sql", "00002_builds.sql", "00003_mirror.sql", "00004_access.sql"} {
		b, err := fs.ReadFile(migrations(), name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: b}
	}
	path := filepath.Join(t.TempDir(), "slipway.db")
	if err := migrate(ctx, path, "1.0.0", files); err != nil {
		t.Fatal(err)
	}
	pool, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for _, statement := range []string{
		`INSERT INTO repositories (id, name, created_at) VALUES (1, 'app', 0), (2, 'copy', 0), (3, 'empty', 0)`,
		`INSERT INTO blobs (digest, size, touched_at) VALUES ('a', 100, 0), ('b', 20, 0), ('m', 3, 0), ('deleted', 5000, 0)`,
		`INSERT INTO members (repository_id, digest, touched_at) VALUES (1, 'a', 0), (1, 'b', 0), (2, 'a', 0)`,
		`INSERT INTO manifests (repository_id, digest, media_type, size, pushed_at) VALUES (1, 'm', '', 3, 0), (2, 'm', '', 3, 0)`,
	} {
		if _, err := pool.ExecContext(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := migrate(ctx, path, "2.0.0", migrations()); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]int64{
		`SELECT bytes FROM repositories WHERE name = 'app'`:   123,
		`SELECT bytes FROM repositories WHERE name = 'copy'`:  103,
		`SELECT bytes FROM repositories WHERE name = 'empty'`: 0,
		`SELECT bytes FROM content`:                           5123,
	} {
		var got int64
		if err := pool.QueryRowContext(ctx, query).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %d %v, want %d", query, got, err, want)
		}
	}
}
