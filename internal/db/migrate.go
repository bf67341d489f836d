package db

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var embedded embed.FS

// migrations are the files that lead from each format to the next.
func migrations() fs.FS {
	dir, err := fs.Sub(embedded, "migrations")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	return dir
}

// NewerError says that data was written by a newer release.
type NewerError struct {
	WrittenBy  string // version of the program that wrote the data, as it called itself
	Format     int64  // format of the data
	Newest     int64  // newest format that this program reads
	ThisIsOnly string // version of this program
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("the data has format %d, written by slipway %s; this is slipway %s, which reads formats up to %d: run slipway %s or newer, or restore a backup made before the upgrade",
		e.Format, e.WrittenBy, e.ThisIsOnly, e.Newest, e.WrittenBy)
}

// migrate brings the database to the format of this program. Before it changes
// existing data it copies the database to "<path>.format-<n>.bak".
func migrate(ctx context.Context, path, version string, migrations fs.FS) error {
	pool, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		return err
	}
	defer pool.Close()
	pool.SetMaxOpenConns(1)
	provider, err := goose.NewProvider(goose.DialectSQLite3, pool, migrations, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	current, newest, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read format: %w", err)
	}
	if current > newest {
		e := &NewerError{Format: current, Newest: newest, ThisIsOnly: version, WrittenBy: "(unknown)"}
		_ = pool.QueryRowContext(ctx, `SELECT value FROM settings WHERE name = 'written_by'`).Scan(&e.WrittenBy)
		return e
	}
	if current == newest {
		return nil
	}
	if current > 0 {
		if err := copyDatabase(ctx, pool, fmt.Sprintf("%s.format-%d.bak", path, current)); err != nil {
			return fmt.Errorf("copy database before migrating it from format %d: %w", current, err)
		}
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate from format %d to %d: %w", current, newest, err)
	}
	_, err = pool.ExecContext(ctx, `INSERT INTO settings (name, value) VALUES ('written_by', ?)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, version)
	return err
}

// copyDatabase writes a consistent, durable copy. A copy that is already there
// is of the same format and is replaced.
func copyDatabase(ctx context.Context, pool *sql.DB, to string) error {
	tmp := to + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := pool.ExecContext(ctx, `VACUUM INTO ?`, tmp); err != nil {
		return err
	}
	if err := syncPath(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, to); err != nil {
		return err
	}
	return syncPath(filepath.Dir(to))
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
