package login

import (
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	addressFree = 10 // failures from an address that have no consequence
	pairFree    = 5  // of one user, from an address
	pairStrict  = 1  // the same, for a user whose password is being guessed
	userStrict  = 50 // failures of a user, from anywhere, that mean so
	firstDelay  = time.Second
	maxDelay    = time.Minute
	forgetAfter = 15 * time.Minute // without a failure
	tracked     = 8192             // addresses, users and pairs, each
)

// limiter slows down who fails. It counts failures by network (an IPv4 address,
// or the /64 of an IPv6 one, which is what one host can choose from), and by
// network and user together. Beyond some that are free, each doubles the time
// until the next attempt is looked at, up to a minute.
//
// Failures of a user from everywhere are counted, too, but only make the second
// count stricter. To slow down the user itself would let anybody shut out
// anybody; like this, who comes from elsewhere always has an attempt.
//
// What is kept is bounded: the longest unused gives way.
type limiter struct {
	now       func() time.Time
	mu        sync.Mutex
	addresses *lru.Cache[netip.Prefix, failures]
	pairs     *lru.Cache[pair, failures]
	users     *lru.Cache[string, failures]
}

type pair struct {
	network netip.Prefix
	user    string
}

type failures struct {
	n    int
	last time.Time
	next time.Time // when another attempt is looked at
}

func newLimiter(now func() time.Time) (*limiter, error) {
	l := &limiter{now: now}
	var err error
	if l.addresses, err = lru.New[netip.Prefix, failures](tracked); err != nil {
		return nil, err
	}
	if l.pairs, err = lru.New[pair, failures](tracked); err != nil {
		return nil, err
	}
	l.users, err = lru.New[string, failures](tracked)
	return l, err
}

// networkOf is what shares one count.
func networkOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the zero address has the zero network
	return p
}

// reserve counts an attempt as failed, before it is made: of many at the same
// time no more are looked at than one after the other. With a wait above 0 the
// attempt must not be made, and is not counted.
func (l *limiter) reserve(from netip.Addr, user string) (attempt pair, wait time.Duration) {
	attempt = pair{networkOf(from), user}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	address, both, all := fresh(l.addresses, attempt.network, now), fresh(l.pairs, attempt, now), fresh(l.users, user, now)
	if wait = max(address.next.Sub(now), both.next.Sub(now)); wait > 0 {
		return attempt, wait
	}
	free := pairFree
	if all.n >= userStrict {
		free = pairStrict
	}
	l.addresses.Add(attempt.network, address.add(addressFree, now))
	l.pairs.Add(attempt, both.add(free, now))
	l.users.Add(user, all.add(userStrict, now))
	return attempt, 0
}

// withdraw takes back an attempt that was not made.
func (l *limiter) withdraw(attempt pair) { l.forgive(attempt, 1) }

// succeed forgives what the user had failed from the network. What others
// failed from there still counts, so that a guesser with an account of its own
// gains nothing by it.
func (l *limiter) succeed(attempt pair) {
	l.mu.Lock()
	both, _ := l.pairs.Peek(attempt)
	l.mu.Unlock()
	l.forgive(attempt, both.n)
}

func (l *limiter) forgive(attempt pair, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	take(l.addresses, attempt.network, n, now)
	take(l.pairs, attempt, n, now)
	take(l.users, attempt.user, n, now)
}

func fresh[K comparable](c *lru.Cache[K, failures], k K, now time.Time) failures {
	f, ok := c.Get(k)
	if !ok || now.Sub(f.last) > forgetAfter {
		return failures{}
	}
	return f
}

func take[K comparable](c *lru.Cache[K, failures], k K, n int, now time.Time) {
	f, ok := c.Peek(k)
	if !ok {
		return
	}
	if f.n -= n; f.n <= 0 {
		c.Remove(k)
		return
	}
	f.next = now
	c.Add(k, f)
}

func (f failures) add(free int, now time.Time) failures {
	f.n++
	f.last, f.next = now, now
	if over := f.n - free; over > 0 {
		f.next = now.Add(min(maxDelay, firstDelay<<min(over-1, 10)))
	}
	return f
}
