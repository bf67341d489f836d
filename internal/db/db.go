// Package db is the metadata database: opening and migrating it, and the two
// ways to use it.
//
// Update runs a function in a durable transaction. Functions of concurrent
// callers share one transaction, a savepoint each, and thereby one fsync: the
// writer takes whatever is waiting while the last commit was under way (group
// commit). A function may run again, or its effects may be undone with the
// whole batch, so it has no side effects beside its Tx, and does no other
// input or output. When Update returns nil the effects are on disk.
//
// View runs a function on one consistent snapshot. Read gives single
// statements without the cost of a transaction.
package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// ErrClosed is returned by updates after Close.
var ErrClosed = errors.New("db: closed")

// DB is an open database. All methods are safe for concurrent use.
type DB struct {
	path    string
	readers *sql.DB
	writer  *writer
	reads   *statements
	now     func() time.Time

	closeOnce sync.Once
	closeErr  error
}

// Options of Open. The zero value is right for a server.
type Options struct {
	// Now is the database's clock, by default the system's. Tests move it.
	Now func() time.Time
	// Version names this program in errors about data of another version.
	Version string
	// Readers is the number of connections for reading, by default 4.
	Readers int
	// Free returns the bytes that are free on the database's disk. When they
	// run short the database needs less room for its log. Default: plenty.
	Free func() (uint64, error)
}

// Open opens the SQLite database in the file at path, makes it if it is
// missing, and migrates data of earlier releases after copying the file (see
// migrate). Data of a newer release is refused.
func Open(ctx context.Context, path string, o Options) (*DB, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Readers == 0 {
		o.Readers = 4
	}
	// SQLite would let everybody read it; its other files follow its mode.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	if err := migrate(ctx, path, o.Version, migrations()); err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	w, err := newWriter(ctx, path, o.Now, o.Free)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	readers, err := sql.Open("sqlite", dsn(path, "query_only(1)"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), w.close())
	}
	readers.SetMaxOpenConns(o.Readers)
	readers.SetMaxIdleConns(o.Readers)
	return &DB{path: path, readers: readers, writer: w, reads: newStatements(readers), now: o.Now}, nil
}

// dsn is the address of the database with the settings of every connection:
// a commit is an fsync of the write-ahead log, and power loss loses none.
func dsn(path string, pragmas ...string) string {
	q := url.Values{"_pragma": append([]string{
		"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)", "cache_size(-4000)", "temp_store(MEMORY)",
	}, pragmas...)}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// Update runs fn in a transaction and returns after its durable commit. An
// error of fn undoes what fn did and is returned as it is. Once fn was taken
// up, Update waits for the outcome even if ctx ends.
func (d *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	return d.writer.do(ctx, fn)
}

// View runs fn on a consistent snapshot. fn must not write.
func (d *DB) View(ctx context.Context, fn func(*Tx) error) error {
	sqlTx, err := d.readers.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("begin snapshot: %w", err)
	}
	defer sqlTx.Rollback() //nolint:errcheck // a snapshot has nothing to lose
	return fn(&Tx{ctx: ctx, now: d.now(), prepare: func(ctx context.Context, query string) (*sql.Stmt, error) {
		if stmt := d.reads.known(query); stmt != nil {
			return sqlTx.StmtContext(ctx, stmt), nil
		}
		// Not through the pool: with a snapshot on each of its connections,
		// all of them would wait for another one.
		return sqlTx.PrepareContext(ctx, query)
	}})
}

// Read returns a Tx whose statements each see the newest commit.
func (d *DB) Read(ctx context.Context) *Tx {
	return &Tx{ctx: ctx, now: d.now(), prepare: d.reads.get}
}

// Generation changes with every commit, before Update returns from it. What
// was read after asking for it still holds while it is the same: the database
// has one writing process, this one.
func (d *DB) Generation() uint64 { return d.writer.generation.Load() }

// Now is the database's clock.
func (d *DB) Now() time.Time { return d.now() }

// Size returns the bytes that the database takes on disk, its log included.
func (d *DB) Size() int64 {
	var n int64
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(d.path + suffix); err == nil {
			n += info.Size()
		}
	}
	return n
}

// Close waits for running updates and closes the database.
func (d *DB) Close() error {
	d.closeOnce.Do(func() {
		d.closeErr = errors.Join(d.readers.Close(), d.writer.close())
	})
	return d.closeErr
}
