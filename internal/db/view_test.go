package db

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Snapshots on all connections at once, whose query nobody has asked before,
// do not wait for each other.
func TestManySnapshotsAtOnce(t *testing.T) {
	d, err := Open(context.Background(), filepath.Join(t.TempDir(), "slipway.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	n := d.readers.Stats().MaxOpenConnections
	if n < 1 {
		t.Fatal("the pool has no limit: this test says nothing")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var began, all sync.WaitGroup
	began.Add(n)
	for range n {
		all.Go(func() {
			if err := d.View(ctx, func(tx *Tx) error {
				began.Done()
				began.Wait()
				var one int
				_, err := tx.Row(`SELECT 1 FROM settings LIMIT 1`, nil, &one)
				return err
			}); err != nil {
				t.Error(err)
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatal("the snapshots wait for each other")
	}
}
