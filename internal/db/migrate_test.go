package db

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// withNext is the migrations of this program and one more, as a later release
// would have them.
func withNext(t *testing.T, up string) fs.FS {
	t.Helper()
	files := fstest.MapFS{}
	entries, err := fs.ReadDir(migrations(), ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := fs.ReadFile(migrations(), e.Name())
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = &fstest.MapFile{Data: b}
	}
	next := maps.Clone(files)
	next["99999_next.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + up)}
	return next
}

func setting(t *testing.T, path, name string) (value string) {
	t.Helper()
	pool, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := pool.QueryRow(`SELECT value FROM settings WHERE name = ?`, name).Scan(&value); err != nil {
		t.Fatalf("%s of %s: %v", name, path, err)
	}
	return value
}

// older makes a database of this program's format with a value in it.
func older(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "slipway.db")
	d, err := Open(context.Background(), path, Options{Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Update(context.Background(), func(tx *Tx) error {
		_, err := tx.Exec(`INSERT INTO settings (name, value) VALUES ('kept', 'yes')`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMigrationCopiesFirst(t *testing.T) {
	ctx := context.Background()
	path := older(t)
	if err := migrate(ctx, path, "2.0.0", withNext(t, `UPDATE settings SET value = 'changed' WHERE name = 'kept';`)); err != nil {
		t.Fatal(err)
	}
	if got := setting(t, path, "kept"); got != "changed" {
		t.Errorf("the migration did not run: %s", got)
	}
	if got := setting(t, path, "written_by"); got != "2.0.0" {
		t.Errorf("written by %s", got)
	}
	copies, err := filepath.Glob(path + ".format-*.bak")
	if err != nil || len(copies) != 1 {
		t.Fatalf("copies: %v, %v", copies, err)
	}
	if kept, by := setting(t, copies[0], "kept"), setting(t, copies[0], "written_by"); kept != "yes" || by != "1.0.0" {
		t.Errorf("the copy has %s, written by %s", kept, by)
	}
	// The copy is data of the earlier release as it was.
	d, err := Open(ctx, copies[0], Options{Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNewerDataIsRefusedByName(t *testing.T) {
	ctx := context.Background()
	path := older(t)
	if err := migrate(ctx, path, "2.0.0", withNext(t, `SELECT 1;`)); err != nil {
		t.Fatal(err)
	}
	_, err := Open(ctx, path, Options{Version: "1.0.0"})
	var newer *NewerError
	if !errors.As(err, &newer) || newer.WrittenBy != "2.0.0" || newer.ThisIsOnly != "1.0.0" || newer.Format <= newer.Newest {
		t.Fatalf("%v: %+v", err, newer)
	}
	for _, part := range []string{path, "2.0.0", "1.0.0", "backup"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not mention %s", err, part)
		}
	}
	if got := setting(t, path, "written_by"); got != "2.0.0" {
		t.Errorf("the refused program left its mark: %s", got)
	}
}

func TestFailedMigrationChangesNothing(t *testing.T) {
	ctx := context.Background()
	path := older(t)
	if err := migrate(ctx, path, "2.0.0", withNext(t, "UPDATE settings SET value = 'changed' WHERE name = 'kept';\nINSERT INTO missing VALUES (1);")); err == nil {
		t.Fatal("the migration succeeded")
	}
	if kept, by := setting(t, path, "kept"), setting(t, path, "written_by"); kept != "yes" || by != "1.0.0" {
		t.Errorf("kept is %s, written by %s", kept, by)
	}
	d, err := Open(ctx, path, Options{Version: "1.0.0"})
	if err != nil {
		t.Fatalf("the earlier release after a failed upgrade: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpeningAgainCopiesNothing(t *testing.T) {
	path := older(t)
	d, err := Open(context.Background(), path, Options{Version: "1.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.Contains(e.Name(), ".bak") || strings.Contains(e.Name(), ".tmp") {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}
