package database_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"cool-app/internal/database"
	"cool-app/internal/dbtest"
)

// Instances that start at once: each migration is applied by one of them.
func TestInstancesMigrateAtOnce(t *testing.T) {
	c := dbtest.Empty(t)
	var wg sync.WaitGroup
	applied, failed := make([]int, 4), make([]error, 4)
	for i := range applied {
		pool := dbtest.Open(t, c)
		wg.Go(func() { applied[i], failed[i] = database.Migrate(context.Background(), pool) })
	}
	wg.Wait()
	total := 0
	for i := range applied {
		if failed[i] != nil {
			t.Errorf("instance %d: %v", i, failed[i])
		}
		total += applied[i]
	}
	if total != 3 {
		t.Errorf("applied %v, together %d migrations, want 3", applied, total)
	}
}

// The lock is held by whoever migrates, so it must also be waited for.
func TestMigrateWaitsForTheLock(t *testing.T) {
	c := dbtest.Empty(t)
	pool := dbtest.Open(t, c)
	ctx := context.Background()
	conn, err := pool.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	const gooseLock = 4097083626
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(gooseLock)); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if n, err := database.Migrate(short, pool); err == nil || n != 0 {
		t.Fatalf("migrated %d while another held the lock: %v", n, err)
	}
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_unlock($1)", int64(gooseLock)); err != nil {
		t.Fatal(err)
	}
	if n, err := database.Migrate(ctx, pool); err != nil || n != 3 {
		t.Errorf("migrated %d: %v", n, err)
	}
}

func TestUnreachable(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{&pgconn.PgError{Code: "57P03"}, true},
		{&pgconn.PgError{Code: "53300"}, true},
		{&pgconn.PgError{Code: "28P01"}, false},
		{&pgconn.PgError{Code: "42P01"}, false},
		{&net.OpError{Op: "read", Err: errors.New("reset")}, true},
		{context.DeadlineExceeded, true},
		{errors.New("no idea"), false},
	} {
		if got := database.Unreachable(test.err); got != test.want {
			t.Errorf("%v: got %t", test.err, got)
		}
	}
}

// Nothing listens there; the password is not in what is said about it.
func TestMigrateWhenUpGivesUp(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	c, err := pgxpool.ParseConfig("postgres://cool:s3cret@" + address + "/tasks")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err = database.MigrateWhenUp(ctx, dbtest.Open(t, c), slog.New(slog.NewJSONHandler(&out, nil)))
	if err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("got %v, want an error that names %s", err, address)
	}
	if !strings.Contains(out.String(), "waiting for the database") {
		t.Errorf("logged %q", out.String())
	}
	if strings.Contains(out.String()+err.Error(), "s3cret") {
		t.Errorf("the password is told: %s %v", out.String(), err)
	}
}
