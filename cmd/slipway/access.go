//go:build unix

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"slipway/internal/audit"
	"slipway/internal/auth"
	"slipway/internal/auth/login"
	"slipway/internal/auth/oidc"
	"slipway/internal/auth/token"
	"slipway/internal/db"
	"slipway/internal/edge"
	"slipway/internal/oci"
)

// access is who may use a server, and the record of what was refused.
type access struct {
	store    *store
	login    *login.Login
	tokens   *token.Issuer
	endpoint *token.Endpoint
	recorder *audit.Recorder
	people   *oidc.People // nil where people log in here only
	public   string       // external-url, "" where clients' own idea of the address is taken
}

// tokenPath is where access tokens are issued.
const tokenPath = "/token"

// service is the audience of access tokens. Clients only hand it on.
const service = "slipway"

func openAccess(st *store, s *serveSettings, log *slog.Logger) (*access, error) {
	a := &access{store: st, public: strings.TrimSuffix(s.tls.external, "/"), recorder: audit.NewRecorder(st.db, log)}
	var err error
	if a.tokens, err = token.Open(token.Config{Folder: st.dir, Issuer: service, Service: service, Accounts: st.accounts, Log: log}); err != nil {
		return nil, err
	}
	workloads, err := s.openWorkloads(log)
	if err != nil {
		return nil, usageError{fmt.Errorf("oidc.issuers: %w", err)}
	}
	if a.login, err = login.New(login.Config{Accounts: st.accounts, Access: a.tokens.Verify, Workloads: workloads, Address: address, Failed: a.failed}); err != nil {
		return nil, err
	}
	if a.people, err = s.openPeople(a, log); err != nil {
		return nil, usageError{fmt.Errorf("oidc.issuers: %w", err)}
	}
	a.endpoint = token.NewEndpoint(token.EndpointConfig{
		Issuer: a.tokens, Login: a.login, Accounts: st.accounts, Policy: st.policy, Log: log,
		Canonical: func(repository string) (string, error) { return st.mirror.Canonical(repository, "") },
	})
	return a, nil
}

// address is where a request comes from, proxies that are believed left out.
func address(r *http.Request) netip.Addr { return edge.OriginOf(r).Client }

// run writes what is recorded in batches, until ctx ends.
func (a *access) run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { a.recorder.Run(ctx) })
	running.Go(func() { a.store.accounts.Run(ctx) })
	running.Wait()
}

// ensureAdmin makes the first user, and returns its password to be shown once.
func (a *access) ensureAdmin(ctx context.Context) (password string, err error) {
	return a.store.accounts.EnsureAdmin(ctx, func(tx *db.Tx) error {
		return audit.Append(tx, audit.Entry{Actor: auth.System.Actor(), Action: "user.create", Subject: "admin", Outcome: audit.Allowed, Reason: "there was no user"})
	})
}

// caller is who sent a request; err is why that is not known.
type caller struct {
	auth.Identity
	bearer bool // an access token was shown
	err    error
}

type callerKey struct{}

func callerOf(r *http.Request) caller {
	c, _ := r.Context().Value(callerKey{}).(caller) // the zero caller has no login
	return c
}

func withCaller(r *http.Request, c caller) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), callerKey{}, c))
}

// identify finds out who calls, once for each request. The token endpoint does
// that itself.
func (a *access) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == tokenPath {
			next.ServeHTTP(w, r)
			return
		}
		i, err := a.login.Request(r)
		c, _ := login.ParseAuthorization(r.Header.Values("Authorization")) // its error is in err
		next.ServeHTTP(w, withCaller(r, caller{i, c.Scheme == login.Bearer, err}))
	})
}

// asLocal takes everybody for the administrator of this machine.
func asLocal(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, withCaller(r, caller{Identity: auth.Local}))
	})
}

// authorize is the one way to a decision, for every API of the server.
func (a *access) authorize(r *http.Request, action auth.Action, repository string) error {
	c := callerOf(r)
	if c.err != nil {
		return c.err // was recorded when it happened
	}
	d := a.store.policy.Decide(r.Context(), c.Identity, action, repository)
	err := d.Err()
	switch {
	case err == nil && !d.Grace, action == auth.Ping, d.InsufficientScope:
		return err // a client that finds out what to do next was not refused
	}
	e := audit.Entry{Actor: c.Actor(), Address: c.Address.String(), Action: string(action), Repository: repository, Outcome: audit.Refused, Reason: d.Why}
	if err == nil {
		e.Outcome = audit.Allowed
	}
	a.recorder.Record(e)
	return err
}

func (a *access) failed(f login.Attempt) {
	a.recorder.Record(audit.Entry{Actor: auth.Identity{}.Actor(), Address: f.Address.String(), Action: "login", Subject: f.User, Outcome: audit.Refused, Reason: f.Reason})
}

// visible is what the caller may know of.
func (a *access) visible(r *http.Request) func(string) bool {
	c := callerOf(r)
	if c.err != nil {
		return func(string) bool { return false }
	}
	return a.store.policy.Visible(r.Context(), c.Identity)
}

// named says who calls, and from where, for history and events.
func named(r *http.Request) (actor, address string) {
	c := callerOf(r)
	if c.Address.IsValid() {
		address = c.Address.String()
	}
	return c.Actor(), address
}

// challenge tells a client of the registry how to log in.
func (a *access) challenge(r *http.Request, action auth.Action, repository string) string {
	c := callerOf(r)
	t := token.Challenge{Realm: a.url(r) + tokenPath, Service: service, Action: action, Repository: repository}
	if q := r.URL.Query(); action == auth.Push && q.Has("mount") && oci.CheckRepository(q.Get("from")) == nil {
		t.Source = q.Get("from")
	}
	switch {
	case c.bearer && c.err != nil:
		t.Error = token.InvalidToken
	case c.bearer:
		t.Error = token.InsufficientScope
	}
	return t.String()
}

// url is the server's address as this client has to write it.
func (a *access) url(r *http.Request) string {
	if a.public != "" {
		return a.public
	}
	o := edge.OriginOf(r)
	return o.Scheme + "://" + o.Host
}
