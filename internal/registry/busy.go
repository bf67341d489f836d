package registry

import (
	"context"
	"sync"
	"time"

	"slipway/internal/oci"
)

// busy admits one request at a time to an upload. The data folder belongs to
// one process, so its memory is enough; the row's version guards the rest.
type busy struct {
	mu sync.Mutex
	m  map[string]*turn
}

type turn struct {
	free  chan struct{} // holds a token while nobody is at work
	users int           // at work or waiting
}

// busyWait gives a request whose connection is dying the time to notice.
const busyWait = 5 * time.Second

func errBusy() error {
	return oci.NewError(oci.CodeUploadBusy, "another request is writing to this upload: wait for it, then ask the upload for its offset")
}

// lock waits for its turn, for at most busyWait.
func (b *busy) lock(ctx context.Context, id string) (unlock func(), err error) {
	b.mu.Lock()
	if b.m == nil {
		b.m = map[string]*turn{}
	}
	t, ok := b.m[id]
	if !ok {
		t = &turn{free: make(chan struct{}, 1)}
		t.free <- struct{}{}
		b.m[id] = t
	}
	t.users++
	b.mu.Unlock()

	leave := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(b.m, id)
		}
	}
	timer := time.NewTimer(busyWait)
	defer timer.Stop()
	select {
	case <-t.free:
		return func() { t.free <- struct{}{}; leave() }, nil
	case <-timer.C:
		leave()
		return nil, errBusy()
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
