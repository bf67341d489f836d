package gc_test

import (
	"testing"
	"time"

	"slipway/internal/gc"
	"slipway/internal/registry/registrytest"
)

// A push that finds a blob already there, while collection is about to free
// it, must end with the blob there.
func TestPushRacesCollection(t *testing.T) {
	w := newWorld(t)
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for i := range rounds {
		content := large("x")
		if i%2 == 0 {
			content = small("x")
		}
		w.PutBlob("old", content)
		w.clock.Advance(2 * time.Hour) // free it is, from now on
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := w.Run(ctx, gc.Options{}); err != nil {
				t.Error(err)
			}
		}()
		if i%3 == 0 {
			time.Sleep(time.Duration(i) * 100 * time.Microsecond)
		}
		w.PutImage("new", "v1", content)
		<-done
		w.wantBlob("new", content)
		if err := w.DeleteRepository(ctx, "new", registrytest.Change); err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(2 * time.Hour)
		w.collect()
		if c := w.Contents(); c.Rows["blobs"] != 0 || len(c.Files) != 0 {
			t.Fatalf("round %d left %+v", i, c)
		}
	}
}
