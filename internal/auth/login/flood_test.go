package login

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/db"
	"slipway/internal/oci"
)

func retryAfter(err error) int64 {
	var e *oci.Error
	if !oci.HasCode(err, oci.CodeTooManyRequests) {
		return 0
	}
	e, _ = err.(*oci.Error) //nolint:errorlint // Authenticate returns it as it is
	return e.Detail.(map[string]int64)["retryAfter"]
}

func TestWhoFailsHasToWait(t *testing.T) {
	w := newWorld(t, "")
	w.user("anna", "right")
	n, looked, waited := 0, 0, []int64{}
	for range 12 {
		n++
		err := w.guess("anna", home, n)
		if wait := retryAfter(err); wait > 0 {
			waited = append(waited, wait)
			w.pass(time.Duration(wait) * time.Second)
			continue
		}
		looked++
		if !oci.HasCode(err, oci.CodeUnauthorized) {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(waited) != "[1 2 4]" || looked != 9 {
		t.Errorf("waited %v s, %d of 12 guesses were looked at", waited, looked)
	}
	// From elsewhere the user gets in, and its own address does not reset.
	if _, err := w.basic("anna", "right", away); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
	if retryAfter(w.guess("anna", home, 100)) == 0 {
		t.Error("a login from elsewhere pardoned who guessed")
	}
	// What was right is remembered, wherever it comes from, and tokens are
	// not slowed down.
	if _, err := w.basic("anna", "right", home); err != nil {
		t.Errorf("a password that is known to be right: %v", err)
	}
	token, _ := w.token(auth.KindUser, "anna")
	if _, err := w.basic("anna", token, home); err != nil {
		t.Errorf("a token: %v", err)
	}
	w.pass(forgetAfter + maxDelay)
	if err := w.guess("anna", home, 101); !oci.HasCode(err, oci.CodeUnauthorized) {
		t.Errorf("after a quarter of an hour: %v", err)
	}
}

func TestSuccessForgives(t *testing.T) {
	w := newWorld(t, "")
	w.user("anna", "right")
	w.user("eve", "eves")
	for n := range pairFree - 1 {
		if err := w.guess("anna", home, n); !oci.HasCode(err, oci.CodeUnauthorized) {
			t.Fatal(err)
		}
	}
	if _, err := w.basic("anna", "right", home); err != nil {
		t.Fatal(err)
	}
	for n := range pairFree {
		if err := w.guess("anna", home, 10+n); !oci.HasCode(err, oci.CodeUnauthorized) {
			t.Errorf("after a success: %v", err)
		}
	}
	// Who guesses at others gains nothing by a login of its own.
	w.pass(time.Hour)
	looked := 0
	for n := range 40 {
		_ = w.guess(fmt.Sprint("user", n), away, n) // what became of it is in w.attempts
		if n%3 == 2 {
			hash := hashOf(t, fmt.Sprint("eves", n))
			w.update(func(tx *db.Tx) error { return account.SetPassword(tx, "eve", hash) })
			_, _ = w.basic("eve", fmt.Sprint("eves", n), away)
		}
	}
	for _, a := range w.attempts {
		if a.Address.String() == away && !a.Limited && a.User != "eve" {
			looked++
		}
	}
	if looked > addressFree+1 {
		t.Errorf("%d guesses were looked at without a wait", looked)
	}
}

// A job with an old password repeats it for ever. It must cost nothing and not
// shut out the others behind its address.
func TestTheSameWrongPasswordAgain(t *testing.T) {
	w := newWorld(t, "")
	w.user("anna", "right")
	w.user("bert", "right")
	for range 200 {
		if _, err := w.basic("anna", "old", home); !oci.HasCode(err, oci.CodeUnauthorized) {
			t.Fatal(err)
		}
	}
	if n := w.passwords.checks.Load(); n != 1 {
		t.Errorf("%d checks", n)
	}
	if _, err := w.basic("bert", "right", home); err != nil {
		t.Errorf("another user behind the same address: %v", err)
	}
}

// Many addresses guess at one user: each gets fewer attempts, and the user gets
// in from yet another.
func TestManyAddressesGuessAtOneUser(t *testing.T) {
	w := newWorld(t, "")
	w.user("anna", "right")
	for n := range 12 {
		for k := range pairFree {
			_ = w.guess("anna", fmt.Sprintf("203.0.113.%d", n), n*100+k)
		}
	}
	looked := 0
	for k := range 10 {
		if err := w.guess("anna", "203.0.113.200", 5000+k); retryAfter(err) == 0 {
			looked++
		}
	}
	if looked > pairStrict+1 {
		t.Errorf("%d guesses of another address were looked at", looked)
	}
	if _, err := w.basic("anna", "right", away); err != nil {
		t.Errorf("the user is shut out: %v", err)
	}
}

func TestNetworks(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.2", false}, {"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:1:2:3", true}, {"2001:db8::1", "2001:db8:0:1::1", false}, {"fe80::1%eth0", "fe80::1%eth1", true},
	} {
		if got := networkOf(netip.MustParseAddr(c.a)) == networkOf(netip.MustParseAddr(c.b)); got != c.same {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
	}
	networkOf(netip.Addr{}) // a Unix socket has none
}

func TestLimiterIsBounded(t *testing.T) {
	l, err := newLimiter(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 * tracked {
		a := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
		l.reserve(a, fmt.Sprint("user", n))
	}
	if a, p, u := l.addresses.Len(), l.pairs.Len(), l.users.Len(); a > tracked || p > tracked || u > tracked {
		t.Errorf("kept %d, %d and %d", a, p, u)
	}
}

// A flood from very many addresses: few checks run at a time, few wait, the
// rest is told to come again at once, and what is known gets in all the while.
func TestFloodIsBounded(t *testing.T) {
	const flood = 400
	w := newWorld(t, "")
	w.user("anna", "right")
	if _, err := w.basic("anna", "right", home); err != nil {
		t.Fatal(err)
	}
	token, _ := w.token(auth.KindUser, "anna")
	// The test itself keeps all slots, so that nothing moves until it looks.
	for range cap(w.passwords.slots) {
		w.passwords.slots <- struct{}{}
	}
	most := int64(waitersEach * cap(w.passwords.slots))
	var busy, looked atomic.Int64
	var group sync.WaitGroup
	for n := range flood {
		group.Go(func() {
			_, err := w.Authenticate(ctx, Credentials{Basic, fmt.Sprint("user", n), "guess"}, netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}))
			switch {
			case retryAfter(err) > 0:
				busy.Add(1)
			case oci.HasCode(err, oci.CodeUnauthorized):
				looked.Add(1)
			}
		})
	}
	for deadline := time.Now().Add(time.Minute); busy.Load() < flood-most; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d were told to wait, %d wait, of %d", busy.Load(), w.passwords.waiting.Load(), flood)
		}
	}
	if n := w.passwords.waiting.Load(); n > most {
		t.Errorf("%d wait, want at most %d", n, most)
	}
	if _, err := w.basic("anna", "right", away); err != nil {
		t.Errorf("a known password during the flood: %v", err)
	}
	if _, err := w.basic("anna", token, away); err != nil {
		t.Errorf("a token during the flood: %v", err)
	}
	if looked.Load() != 0 {
		t.Errorf("%d were looked at without a slot", looked.Load())
	}
	for range cap(w.passwords.slots) {
		<-w.passwords.slots
	}
	group.Wait()
	if looked.Load() == 0 || looked.Load() > most || busy.Load()+looked.Load() != flood {
		t.Errorf("%d were looked at, %d were told to wait", looked.Load(), busy.Load())
	}
	// Who was told to come again has not failed by that.
	if n := w.passwords.limiter.addresses.Len(); int64(n) > looked.Load()+1 {
		t.Errorf("%d addresses count as failed, %d were looked at", n, looked.Load())
	}
}
