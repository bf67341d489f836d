package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"slipway/internal/auth"
)

// Provider is an issuer that people may log in at. Name, URL and ClientID are
// required.
type Provider struct {
	Name         string // in addresses of this server, such as keycloak
	URL          string // as its tokens have it in "iss"
	ClientID     string
	ClientSecret string   // "" for a public client; PKCE is used in any case
	Scopes       []string // beside openid. Default: profile and email
	// Require are claims that a person must have, with that value or with it
	// in a list. An issuer that anybody can have a login at needs some.
	Require map[string]string
	// UsernameClaim has the name of a new user. Default: preferred_username.
	UsernameClaim string
	// GroupsClaim has the groups; "" for none. A claim within another is
	// written with dots: realm_access.roles.
	GroupsClaim string
	// AdminGroups of the issuer make administrators here. Nothing else does.
	AdminGroups []string
	// Groups are the issuer's groups that count here, by what they are called
	// here; nil: all, by their own names.
	Groups map[string]string
	// Transport reaches the issuer; see Guard. Default: http.DefaultTransport.
	Transport http.RoundTripper
}

const (
	askTimeout = 10 * time.Second
	// askAgain is how long an issuer that did not answer is left alone.
	askAgain = 5 * time.Second
	// exchanges is how many logins an issuer is asked about at a time.
	exchanges  = 16
	maxIDToken = 64 << 10
)

// The algorithms that are accepted: asymmetric ones, and so no "none" either.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}

func (p *Provider) check() error {
	if err := auth.CheckName(p.Name); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if p.ClientID == "" {
		return fmt.Errorf("issuer %s: it needs a client id: the name under which this server is registered there", p.Name)
	}
	if err := checkURL(p.URL); err != nil {
		return fmt.Errorf("issuer %s: its URL %q %w", p.Name, p.URL, err)
	}
	for from, to := range p.Groups {
		if err := auth.CheckGroup(to); err != nil {
			return fmt.Errorf("issuer %s: group %q: %w", p.Name, from, err)
		}
		if to == auth.GroupAdmins || to == auth.GroupHtpasswd {
			return fmt.Errorf("issuer %s: group %q cannot become %s: name those that make administrators apart", p.Name, from, to)
		}
	}
	if (len(p.AdminGroups) > 0 || len(p.Groups) > 0) && p.GroupsClaim == "" {
		return fmt.Errorf("issuer %s: it has groups, and no claim that they are read from", p.Name)
	}
	return nil
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("must be https://HOST/…, as its tokens have it in the claim iss")
	}
	return nil
}

// provider asks one issuer.
type provider struct {
	Provider
	client *http.Client
	now    func() time.Time
	slots  chan struct{}

	flights singleflight.Group
	known   atomic.Pointer[discovered]
	mu      sync.Mutex
	failed  error // of the last attempt
	at      time.Time
}

// discovered is what an issuer says of itself.
type discovered struct {
	endpoint oauth2.Endpoint
	verifier *oidc.IDTokenVerifier
}

func newProvider(p Provider, now func() time.Time) (*provider, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if p.Transport == nil {
		p.Transport = http.DefaultTransport
	}
	if p.UsernameClaim == "" {
		p.UsernameClaim = "preferred_username"
	}
	if p.Scopes == nil {
		p.Scopes = []string{oidc.ScopeProfile, oidc.ScopeEmail}
	}
	return &provider{Provider: p, now: now, slots: make(chan struct{}, exchanges), client: &http.Client{
		Timeout: askTimeout, Transport: bounded{p.Transport}, CheckRedirect: refuseRedirect,
	}}, nil
}

// discover asks the issuer where its addresses are, the first time that it
// answers. All who wait get the same answer.
func (p *provider) discover(ctx context.Context) (*discovered, error) {
	if d := p.known.Load(); d != nil {
		return d, nil
	}
	p.mu.Lock()
	failed, at := p.failed, p.at
	p.mu.Unlock()
	if failed != nil && p.now().Sub(at) < askAgain {
		return nil, failed
	}
	answer := p.flights.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		defer cancel()
		d, err := p.ask(ctx)
		p.mu.Lock()
		p.failed, p.at = err, p.now()
		p.mu.Unlock()
		if err == nil {
			p.known.Store(d)
		}
		return d, err
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-answer:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*discovered), nil
	}
}

func (p *provider) ask(ctx context.Context) (*discovered, error) {
	ctx = oidc.ClientContext(ctx, p.client)
	found, err := oidc.NewProvider(ctx, p.URL)
	if err != nil {
		return nil, fmt.Errorf("ask issuer %s: %w", p.Name, err)
	}
	d := &discovered{endpoint: found.Endpoint()}
	for what, address := range map[string]string{"authorization_endpoint": d.endpoint.AuthURL, "token_endpoint": d.endpoint.TokenURL} {
		if u, err := url.Parse(address); err != nil || u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("issuer %s says that its %s is %q: that is no https address", p.Name, what, address)
		}
	}
	var says struct {
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := found.Claims(&says); err != nil {
		return nil, fmt.Errorf("issuer %s: %w", p.Name, err)
	}
	// To try one after the other would use up the code.
	d.endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if p.ClientSecret == "" || (len(says.Methods) > 0 && !slices.Contains(says.Methods, "client_secret_basic")) {
		d.endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	d.verifier = found.VerifierContext(ctx, &oidc.Config{ClientID: p.ClientID, SupportedSigningAlgs: algorithms, Now: p.now})
	return d, nil
}

func (p *provider) config(d *discovered, redirect string) *oauth2.Config {
	return &oauth2.Config{ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: d.endpoint, RedirectURL: redirect, Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...)}
}

// errBusy: too many logins at a time.
var errBusy = errors.New("many others are logging in")

// exchange turns the code of a login into what the issuer says of the person.
func (p *provider) exchange(ctx context.Context, redirect, code string, l pending) (map[string]any, error) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	default:
		return nil, errBusy
	}
	d, err := p.discover(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.client), askTimeout)
	defer cancel()
	t, err := p.config(d, redirect).Exchange(ctx, code, oauth2.VerifierOption(l.Verifier))
	if err != nil {
		return nil, fmt.Errorf("issuer %s gives no token for the code: %w", p.Name, quiet(err))
	}
	raw, _ := t.Extra("id_token").(string)
	if raw == "" || len(raw) > maxIDToken {
		return nil, fmt.Errorf("issuer %s answers with an ID token of %d bytes: it must have 1 to %d", p.Name, len(raw), maxIDToken)
	}
	id, err := d.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, fmt.Errorf("the ID token of issuer %s is not good: %w", p.Name, err)
	}
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return nil, fmt.Errorf("the ID token of issuer %s is not good: %w", p.Name, err)
	}
	if !equal(id.Nonce, l.Nonce) {
		return nil, fmt.Errorf("the ID token of issuer %s is of another login", p.Name)
	}
	if azp, has := claims["azp"]; (has || len(id.Audience) > 1) && azp != p.ClientID {
		return nil, fmt.Errorf("the ID token of issuer %s is for another client", p.Name)
	}
	return claims, nil
}

// quiet leaves out the body of an issuer's answer, which may have the code or
// a token in it.
func quiet(err error) error {
	var e *oauth2.RetrieveError
	if !errors.As(err, &e) {
		return err
	}
	status := "no status"
	if e.Response != nil {
		status = e.Response.Status
	}
	return fmt.Errorf("%s %s", status, strings.ToValidUTF8(shorten(e.ErrorCode+" "+e.ErrorDescription, 200), ""))
}

func shorten(s string, limit int) string {
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
