package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxBatch bounds how many updates share a commit.
	maxBatch = 256
	// The log is copied into the database when it has this many pages of
	// 4 KiB: rarely enough that bursts of pushes do not wait for it.
	checkpointPages = 8192
	// With less than this free on its disk the log is kept short, since it
	// only grows until it is copied, and the copy needs room too. What is
	// deleted on a full disk must not fail for want of room to write it down.
	shortLogSpace = 64 << 20
	shortLogPages = 256
)

// writer is the one connection that writes.
type writer struct {
	pool  *sql.DB
	conn  *sql.Conn
	stmts *statements
	now   func() time.Time
	free  func() (uint64, error) // nil: there is always room
	pages int                    // after which the log is copied
	queue chan *update

	// distrusted is set for good when an fsync failed. The kernel reports a
	// lost write once and then calls the pages clean, so a later fsync may
	// succeed though what it is meant to have saved is not on the disk:
	// nothing may be acknowledged any more. A new process starts from what
	// the disk has.
	distrusted error

	generation atomic.Uint64 // commits so far; moves before anybody learns of one

	mu     sync.RWMutex // held for reading while sending to queue
	closed bool
	done   chan struct{}
}

type update struct {
	ctx    context.Context
	fn     func(*Tx) error
	err    error
	result chan error
}

func newWriter(ctx context.Context, path string, now func() time.Time, free func() (uint64, error)) (*writer, error) {
	pool, err := sql.Open("sqlite", dsn(path, fmt.Sprintf("wal_autocheckpoint(%d)", checkpointPages)))
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(1)
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	w := &writer{pool: pool, conn: conn, stmts: newStatements(conn), now: now, free: free, pages: checkpointPages, queue: make(chan *update, maxBatch), done: make(chan struct{})}
	go w.run()
	return w, nil
}

func (w *writer) do(ctx context.Context, fn func(*Tx) error) error {
	u := &update{ctx: ctx, fn: fn, result: make(chan error, 1)}
	w.mu.RLock()
	if w.closed {
		w.mu.RUnlock()
		return ErrClosed
	}
	select {
	case w.queue <- u:
		w.mu.RUnlock()
		return <-u.result
	case <-ctx.Done():
		w.mu.RUnlock()
		return ctx.Err()
	}
}

func (w *writer) run() {
	defer close(w.done)
	batch := make([]*update, 0, maxBatch)
	for u := range w.queue {
		batch = append(batch[:0], u)
	gather:
		for len(batch) < maxBatch {
			select {
			case more, ok := <-w.queue:
				if !ok {
					break gather
				}
				batch = append(batch, more)
			default:
				break gather
			}
		}
		w.sizeLog()
		w.commit(batch)
		for _, u := range batch {
			u.result <- u.err
		}
	}
}

// sizeLog decides after how many pages the log is copied, by the free space.
func (w *writer) sizeLog() {
	if w.free == nil {
		return
	}
	pages := checkpointPages
	if free, err := w.free(); err == nil && free < shortLogSpace {
		pages = shortLogPages
	}
	if pages == w.pages {
		return
	}
	// Not a kept statement: this pragma acts when it is prepared.
	if _, err := w.conn.ExecContext(context.Background(), fmt.Sprintf("PRAGMA wal_autocheckpoint(%d)", pages)); err == nil {
		w.pages = pages
	}
}

// commit runs a batch in one transaction and sets the outcome of each update.
func (w *writer) commit(batch []*update) {
	if w.distrusted != nil {
		failAll(batch, w.distrusted)
		return
	}
	if err := w.exec("BEGIN IMMEDIATE"); err != nil {
		failAll(batch, fmt.Errorf("begin: %w", err))
		return
	}
	now := w.now()
	for i, u := range batch {
		if u.err = u.ctx.Err(); u.err != nil {
			continue
		}
		if err := w.one(u, now); err != nil {
			// The transaction itself is in doubt: nothing of it may stay.
			_ = w.exec("ROLLBACK")
			failAll(batch[:i+1], err)
			failAll(batch[i+1:], err)
			return
		}
	}
	if err := w.exec("COMMIT"); err != nil {
		_ = w.exec("ROLLBACK")
		failAll(batch, fmt.Errorf("commit: %w", err))
	}
	w.generation.Add(1) // also after a failure: what is on disk is in doubt
}

// one runs an update within a savepoint. The error of the update's function is
// left in u.err; what one returns is a failure of the transaction.
func (w *writer) one(u *update, now time.Time) error {
	if err := w.exec("SAVEPOINT one"); err != nil {
		return err
	}
	// Statements must not be interrupted halfway: an interrupt may roll back
	// the transaction of everybody. ctx was checked before.
	tx := &Tx{ctx: context.WithoutCancel(u.ctx), now: now, prepare: w.stmts.get}
	if u.err = call(u.fn, tx); u.err != nil {
		w.noteSync(u.err)
		if err := w.exec("ROLLBACK TO one"); err != nil {
			return errors.Join(u.err, err)
		}
	}
	return w.exec("RELEASE one")
}

func call(fn func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("db: update panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return fn(tx)
}

// failAll gives err to every update that had no error of its own.
func failAll(batch []*update, err error) {
	for _, u := range batch {
		if u.err == nil {
			u.err = err
		}
	}
}

func (w *writer) exec(query string) error {
	stmt, err := w.stmts.get(context.Background(), query)
	if err == nil {
		_, err = stmt.ExecContext(context.Background())
	}
	w.noteSync(err)
	return err
}

// noteSync looks for a failed fsync in the outcome of a statement.
func (w *writer) noteSync(err error) {
	if w.distrusted == nil && isFailedSync(err) {
		w.distrusted = fmt.Errorf("an fsync of the database failed before; it is written again after a restart: %w", err)
	}
}

func (w *writer) close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	close(w.queue)
	w.mu.Unlock()
	<-w.done
	// All that is in the log goes into the database, so that a copy of the one
	// file is whole. Nothing is lost if this fails: the next start does it.
	_, _ = w.conn.ExecContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)")
	return errors.Join(w.conn.Close(), w.pool.Close())
}
