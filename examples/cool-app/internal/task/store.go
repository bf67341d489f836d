package task

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Store keeps tasks in PostgreSQL. Each method is one transaction, durable when it
// returns, and may run at once with any other here or in another instance.
type Store struct{ pool *pgxpool.Pool }

// NewStore returns a store on a database that Migrate has brought up to date.
func NewStore(pool *pgxpool.Pool) *Store { return &Store{pool} }

const columns = "id, version, created, updated, title, notes, status, due"

func scan(row pgx.CollectableRow) (Task, error) {
	var t Task
	err := row.Scan(&t.ID, &t.Version, &t.Created, &t.Updated, &t.Title, &t.Notes, &t.Status, &t.Due)
	t.Created, t.Updated = t.Created.UTC(), t.Updated.UTC()
	return t, err
}

// one runs a query of at most one task; none is pgx.ErrNoRows.
func (s *Store) one(ctx context.Context, sql string, args ...any) (Task, error) {
	rows, err := s.pool.Query(ctx, sql, args...)
	if err != nil {
		return Task{}, err
	}
	return pgx.CollectExactlyOneRow(rows, scan)
}

// Create makes a task. With a key it makes one only once: again with the same
// content it returns that task as it is now, with other content ErrKeyReused.
// When the task is deleted its key is free again.
func (s *Store) Create(ctx context.Context, c Content, key string) (Task, error) {
	if err := errors.Join(c.validate(), validateKey(key)); err != nil {
		return Task{}, err
	}
	if key == "" {
		t, err := s.one(ctx, "INSERT INTO tasks (title, notes, status, due) VALUES ($1, $2, $3, $4) RETURNING "+columns,
			c.Title, c.Notes, c.Status, c.Due)
		return t, wrap(err, "creating a task")
	}
	hash, err := c.hash()
	if err != nil {
		return Task{}, err
	}
	// Between the two statements the task that has the key may be deleted; then
	// the key is free, and the next try takes it.
	for {
		t, err := s.one(ctx, `INSERT INTO tasks (title, notes, status, due, create_key, create_hash) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (create_key) DO NOTHING RETURNING `+columns, c.Title, c.Notes, c.Status, c.Due, key, hash)
		if !errors.Is(err, pgx.ErrNoRows) {
			return t, wrap(err, "creating a task")
		}
		var before []byte
		err = s.pool.QueryRow(ctx, "SELECT id, create_hash FROM tasks WHERE create_key = $1", key).Scan(&t.ID, &before)
		if err == nil {
			if !bytes.Equal(before, hash) {
				return Task{}, ErrKeyReused
			}
			if t, err = s.Get(ctx, t.ID); !errors.Is(err, ErrNotFound) {
				return t, err
			}
		} else if !errors.Is(err, pgx.ErrNoRows) {
			return Task{}, wrap(err, "creating a task")
		}
	}
}

// Get returns a task, or ErrNotFound.
func (s *Store) Get(ctx context.Context, id uuid.UUID) (Task, error) {
	t, err := s.one(ctx, "SELECT "+columns+" FROM tasks WHERE id = $1", id)
	return t, wrap(err, "reading a task")
}

// Replace gives a task new content if its version is one of versions, or whatever
// it is if versions is nil. Otherwise it returns ErrChanged, or ErrNotFound.
func (s *Store) Replace(ctx context.Context, id uuid.UUID, versions []int64, c Content) (Task, error) {
	if err := c.validate(); err != nil {
		return Task{}, err
	}
	t, err := s.one(ctx, `UPDATE tasks SET title = $3, notes = $4, status = $5, due = $6, version = version + 1, updated = now()
		WHERE id = $1 AND ($2::bigint[] IS NULL OR version = ANY ($2)) RETURNING `+columns,
		id, versions, c.Title, c.Notes, c.Status, c.Due)
	if errors.Is(err, pgx.ErrNoRows) {
		return Task{}, s.whyNot(ctx, id)
	}
	return t, wrap(err, "changing a task")
}

// Delete removes a task under the same conditions as Replace changes it.
func (s *Store) Delete(ctx context.Context, id uuid.UUID, versions []int64) error {
	tag, err := s.pool.Exec(ctx, "DELETE FROM tasks WHERE id = $1 AND ($2::bigint[] IS NULL OR version = ANY ($2))", id, versions)
	if err == nil && tag.RowsAffected() == 0 {
		return s.whyNot(ctx, id)
	}
	return wrap(err, "deleting a task")
}

func (s *Store) whyNot(ctx context.Context, id uuid.UUID) error {
	if _, err := s.Get(ctx, id); err != nil {
		return err
	}
	return ErrChanged
}

// List returns a page of tasks, newest first: those with the status, if there is
// one, after the cursor, if there is one. next is the cursor of the page after it,
// empty on the last.
func (s *Store) List(ctx context.Context, status Status, after string, limit int) (page []Task, next string, err error) {
	sql, args := "SELECT "+columns+" FROM tasks WHERE true", []any{limit + 1} // one more shows whether there is more
	if status != "" {
		args = append(args, status)
		sql += fmt.Sprintf(" AND status = $%d", len(args))
	}
	if after != "" {
		c, err := parseCursor(after)
		if err != nil {
			return nil, "", err
		}
		args = append(args, c.created, c.id)
		sql += fmt.Sprintf(" AND (created, id) < ($%d, $%d)", len(args)-1, len(args))
	}
	rows, err := s.pool.Query(ctx, sql+" ORDER BY created DESC, id DESC LIMIT $1", args...)
	if err != nil {
		return nil, "", wrap(err, "listing tasks")
	}
	page, err = pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, "", wrap(err, "listing tasks")
	}
	if len(page) > limit {
		page = page[:limit]
		last := page[limit-1]
		next = cursor{last.Created, last.ID}.String()
	}
	return page, next, nil
}

func wrap(err error, what string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgx.ErrNoRows):
		return ErrNotFound
	}
	return fmt.Errorf("%s: %w", what, err)
}
