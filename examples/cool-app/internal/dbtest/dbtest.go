// Package dbtest gives each test a PostgreSQL database of its own. For tests only.
package dbtest

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"cool-app/internal/database"
)

// The server to make databases on, by a user who may: postgres://USER:PASSWORD@HOST/NAME.
// Without it the tests that need one are skipped, unless the second is set.
const (
	serverVar  = "COOL_APP_TEST_DATABASE"
	requireVar = "COOL_APP_TEST_REQUIRE"
)

// Empty returns the configuration of a new database with nothing in it, which goes
// when the test ends.
func Empty(t testing.TB) *pgxpool.Config {
	t.Helper()
	server := os.Getenv(serverVar)
	if server == "" {
		if os.Getenv(requireVar) != "" {
			t.Fatalf("%s is not set, and %s asks for it", serverVar, requireVar)
		}
		t.Skipf("needs PostgreSQL: set %s to postgres://USER:PASSWORD@HOST/NAME of a user who may create databases", serverVar)
	}
	name := "test_" + strings.ToLower(rand.Text())
	administer(t, server, "CREATE DATABASE "+name)
	t.Cleanup(func() { administer(t, server, "DROP DATABASE "+name+" WITH (FORCE)") })
	c, err := pgxpool.ParseConfig(server)
	if err != nil {
		t.Fatal(err)
	}
	c.ConnConfig.Database = name
	c.MaxConns = 8
	return c
}

func administer(t testing.TB, server, sql string) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), sql); err != nil {
		t.Fatal(err)
	}
}

// Open connects to a database until the test ends.
func Open(t testing.TB, c *pgxpool.Config) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.NewWithConfig(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// Migrated returns connections to a new database that is up to date.
func Migrated(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool := Open(t, Empty(t))
	if _, err := database.Migrate(context.Background(), pool); err != nil {
		t.Fatal(err)
	}
	return pool
}
