package db

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"
)

// ErrNoRows is what Row.Scan returns when nothing matched.
var ErrNoRows = sql.ErrNoRows

// Tx runs statements. Parameters are written as ?.
type Tx struct {
	ctx     context.Context
	now     time.Time
	prepare func(context.Context, string) (*sql.Stmt, error)
}

// Now is the time of the transaction in milliseconds since 1970, by the
// database's clock. It is the same throughout one transaction.
func (t *Tx) Now() int64 { return t.now.UnixMilli() }

// Exec runs a statement and returns the number of rows that it changed.
func (t *Tx) Exec(query string, args ...any) (int64, error) {
	stmt, err := t.prepare(t.ctx, query)
	if err != nil {
		return 0, err
	}
	res, err := stmt.ExecContext(t.ctx, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// Row reads at most one row into dest. found is false if there is none.
func (t *Tx) Row(query string, args []any, dest ...any) (found bool, err error) {
	stmt, err := t.prepare(t.ctx, query)
	if err != nil {
		return false, err
	}
	err = stmt.QueryRowContext(t.ctx, args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// Each calls fn for every row; scan reads the current one.
func (t *Tx) Each(query string, args []any, fn func(scan func(dest ...any) error) error) error {
	stmt, err := t.prepare(t.ctx, query)
	if err != nil {
		return err
	}
	rows, err := stmt.QueryContext(t.ctx, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// preparer is *sql.DB or *sql.Conn.
type preparer interface {
	PrepareContext(context.Context, string) (*sql.Stmt, error)
}

// statements prepares each query once. Queries are constants of the program,
// so their number is bounded.
type statements struct {
	on preparer
	mu sync.RWMutex
	m  map[string]*sql.Stmt
}

func newStatements(on preparer) *statements {
	return &statements{on: on, m: map[string]*sql.Stmt{}}
}

// known is nil for a query that is not prepared yet.
func (s *statements) known(query string) *sql.Stmt {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.m[query]
}

func (s *statements) get(_ context.Context, query string) (*sql.Stmt, error) {
	if stmt := s.known(query); stmt != nil {
		return stmt, nil
	}
	// Not the caller's context: the statement outlives it.
	stmt, err := s.on.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if first, ok := s.m[query]; ok {
		_ = stmt.Close()
		return first, nil
	}
	s.m[query] = stmt
	return stmt, nil
}
