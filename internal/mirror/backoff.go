package mirror

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"slipway/internal/oci"
)

// backoff keeps requests from an upstream that asked for that, or that fails.
// An upstream that has had enough (429) is asked nothing until its time is
// over. One that cannot be reached is only spared questions about what is here
// anyway: somebody who waits for what is not is a reason to try.
type backoff struct {
	now func() time.Time

	mu       sync.Mutex
	held     time.Time // nothing is asked before
	spared   time.Time // nothing is asked before, if there is something to serve
	failures int
}

const (
	firstSpare = 5 * time.Second
	maxSpare   = 2 * time.Minute
	maxHold    = time.Hour
)

func (b *backoff) check(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	wait := b.held.Sub(b.now())
	if wait <= 0 {
		return nil
	}
	return oci.NewError(oci.CodeTooManyRequests, fmt.Sprintf("upstream %s takes no more requests for now: try again in %s", name, max(wait.Round(time.Second), time.Second))).
		WithDetail(map[string]int64{"retryAfter": int64(wait/time.Second) + 1})
}

// spare reports whether the upstream should be left alone.
func (b *backoff) spare() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	return now.Before(b.held) || now.Before(b.spared)
}

func (b *backoff) hold(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if until := b.now().Add(d); until.After(b.held) {
		b.held = until
	}
}

func (b *backoff) failed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spared = b.now().Add(min(firstSpare<<min(b.failures, 10), maxSpare))
	b.failures++
}

func (b *backoff) succeeded() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures, b.spared = 0, time.Time{}
}

// retryAfter reads Retry-After, in seconds or as a date, within reason.
func retryAfter(resp *http.Response, now time.Time, fallback time.Duration) time.Duration {
	value := resp.Header.Get("Retry-After")
	d := fallback
	if n, err := strconv.ParseInt(value, 10, 32); err == nil && n >= 0 {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, time.Second), maxHold)
}
