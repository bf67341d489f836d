package audit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway/internal/audit"
	"slipway/internal/db"
)

var ctx = context.Background()

func open(t *testing.T, now *time.Time) *db.DB {
	t.Helper()
	d, err := db.Open(ctx, filepath.Join(t.TempDir(), "slipway.db"), db.Options{Now: func() time.Time { return *now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func list(t *testing.T, d *db.DB, f audit.Filter) []audit.Entry {
	t.Helper()
	l, err := audit.List(d.Read(ctx), f)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func ids(l []audit.Entry) string {
	var s []string
	for _, e := range l {
		s = append(s, fmt.Sprint(e.ID))
	}
	return strings.Join(s, " ")
}

func TestChangesAreInTheirTransaction(t *testing.T) {
	now := time.Now()
	d := open(t, &now)
	undone := errors.New("undone")
	push := audit.Entry{Actor: "user:anna", Address: "10.0.0.1", Action: "push", Repository: "a", Subject: "v1", OldDigest: "sha256:1", NewDigest: "sha256:2", Outcome: audit.Allowed}
	if err := d.Update(ctx, func(tx *db.Tx) error { return errors.Join(audit.Append(tx, push), undone) }); !errors.Is(err, undone) {
		t.Fatal(err)
	}
	if l := list(t, d, audit.Filter{}); len(l) != 0 {
		t.Errorf("a change that was undone is in the log: %v", l)
	}
	if err := d.Update(ctx, func(tx *db.Tx) error { return audit.Append(tx, push) }); err != nil {
		t.Fatal(err)
	}
	l := list(t, d, audit.Filter{})
	want := push
	want.At, want.Times = now.UnixMilli(), 1
	if len(l) == 1 {
		want.ID = l[0].ID
	}
	if len(l) != 1 || l[0] != want {
		t.Errorf("%+v, want %+v", l, want)
	}
	if got := l[0].String(); got != "user:anna allowed push in a v1 sha256:1 -> sha256:2 from 10.0.0.1" {
		t.Errorf("for people: %s", got)
	}
}

func TestTextsCannotDeceive(t *testing.T) {
	now := time.Now()
	d := open(t, &now)
	if err := d.Update(ctx, func(tx *db.Tx) error {
		return audit.Append(tx, audit.Entry{Actor: "a\x1b[2Jb\nc\u202ed\xff\u0085", Reason: strings.Repeat("x", 10000), Outcome: audit.Refused})
	}); err != nil {
		t.Fatal(err)
	}
	e := list(t, d, audit.Filter{})[0]
	if e.Actor != "a�[2Jb�c�d��" || len(e.Reason) > 500 {
		t.Errorf("%q, %d bytes", e.Actor, len(e.Reason))
	}
}

func TestFiltersAndPages(t *testing.T) {
	now := time.UnixMilli(1000)
	d := open(t, &now)
	for i := range 10 { // ids 1 to 10 at 1000 to 1009
		e := audit.Entry{Actor: "user:anna", Address: "10.0.0.1", Action: "push", Repository: "a", Outcome: audit.Allowed}
		if i%2 == 1 {
			e = audit.Entry{Actor: "anonymous", Address: "10.0.0.2", Action: "pull", Repository: "b", Outcome: audit.Refused}
		}
		if err := d.Update(ctx, func(tx *db.Tx) error { return audit.Append(tx, e) }); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Millisecond)
	}
	for name, c := range map[string]struct {
		f    audit.Filter
		want string
	}{
		"all":     {audit.Filter{}, "10 9 8 7 6 5 4 3 2 1"},
		"page 1":  {audit.Filter{Limit: 4}, "10 9 8 7"},
		"page 2":  {audit.Filter{Limit: 4, Before: 7}, "6 5 4 3"},
		"page 3":  {audit.Filter{Limit: 4, Before: 3}, "2 1"},
		"forward": {audit.Filter{Forward: true, Limit: 3, After: 2}, "3 4 5"},
		"time":    {audit.Filter{Since: 1002, Until: 1005}, "5 4 3"},
		"actor":   {audit.Filter{Actor: "user:anna", Limit: 2}, "9 7"},
		"address": {audit.Filter{Address: "10.0.0.2", Limit: 2}, "10 8"},
		"action":  {audit.Filter{Action: "pull", Repository: "b", Outcome: audit.Refused, Since: 1004}, "10 8 6"},
		"none":    {audit.Filter{Action: "pull", Outcome: audit.Allowed}, ""},
	} {
		if got := ids(list(t, d, c.f)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if _, err := audit.List(d.Read(ctx), audit.Filter{Outcome: "maybe"}); err == nil {
		t.Error("an outcome that does not exist")
	}
}

func TestRecorder(t *testing.T) {
	now := time.UnixMilli(5000)
	d := open(t, &now)
	r := audit.NewRecorder(d, slog.New(slog.DiscardHandler))
	refused := audit.Entry{Actor: "anonymous", Action: "push", Repository: "a", Outcome: audit.Refused, Reason: "no rule"}
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			for range 10 {
				r.Record(refused)
			}
		})
	}
	group.Wait()
	other := refused
	other.Repository = "b"
	now = time.UnixMilli(6000)
	r.Record(other)
	if l := list(t, d, audit.Filter{}); len(l) != 0 {
		t.Errorf("written at once: %v", l)
	}
	now = time.UnixMilli(7000)
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	l := list(t, d, audit.Filter{Forward: true})
	if len(l) != 2 || l[0].Times != 100 || l[0].At != 5000 || l[1].Times != 1 || l[1].At != 6000 {
		t.Errorf("%+v", l)
	}
	if err := r.Flush(ctx); err != nil || len(list(t, d, audit.Filter{})) != 2 || r.Dropped() != 0 {
		t.Errorf("written twice: %v", err)
	}
}

func TestRecorderIsBounded(t *testing.T) {
	now := time.UnixMilli(5000)
	d := open(t, &now)
	r := audit.NewRecorder(d, slog.New(slog.DiscardHandler))
	const attempts = 5000
	for i := range attempts {
		r.Record(audit.Entry{Actor: "anonymous", Action: "pull", Repository: fmt.Sprint(i), Outcome: audit.Refused})
	}
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	var rows, times int64
	if _, err := d.Read(ctx).Row(`SELECT count(*), sum(times) FROM audit`, nil, &rows, &times); err != nil {
		t.Fatal(err)
	}
	if rows > 1001 || times != attempts || r.Dropped() == 0 {
		t.Errorf("%d rows for %d attempts, %d dropped", rows, times, r.Dropped())
	}
	if e := list(t, d, audit.Filter{Limit: 1})[0]; e.Action != "audit" || e.Times != int64(r.Dropped()) {
		t.Errorf("what was dropped is not in the log: %+v", e)
	}

	// The room is used up, and comes back slowly.
	flood := func() (written int64) {
		t.Helper()
		before := r.Dropped()
		for i := range attempts {
			r.Record(audit.Entry{Actor: "anonymous", Action: "pull", Repository: fmt.Sprint(i), Outcome: audit.Refused})
		}
		if err := r.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		return attempts - int64(r.Dropped()-before)
	}
	if n := flood(); n != 0 {
		t.Errorf("%d rows more at once", n)
	}
	now = now.Add(2 * time.Second)
	if n := flood(); n != 20 {
		t.Errorf("%d rows after 2 s", n)
	}
	now = now.Add(time.Hour)
	if n := flood(); n != 1000 {
		t.Errorf("%d rows after an hour", n)
	}

	now = now.Add(time.Second)
	// What cannot be written is counted, and does not pile up.
	r.Record(audit.Entry{Actor: "anonymous", Action: "pull", Outcome: audit.Refused})
	before := r.Dropped()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Flush(ctx); err == nil || r.Dropped() != before+1 {
		t.Errorf("%v, %d dropped", err, r.Dropped())
	}
}

func TestRunWritesAtTheEnd(t *testing.T) {
	now := time.UnixMilli(5000)
	d := open(t, &now)
	r := audit.NewRecorder(d, slog.New(slog.DiscardHandler))
	r.Record(audit.Entry{Actor: "anonymous", Action: "pull", Outcome: audit.Refused})
	stopped, stop := context.WithCancel(ctx)
	stop()
	r.Run(stopped)
	if l := list(t, d, audit.Filter{}); len(l) != 1 {
		t.Errorf("%v", l)
	}
}
