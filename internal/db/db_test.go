package db_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"slipway/internal/db"
)

var ctx = context.Background()

func open(t *testing.T, path string) *db.DB {
	t.Helper()
	d, err := db.Open(ctx, path, db.Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func newDB(t *testing.T) *db.DB { return open(t, filepath.Join(t.TempDir(), "slipway.db")) }

func put(name string) func(*db.Tx) error {
	return func(tx *db.Tx) error {
		_, err := tx.Exec(`INSERT INTO settings (name, value) VALUES (?, 'x')`, name)
		return err
	}
}

func has(t *testing.T, tx *db.Tx, name string) bool {
	t.Helper()
	var one int
	found, err := tx.Row(`SELECT 1 FROM settings WHERE name = ?`, []any{name}, &one)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// hold keeps the writer busy until the returned function is called, so that
// updates pile up behind it and share the next commit.
func hold(t *testing.T, d *db.DB) (release func()) {
	t.Helper()
	started, ended := make(chan struct{}), make(chan struct{})
	var once sync.Once
	go func() {
		if err := d.Update(ctx, func(*db.Tx) error {
			once.Do(func() { close(started); <-ended })
			return nil
		}); err != nil {
			t.Error(err)
		}
	}()
	<-started
	return func() { close(ended) }
}

// waiting runs updates behind a held writer, so that they are one batch.
func waiting(t *testing.T, d *db.DB, fns ...func(*db.Tx) error) []error {
	t.Helper()
	release := hold(t, d)
	errs := make([]error, len(fns))
	var wg sync.WaitGroup
	for i, fn := range fns {
		wg.Go(func() { errs[i] = d.Update(ctx, fn) })
	}
	time.Sleep(50 * time.Millisecond) // until they wait
	release()
	wg.Wait()
	return errs
}

// An update that fails, or panics, undoes what it did itself, and nothing of
// those that it shares the commit with.
func TestUpdatesOfOneCommitAreIndependent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "slipway.db")
	d := open(t, path)
	mine := errors.New("mine")
	fns := []func(*db.Tx) error{
		put("first"),
		func(tx *db.Tx) error { return errors.Join(put("fails")(tx), mine) },
		put("second"),
		func(tx *db.Tx) error { _ = put("panics")(tx); panic("a bug") },
		func(tx *db.Tx) error { _ = put("twice")(tx); return put("twice")(tx) }, // violates a constraint
		put("third"),
	}
	errs := waiting(t, d, fns...)
	for i, name := range []string{"first", "fails", "second", "panics", "twice", "third"} {
		want := name == "first" || name == "second" || name == "third"
		if (errs[i] == nil) != want {
			t.Errorf("%s: %v", name, errs[i])
		}
		if got := has(t, d.Read(ctx), name); got != want {
			t.Errorf("%s is there: %v", name, got)
		}
	}
	if !errors.Is(errs[1], mine) {
		t.Errorf("the function's own error became %v", errs[1])
	}
	if errs[3] == nil || !strings.Contains(errs[3].Error(), "a bug") {
		t.Errorf("the panic became %v", errs[3])
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, path)
	for name, want := range map[string]bool{"first": true, "second": true, "third": true, "fails": false, "panics": false, "twice": false} {
		if got := has(t, again.Read(ctx), name); got != want {
			t.Errorf("after opening again %s is there: %v", name, got)
		}
	}
}

// What is waiting shares one commit, and one time.
func TestGroupCommit(t *testing.T) {
	d := newDB(t)
	var mu sync.Mutex
	nows := map[int64]int{}
	fns := make([]func(*db.Tx) error, 100)
	for i := range fns {
		fns[i] = func(tx *db.Tx) error {
			mu.Lock()
			nows[tx.Now()]++
			mu.Unlock()
			time.Sleep(time.Millisecond) // the clock moves on meanwhile
			return put(fmt.Sprint(i))(tx)
		}
	}
	for i, err := range waiting(t, d, fns...) {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	if len(nows) > 3 {
		t.Errorf("100 waiting updates ran in %d transactions", len(nows))
	}
}

func TestCancelledUpdateDoesNotRun(t *testing.T) {
	d := newDB(t)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	ran := false
	for range 20 {
		if err := d.Update(cancelled, func(*db.Tx) error { ran = true; return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want context.Canceled", err)
		}
	}
	// Cancelled while it waits.
	release := hold(t, d)
	later, cancel := context.WithCancel(ctx)
	result := make(chan error)
	go func() { result <- d.Update(later, func(*db.Tx) error { ran = true; return nil }) }()
	time.Sleep(20 * time.Millisecond)
	cancel()
	release()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	if ran {
		t.Error("a cancelled update ran")
	}
}

// Once it was taken up, an update is carried through.
func TestUpdateOutlivesItsContext(t *testing.T) {
	d := newDB(t)
	during, cancel := context.WithCancel(ctx)
	if err := d.Update(during, func(tx *db.Tx) error {
		cancel()
		return put("carried through")(tx)
	}); err != nil {
		t.Fatal(err)
	}
	if !has(t, d.Read(ctx), "carried through") {
		t.Error("it is not there")
	}
}

func TestViewIsOneSnapshot(t *testing.T) {
	d := newDB(t)
	if err := d.View(ctx, func(tx *db.Tx) error {
		if has(t, tx, "later") {
			t.Error("there from the start")
		}
		if err := d.Update(ctx, put("later")); err != nil {
			return err
		}
		if has(t, tx, "later") {
			t.Error("the snapshot sees a later commit")
		}
		if !has(t, d.Read(ctx), "later") {
			t.Error("Read does not see the newest commit")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestReadersCannotWrite(t *testing.T) {
	d := newDB(t)
	if err := put("x")(d.Read(ctx)); err == nil {
		t.Error("Read wrote")
	}
	if err := d.View(ctx, put("x")); err == nil {
		t.Error("View wrote")
	}
	if has(t, d.Read(ctx), "x") {
		t.Error("it is there")
	}
}

func TestCloseWhileUpdatesRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "slipway.db")
	d := open(t, path)
	var acknowledged sync.Map
	var n atomic.Int64
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for j := 0; ; j++ {
				name := fmt.Sprintf("%d-%d", i, j)
				if err := d.Update(ctx, put(name)); errors.Is(err, db.ErrClosed) {
					return
				} else if err != nil {
					t.Errorf("%v, want ErrClosed", err)
					return
				}
				acknowledged.Store(name, true)
				n.Add(1)
			}
		})
	}
	for n.Load() < 200 {
		time.Sleep(time.Millisecond)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := d.Update(ctx, put("after")); !errors.Is(err, db.ErrClosed) {
		t.Errorf("Update after Close: %v", err)
	}
	again := open(t, path)
	acknowledged.Range(func(name, _ any) bool {
		if !has(t, again.Read(ctx), name.(string)) {
			t.Errorf("%s was acknowledged and is gone", name)
		}
		return true
	})
}

func TestReadAfterClose(t *testing.T) {
	d := newDB(t)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	var one int
	if _, err := d.Read(ctx).Row(`SELECT 1`, nil, &one); err == nil {
		t.Error("Read after Close succeeded")
	}
	if err := d.View(ctx, func(*db.Tx) error { return nil }); err == nil {
		t.Error("View after Close succeeded")
	}
}

func TestEachStopsAtAnError(t *testing.T) {
	d := newDB(t)
	for _, name := range []string{"a", "b"} {
		if err := d.Update(ctx, put(name)); err != nil {
			t.Fatal(err)
		}
	}
	enough, rows := errors.New("enough"), 0
	err := d.Read(ctx).Each(`SELECT name FROM settings`, nil, func(func(...any) error) error { rows++; return enough })
	if !errors.Is(err, enough) || rows != 1 {
		t.Errorf("%v after %d rows", err, rows)
	}
}

func TestNowIsTheDatabasesClock(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	d, err := db.Open(ctx, filepath.Join(t.TempDir(), "a b?c%20d.db"), db.Options{Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Update(ctx, func(tx *db.Tx) error {
		if tx.Now() != at.UnixMilli() {
			t.Errorf("Update: %d", tx.Now())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if d.Read(ctx).Now() != at.UnixMilli() || !d.Now().Equal(at) || d.Size() == 0 {
		t.Errorf("Read: %d, Now: %s, Size: %d", d.Read(ctx).Now(), d.Now(), d.Size())
	}
}

// The log must not take the room that is left on a full disk, nor be copied all
// the time on one that has room.
func TestLogBySpace(t *testing.T) {
	for name, free := range map[string]uint64{"full": 10 << 20, "roomy": 10 << 30} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "slipway.db")
			d, err := db.Open(ctx, path, db.Options{Free: func() (uint64, error) { return free, nil }})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			for i := range 2000 {
				if err := d.Update(ctx, put(fmt.Sprint(i, strings.Repeat("x", 2000)))); err != nil {
					t.Fatal(err)
				}
			}
			info, err := os.Stat(path + "-wal")
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("the log has %d KiB", info.Size()>>10)
			if short := info.Size() < 4<<20; short != (name == "full") {
				t.Errorf("with %d MiB free the log has %d KiB", free>>20, info.Size()>>10)
			}
		})
	}
}
