// Package login finds out who calls, from what a request shows and where it
// comes from. What that caller may do is for package policy.
//
// What is shown is one of
//
//	Basic   user name and password, or user name and token; with a token the
//	        name is its owner's, or "token" for whoever owns it
//	Bearer  an access token (package token), or a personal or robot token
//
// In either, the token of a CI job (package workload) stands for the job, with
// any user name.
//
// A password is checked with bcrypt, which is slow on purpose; so that this
// neither slows down who is right nor lets others keep the processor busy,
//
//   - that a password fits a hash is remembered for some minutes, under a hash
//     with a key that this process made up. It is remembered of the hash and not
//     of the user: a changed password is another hash, and whether the user is
//     still let in is asked each time;
//   - that it does not fit is remembered, too: a forgotten job that repeats the
//     same wrong password costs nothing and shuts out nobody;
//   - few checks run at a time, and few wait;
//   - who fails has to wait, longer each time, by address, and by address and
//     user together; see limiter. Nobody who is elsewhere has to wait for it.
//
// Tokens are 256 random bits: there is no guessing them and nothing to slow
// down, so a right token is let in at any time.
//
// A refusal says the same, after the same time, whether the user exists or not.
package login

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"runtime"
	"time"

	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/oci"
)

// Config of New. Accounts is required.
type Config struct {
	Accounts *account.Accounts
	// Access checks access tokens; nil refuses them. An error that is no
	// *oci.Error is taken as the server's fault.
	Access func(ctx context.Context, raw string) (auth.Identity, error)
	// Workloads checks tokens of CI jobs; nil accepts none.
	Workloads Workloads
	// Address is where a request comes from. Default: its connection.
	Address func(*http.Request) netip.Addr
	// Failed is told of every refusal, for the audit log. It must not block.
	Failed func(Attempt)
	// Now is the clock for delays. Default: the system's.
	Now func() time.Time
	// Checks is how many passwords are checked at a time. Default: half of
	// the processors, at least 1.
	Checks int
}

// Workloads is package workload.
type Workloads interface {
	// Is reports whether a string looks like a token of a workload.
	Is(raw string) bool
	// Verify is the identity behind one. Its errors are *oci.Error.
	Verify(ctx context.Context, raw string) (auth.Identity, error)
}

// Attempt is a login that was refused. User is what the caller wrote, and may
// be anything.
type Attempt struct {
	User    string
	Address netip.Addr
	Reason  string
	Limited bool // not even looked at: too many before it failed
}

// Login authenticates. Safe for concurrent use.
type Login struct {
	Config
	passwords *passwords
}

// New makes a login.
func New(c Config) (*Login, error) {
	if c.Address == nil {
		c.Address = func(r *http.Request) netip.Addr { return auth.RemoteAddress(r.RemoteAddr) }
	}
	if c.Failed == nil {
		c.Failed = func(Attempt) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Checks <= 0 {
		c.Checks = max(1, runtime.NumCPU()/2)
	}
	p, err := newPasswords(c.Accounts, c.Checks, c.Now)
	if err != nil {
		return nil, err
	}
	return &Login{c, p}, nil
}

// Request authenticates an HTTP request by its Authorization header; without
// one the caller is anonymous.
func (l *Login) Request(r *http.Request) (auth.Identity, error) {
	from := l.Address(r)
	c, err := ParseAuthorization(r.Header.Values("Authorization"))
	if err != nil {
		l.Failed(Attempt{Address: from, Reason: "the Authorization header cannot be read"})
		return auth.Identity{}, err
	}
	return l.Authenticate(r.Context(), c, from)
}

// Authenticate finds the identity of who shows the credentials. Its errors are
// *oci.Error: UNAUTHORIZED, TOOMANYREQUESTS with the seconds to wait as detail
// "retryAfter", and UNAVAILABLE if the accounts cannot be read.
func (l *Login) Authenticate(ctx context.Context, c Credentials, from netip.Addr) (auth.Identity, error) {
	i, err := l.identity(ctx, c, from)
	if err == nil {
		i.Address = from
		return i, nil
	}
	var e *oci.Error
	if !errors.As(err, &e) {
		if errors.Is(err, account.ErrRefused) {
			e = wrong().WithCause(err)
		} else {
			e = oci.NewError(oci.CodeUnavailable, "the registry cannot check logins now: try again; its log says why").WithCause(err)
		}
	}
	if e.Code == oci.CodeUnauthorized || e.Code == oci.CodeTooManyRequests {
		a := Attempt{User: c.User, Address: from, Reason: e.Message, Limited: e.Code == oci.CodeTooManyRequests}
		if _, ok := account.PrefixOf(a.User); ok {
			a.User = "(a token where a name belongs)" // it must not get into a log
		}
		if cause := errors.Unwrap(e); cause != nil {
			a.Reason = cause.Error()
		}
		l.Failed(a)
	}
	return auth.Identity{}, e
}

func (l *Login) identity(ctx context.Context, c Credentials, from netip.Addr) (auth.Identity, error) {
	_, isToken := account.PrefixOf(c.Secret)
	switch {
	case c.Scheme == None:
		return auth.Nobody(from), nil
	case l.Workloads != nil && l.Workloads.Is(c.Secret):
		return l.Workloads.Verify(ctx, c.Secret)
	case c.Scheme == Bearer && !isToken:
		if l.Access == nil {
			return auth.Identity{}, oci.NewError(oci.CodeUnauthorized, "access tokens are not accepted here: show a user name and password, or a personal or robot token")
		}
		return l.Access(ctx, c.Secret)
	case isToken:
		return l.byToken(ctx, c)
	}
	if err := l.passwords.check(ctx, c.User, c.Secret, from); err != nil {
		return auth.Identity{}, err
	}
	i, err := l.Accounts.Current(ctx, auth.KindUser, c.User, 0)
	if err == nil {
		l.Accounts.Used(i)
	}
	return i, err
}

// anyOwner is the user name that goes with every token.
const anyOwner = "token"

func (l *Login) byToken(ctx context.Context, c Credentials) (auth.Identity, error) {
	i, err := l.Accounts.BySecret(ctx, c.Secret)
	if errors.Is(err, account.ErrRefused) {
		return i, oci.NewError(oci.CodeUnauthorized, "the token is not valid, or not any more: make a new one").WithCause(err)
	}
	if err == nil && c.Scheme == Basic && c.User != i.Name && c.User != anyOwner {
		return i, oci.NewError(oci.CodeUnauthorized, "the user name is not that of the token's owner: use it, or the name token")
	}
	return i, err
}

func wrong() *oci.Error {
	return oci.NewError(oci.CodeUnauthorized, "the user name or the password is wrong")
}
