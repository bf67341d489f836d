package task_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"cool-app/internal/dbtest"
	"cool-app/internal/task"
)

var ctx = context.Background()

func TestValidation(t *testing.T) {
	store := task.NewStore(dbtest.Migrated(t))
	year0 := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name    string
		content task.Content
		key     string
		want    string // in the error; empty means that it is right
	}{
		{"least", task.Content{Title: "a", Status: task.Open}, "", ""},
		{"most", task.Content{Title: strings.Repeat("ä", task.MaxTitle), Notes: strings.Repeat("ß", task.MaxNotes), Status: task.Done}, strings.Repeat("k", task.MaxKey), ""},
		{"no title", task.Content{Title: " \t", Status: task.Open}, "", "title is empty"},
		{"long title", task.Content{Title: strings.Repeat("a", task.MaxTitle+1), Status: task.Open}, "", "title is longer"},
		{"long notes", task.Content{Title: "a", Notes: strings.Repeat("a", task.MaxNotes+1), Status: task.Open}, "", "notes are longer"},
		{"zero", task.Content{Title: "a\x00", Status: task.Open}, "", "U+0000"},
		{"status", task.Content{Title: "a", Status: "lost"}, "", `not "lost"`},
		{"year", task.Content{Title: "a", Status: task.Open, Due: &year0}, "", "years"},
		{"long key", task.Content{Title: "a", Status: task.Open}, strings.Repeat("k", task.MaxKey+1), "Idempotency-Key"},
		{"key with a space", task.Content{Title: "a", Status: task.Open}, "a b", "Idempotency-Key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := store.Create(ctx, test.content, test.key)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if kept, err := store.Get(ctx, got.ID); err != nil || kept != got || kept.Content != test.content {
					t.Errorf("kept %+v, %v", kept, err)
				}
				return
			}
			var invalid *task.InvalidError
			if !errors.As(err, &invalid) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

// The same key at once in two instances makes one task.
func TestCreateOnceAtOnce(t *testing.T) {
	pool := dbtest.Migrated(t)
	stores := []*task.Store{task.NewStore(pool), task.NewStore(dbtest.Open(t, pool.Config()))}
	content := task.Content{Title: "once", Status: task.Open}
	ids := make([]uuid.UUID, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			got, err := stores[i%2].Create(ctx, content, "key")
			if err != nil {
				t.Error(err)
			}
			ids[i] = got.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("made several tasks: %v", ids)
		}
	}
	if page, _, err := stores[0].List(ctx, "", "", 100); err != nil || len(page) != 1 {
		t.Errorf("there are %d tasks, %v", len(page), err)
	}
	content.Notes = "other"
	if _, err := stores[1].Create(ctx, content, "key"); !errors.Is(err, task.ErrKeyReused) {
		t.Errorf("another task with the same key: %v", err)
	}
	if err := stores[0].Delete(ctx, ids[0], nil); err != nil {
		t.Fatal(err)
	}
	if got, err := stores[1].Create(ctx, content, "key"); err != nil || got.ID == ids[0] {
		t.Errorf("after deletion the key is not free: %v", err)
	}
}

// Of all who saw the same version one may change the task.
func TestReplaceOnceAtOnce(t *testing.T) {
	pool := dbtest.Migrated(t)
	stores := []*task.Store{task.NewStore(pool), task.NewStore(dbtest.Open(t, pool.Config()))}
	made, err := stores[0].Create(ctx, task.Content{Title: "a", Status: task.Open}, "")
	if err != nil {
		t.Fatal(err)
	}
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = stores[i%2].Replace(ctx, made.ID, []int64{made.Version}, task.Content{Title: "b", Status: task.Doing})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, task.ErrChanged) {
			t.Error(err)
		}
	}
	got, err := stores[1].Get(ctx, made.ID)
	if won != 1 || err != nil || got.Version != 2 || got.Title != "b" || got.Updated.Before(got.Created) {
		t.Errorf("%d changed it, now it is %+v, %v", won, got, err)
	}
	if err := stores[0].Delete(ctx, made.ID, []int64{1}); !errors.Is(err, task.ErrChanged) {
		t.Errorf("deleted an old version: %v", err)
	}
	if err := stores[0].Delete(ctx, made.ID, []int64{1, 2}); err != nil {
		t.Error(err)
	}
	if err := stores[0].Delete(ctx, made.ID, nil); !errors.Is(err, task.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if _, err := stores[0].Replace(ctx, made.ID, nil, made.Content); !errors.Is(err, task.ErrNotFound) {
		t.Errorf("changed what is gone: %v", err)
	}
}

// Pages cover every task once, also those made in the same microsecond, while
// newer ones come.
func TestPages(t *testing.T) {
	pool := dbtest.Migrated(t)
	store := task.NewStore(pool)
	if _, err := pool.Exec(ctx, `INSERT INTO tasks (title, notes, status, created)
		SELECT n::text, '', (ARRAY['open', 'done'])[1 + n % 2], timestamptz '2026-01-01' + (n / 7) * interval '1 microsecond' FROM generate_series(0, 49) n`); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		status task.Status
		limit  int
		want   int
	}{{"", 7, 50}, {"", 50, 50}, {"", 49, 50}, {"", 1, 50}, {task.Open, 4, 25}, {task.Doing, 4, 0}} {
		titles, next, pages := map[string]bool{}, "", 0
		for {
			page, after, err := store.List(ctx, test.status, next, test.limit)
			if err != nil {
				t.Fatal(err)
			}
			pages++
			for i, it := range page {
				if it.Created.Year() != 2026 || titles[it.Title] || (test.status != "" && it.Status != test.status) {
					t.Errorf("%+v: unexpected %+v", test, it)
				}
				if i > 0 && it.Created.After(page[i-1].Created) {
					t.Errorf("%+v: not newest first", test)
				}
				titles[it.Title] = true
			}
			if next = after; next == "" {
				break
			}
			if len(page) != test.limit {
				t.Fatalf("%+v: a page of %d with a next one", test, len(page))
			}
			if pages == 1 && test.status == task.Open { // newer than all: on no further page
				made, err := store.Create(ctx, task.Content{Title: "new", Status: task.Open}, "")
				if err != nil {
					t.Fatal(err)
				}
				defer store.Delete(ctx, made.ID, nil)
			}
		}
		if len(titles) != test.want || pages != max(1, (test.want+test.limit-1)/test.limit) {
			t.Errorf("%+v: %d tasks in %d pages", test, len(titles), pages)
		}
	}
	for _, cursor := range []string{"x", "!", "MSAy", "OTk5OTk5OTk5OTk5OTk5OTk5IDAwMDAwMDAwLTAwMDAtMDAwMC0wMDAwLTAwMDAwMDAwMDAwMA"} {
		if _, _, err := store.List(ctx, "", cursor, 1); !errors.Is(err, task.ErrCursor) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}
