// Package database opens the PostgreSQL database and brings its schema up to date.
package database

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate applies the migrations that the database lacks, and returns how many.
// Any number of instances may call it at once: an advisory lock lets one after the
// other, and those that come later find nothing to do.
func Migrate(ctx context.Context, pool *pgxpool.Pool) (int, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return 0, err
	}
	// Asked for every second, for as long as ctx lets it.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 3600))
	if err != nil {
		return 0, err
	}
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return 0, fmt.Errorf("reading the migrations: %w", err)
	}
	applied, err := provider.Up(ctx)
	if err != nil {
		return 0, fmt.Errorf("migrating the database: %w", err)
	}
	return len(applied), nil
}

// MigrateWhenUp is Migrate, tried again until the database is reachable or ctx
// ends. An error that is not about reaching it is returned at once.
func MigrateWhenUp(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) error {
	for {
		n, err := Migrate(ctx, pool)
		if err == nil {
			log.InfoContext(ctx, "database is up to date", "migrations", n)
			return nil
		}
		if !Unreachable(err) {
			return err
		}
		log.WarnContext(ctx, "waiting for the database", "err", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up waiting for the database: %w", err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// Unreachable says whether an error means that the database cannot be reached
// now, as opposed to having refused something.
func Unreachable(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch refused.Code {
		case "57P01", "57P02", "57P03", "53300": // it stops, it crashed, it starts, it has no connection left
			return true
		}
		return false
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded)
}
