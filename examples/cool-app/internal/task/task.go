// Package task is the service's one resource: what a task is, and where tasks are
// kept. All truth is in PostgreSQL, nothing in memory, so that any instance can
// answer any request.
package task

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Task is a task as it is kept.
type Task struct {
	ID      uuid.UUID
	Version int64 // counts its changes from 1
	Created time.Time
	Updated time.Time
	Content
}

// Content is what people say of a task.
type Content struct {
	Title  string
	Notes  string
	Status Status
	Due    *time.Time // a day, at midnight UTC
}

// Status is how far a task has come.
type Status string

// What a status can be.
const (
	Open  Status = "open"
	Doing Status = "doing"
	Done  Status = "done"
)

// Valid says whether it is one of the three.
func (s Status) Valid() bool { return s == Open || s == Doing || s == Done }

// What callers branch on.
var (
	ErrNotFound  = errors.New("there is no such task")
	ErrChanged   = errors.New("the task has another version by now")
	ErrKeyReused = errors.New("the Idempotency-Key was used for another task")
	ErrCursor    = errors.New("the cursor is not one that this service gave")
)

// InvalidError says what about a task or a key is not possible.
type InvalidError struct{ Reason string }

func (e *InvalidError) Error() string { return e.Reason }

// Limits of what people say, in characters.
const (
	MaxTitle = 200
	MaxNotes = 10_000
	MaxKey   = 200
)

func (c Content) validate() error {
	switch {
	case strings.TrimSpace(c.Title) == "":
		return &InvalidError{"the title is empty"}
	case utf8.RuneCountInString(c.Title) > MaxTitle:
		return &InvalidError{fmt.Sprintf("the title is longer than %d characters", MaxTitle)}
	case utf8.RuneCountInString(c.Notes) > MaxNotes:
		return &InvalidError{fmt.Sprintf("the notes are longer than %d characters", MaxNotes)}
	case strings.ContainsRune(c.Title+c.Notes, 0):
		return &InvalidError{"text cannot hold the character U+0000"}
	case !c.Status.Valid():
		return &InvalidError{fmt.Sprintf("the status is open, doing or done, not %q", c.Status)}
	case c.Due != nil && (c.Due.Year() < 1 || c.Due.Year() > 9999):
		return &InvalidError{"the day is not between the years 1 and 9999"}
	}
	return nil
}

// hash tells whether a request under a key is the one that came before.
func (c Content) hash() ([]byte, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	return sum[:], nil
}

func validateKey(key string) error {
	if len(key) > MaxKey || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return &InvalidError{fmt.Sprintf("an Idempotency-Key has 1 to %d visible ASCII characters, and no spaces", MaxKey)}
	}
	return nil
}

// cursor is the place in the order of the tasks, newest first, after which a page
// begins. To clients it is an opaque word.
type cursor struct {
	created time.Time
	id      uuid.UUID
}

func (c cursor) String() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", c.created.UnixMicro(), c.id))
}

func parseCursor(text string) (cursor, error) {
	plain, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return cursor{}, ErrCursor
	}
	created, id, _ := strings.Cut(string(plain), " ")
	micro, err := strconv.ParseInt(created, 10, 64)
	if err != nil {
		return cursor{}, ErrCursor
	}
	c := cursor{created: time.UnixMicro(micro).UTC()}
	if c.id, err = uuid.Parse(id); err != nil || c.created.Year() < 1 || c.created.Year() > 9999 {
		return cursor{}, ErrCursor
	}
	return c, nil
}
