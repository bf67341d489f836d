package pipeline

import (
	"context"
	"fmt"
	"sync"
)

// underWay is the runs that go on, so that a server can end them before it
// closes what they write to.
type underWay struct {
	mu      sync.Mutex
	next    int
	cancel  map[int]context.CancelCauseFunc
	stopped bool
	idle    chan struct{} // closed when stopped and no run is left; nil before Stop
}

// errStopping is why runs end when the server does.
var errStopping = fmt.Errorf("the server is stopping: %w", context.Canceled)

// enter counts a run until leave is called. Its context ends with Stop.
func (u *underWay) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stopped {
		return ctx, nil, errStopping
	}
	if u.cancel == nil {
		u.cancel = map[int]context.CancelCauseFunc{}
	}
	id := u.next
	u.next++
	ctx, u.cancel[id] = context.WithCancelCause(ctx)
	return ctx, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.cancel[id](nil)
		delete(u.cancel, id)
		if u.idle != nil && len(u.cancel) == 0 {
			close(u.idle)
		}
	}, nil
}

// Stop cancels all runs, refuses new ones, and waits until the last has been
// recorded or ctx ends.
func (e *Engine) Stop(ctx context.Context) error {
	u := &e.underWay
	u.mu.Lock()
	if u.idle == nil {
		u.stopped, u.idle = true, make(chan struct{})
		if len(u.cancel) == 0 {
			close(u.idle)
		}
		for _, cancel := range u.cancel {
			cancel(errStopping)
		}
	}
	idle := u.idle
	u.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("runs did not end: %w", ctx.Err())
	}
}
