package login

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"

	"slipway/internal/auth/account"
	"slipway/internal/oci"
)

const (
	// How long the outcome of a check is remembered. Nothing depends on these
	// being short: what is remembered stays true.
	rightFor = 10 * time.Minute
	wrongFor = 2 * time.Minute
	// How many outcomes are remembered. The wrong ones are apart, so that
	// guessing pushes out no right one.
	rightKept = 4096
	wrongKept = 4096
	// How many checks may wait for each that runs, and how long.
	waitersEach = 32
	waitAtMost  = 10 * time.Second
)

type outcome [sha256.Size]byte

// passwords checks passwords.
type passwords struct {
	accounts *account.Accounts
	limiter  *limiter
	key      []byte
	now      func() time.Time
	highest  func() int                     // cost of a hash that there is
	right    *lru.Cache[outcome, time.Time] // until when
	wrong    *lru.Cache[outcome, time.Time]
	flights  singleflight.Group
	slots    chan struct{}
	waiting  atomic.Int64
	checks   atomic.Int64 // so far
	rounds   atomic.Int64 // of bcrypt so far, 2^cost for each hash
}

func newPasswords(a *account.Accounts, checks int, now func() time.Time) (*passwords, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	l, err := newLimiter(now)
	if err != nil {
		return nil, err
	}
	p := &passwords{accounts: a, limiter: l, key: key, now: now, highest: a.HashCost, slots: make(chan struct{}, checks)}
	if p.right, err = lru.New[outcome, time.Time](rightKept); err != nil {
		return nil, err
	}
	p.wrong, err = lru.New[outcome, time.Time](wrongKept)
	return p, err
}

func (p *passwords) remembers(c *lru.Cache[outcome, time.Time], o outcome) bool {
	until, ok := c.Get(o)
	return ok && p.now().Before(until)
}

// name makes the key under which an outcome is remembered. Lengths go first, so
// that no two triples run together.
func (p *passwords) name(user, hash, password string) (o outcome) {
	mac := hmac.New(sha256.New, p.key)
	for _, s := range []string{user, hash, password} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		mac.Write(n[:])
		mac.Write([]byte(s))
	}
	mac.Sum(o[:0])
	return o
}

// check returns nil if the password is the user's. Equal checks at the same
// time are one check.
func (p *passwords) check(ctx context.Context, user, password string, from netip.Addr) error {
	hash, ok, err := p.accounts.Password(ctx, user)
	if err != nil {
		return err
	}
	if !ok {
		hash = "" // also of a user who is disabled
	}
	name := p.name(user, hash, password)
	if p.remembers(p.right, name) {
		return nil
	}
	if p.remembers(p.wrong, name) {
		return wrong()
	}
	_, err, _ = p.flights.Do(string(name[:])+networkOf(from).String(), func() (any, error) {
		// Others may wait for the outcome when the first caller has gone.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), waitAtMost)
		defer cancel()
		return nil, p.checkOnce(ctx, user, hash, password, name, from)
	})
	return err
}

func (p *passwords) checkOnce(ctx context.Context, user, hash, password string, name outcome, from netip.Addr) error {
	attempt, wait := p.limiter.reserve(from, user)
	if wait > 0 {
		return tooMany("after so many failed logins from this address", wait)
	}
	free, err := p.slot(ctx)
	if err != nil {
		p.limiter.withdraw(attempt)
		return err
	}
	defer free()
	p.checks.Add(1)
	if p.fits(hash, password) {
		p.limiter.succeed(attempt)
		p.right.Add(name, p.now().Add(rightFor))
		return nil
	}
	p.wrong.Add(name, p.now().Add(wrongFor))
	return wrong()
}

// slot waits until one of the few checks that run at a time has ended.
func (p *passwords) slot(ctx context.Context) (free func(), err error) {
	busy := tooMany("since many others are logging in", time.Second)
	if p.waiting.Add(1) > int64(waitersEach*cap(p.slots)) {
		p.waiting.Add(-1)
		return nil, busy
	}
	defer p.waiting.Add(-1)
	select {
	case p.slots <- struct{}{}:
		return func() { <-p.slots }, nil
	case <-ctx.Done():
		return nil, busy
	}
}

// fits compares. A refusal takes the time of one check at the highest cost that
// there is, whatever the hash: two checks of cost n take as long as one of n+1,
// so a cheap one is followed by one of each cost below the highest, its own
// included.
func (p *passwords) fits(hash, password string) bool {
	highest := p.highest()
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		p.burn(highest)
		return false
	}
	p.rounds.Add(1 << cost)
	if bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil {
		return true
	}
	for c := cost; c < highest; c++ {
		p.burn(c)
	}
	return false
}

// burn takes as long as a check of that cost.
func (p *passwords) burn(cost int) {
	p.rounds.Add(1 << cost)
	_, _ = bcrypt.GenerateFromPassword([]byte("no password"), cost)
}

func tooMany(why string, wait time.Duration) *oci.Error {
	seconds := int64((wait + time.Second - 1) / time.Second)
	return oci.NewError(oci.CodeTooManyRequests, fmt.Sprintf("logins by password have to wait, %s: try again in %d s; logins with a token do not have to", why, seconds)).
		WithDetail(map[string]int64{"retryAfter": seconds})
}
