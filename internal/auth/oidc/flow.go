package oidc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"slipway/internal/audit"
	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/db"
)

// Config of New. Providers, Public, DB and Accounts are required.
type Config struct {
	Providers []Provider
	// Public is the address of this server as browsers have it, which the
	// issuers send them back to: https, or on a loopback address http.
	Public   *url.URL
	DB       *db.DB
	Accounts *account.Accounts
	// TokenLife is how long after a login the tokens of a person end, at the
	// latest. Default: 30 days.
	TokenLife time.Duration
	// Origin and Address are what a request was sent to, as https://HOST, and
	// where it comes from. Default: as its connection has it.
	Origin  func(*http.Request) string
	Address func(*http.Request) netip.Addr
	// Refused is told of logins that failed, for the audit log. It must not
	// block.
	Refused func(audit.Entry)
	Now     func() time.Time // default: the system's clock
	Log     *slog.Logger     // default: discards
}

// DefaultTokenLife is that of Config.
const DefaultTokenLife = 30 * 24 * time.Hour

// People lets people in. Safe for concurrent use.
type People struct {
	Config
	providers map[string]*provider
	seal      *seal
	pages     *pages
	mux       *http.ServeMux
}

// New checks the configuration. No issuer is asked before somebody logs in.
func New(c Config) (*People, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	p := &People{Config: c, providers: map[string]*provider{}, mux: http.NewServeMux()}
	for _, one := range c.Providers {
		if p.providers[one.Name] != nil {
			return nil, fmt.Errorf("issuer %s is there twice", one.Name)
		}
		made, err := newProvider(one, c.Now)
		if err != nil {
			return nil, err
		}
		p.providers[one.Name] = made
	}
	var err error
	if p.seal, err = newSeal(); err != nil {
		return nil, err
	}
	if p.pages, err = newPages(); err != nil {
		return nil, err
	}
	p.mux.HandleFunc("GET /oidc/{$}", p.choose)
	p.mux.HandleFunc("GET /oidc/{name}/login", p.login)
	p.mux.HandleFunc("GET /oidc/{name}/callback", p.callback)
	return p, nil
}

func (c *Config) complete() error {
	if c.Public == nil || c.DB == nil || c.Accounts == nil {
		return errors.New("logins of people need the public address of this server: set external-url")
	}
	host := c.Public.Hostname()
	at, _ := netip.ParseAddr(host)
	if c.Public.Scheme != "https" && host != "localhost" && !at.IsLoopback() {
		return fmt.Errorf("logins of people end with a token on a page, which %s would send in the clear: set external-url to an https address", c.Public)
	}
	if c.TokenLife == 0 {
		c.TokenLife = DefaultTokenLife
	}
	if c.Origin == nil {
		c.Origin = func(r *http.Request) string {
			if r.TLS != nil {
				return "https://" + r.Host
			}
			return "http://" + r.Host
		}
	}
	if c.Address == nil {
		c.Address = func(r *http.Request) netip.Addr { return auth.RemoteAddress(r.RemoteAddr) }
	}
	if c.Refused == nil {
		c.Refused = func(audit.Entry) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// ServeHTTP implements http.Handler for all below /oidc/.
func (p *People) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead { // ServeMux takes it for GET, and it must not use up a login
		w.Header().Set("Allow", http.MethodGet)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	p.pages.head(w)
	p.mux.ServeHTTP(w, r)
}

// URL is the address at which people log in at an issuer.
func (p *People) URL(name string) string { return p.Public.JoinPath("oidc", name, "login").String() }

func (p *People) redirect(name string) string {
	return p.Public.JoinPath("oidc", name, "callback").String()
}

func (p *People) choose(w http.ResponseWriter, _ *http.Request) {
	var list []string
	for _, one := range p.Providers {
		list = append(list, one.Name)
	}
	p.pages.choose(w, list)
}

// provider finds the issuer that a request names, or answers.
func (p *People) provider(w http.ResponseWriter, r *http.Request) *provider {
	one := p.providers[r.PathValue("name")]
	if one == nil {
		p.pages.failed(w, http.StatusNotFound, "This server knows no issuer of that name.", "")
	}
	return one
}

const (
	cookieName = "slipway-oidc"
	moved      = "moved" // a query: the browser was sent here already
)

// cookie is one that the browser gives to nobody else. With the prefix __Host-
// it takes it from nobody else either, which it offers for https only.
func (p *People) cookie(value string, age time.Duration) *http.Cookie {
	c := &http.Cookie{Name: cookieName, Value: value, Path: "/oidc/", HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(age / time.Second)}
	if p.Public.Scheme == "https" {
		c.Name, c.Path, c.Secure = "__Host-"+cookieName, "/", true
	}
	if age < 0 {
		c.MaxAge = -1
	}
	return c
}

func (p *People) login(w http.ResponseWriter, r *http.Request) {
	one := p.provider(w, r)
	if one == nil {
		return
	}
	// The cookie has to be there when the issuer sends the browser back to
	// the public address, and browsers take one for https over https
	// only.
	if !sameOrigin(p.Origin(r), p.Public) && !r.URL.Query().Has(moved) {
		http.Redirect(w, r, p.URL(one.Name)+"?"+moved, http.StatusFound)
		return
	}
	d, err := one.discover(r.Context())
	if err != nil {
		p.failed(w, r, one, fmt.Errorf("%w: %w", errIssuer, err))
		return
	}
	l, cookie, err := p.seal.begin(one.Name, p.Now())
	if err != nil {
		p.failed(w, r, one, err)
		return
	}
	http.SetCookie(w, p.cookie(cookie, loginTakes))
	to := one.config(d, p.redirect(one.Name)).AuthCodeURL(l.State, oidc.Nonce(l.Nonce), oauth2.S256ChallengeOption(l.Verifier))
	http.Redirect(w, r, to, http.StatusFound)
}

// sameOrigin compares what a request was sent to with an address. Either may
// have the port of its scheme.
func sameOrigin(origin string, u *url.URL) bool {
	standard := map[string]string{"https": ":443", "http": ":80"}[u.Scheme]
	return strings.EqualFold(strings.TrimSuffix(origin, standard), strings.TrimSuffix(u.Scheme+"://"+u.Host, standard))
}

func (p *People) callback(w http.ResponseWriter, r *http.Request) {
	one := p.provider(w, r)
	if one == nil {
		return
	}
	claims, err := p.answer(r, one)
	if !errors.Is(err, errState) && !errors.Is(err, errNoCookie) { // what others send a browser to ends no login
		http.SetCookie(w, p.cookie("", -1))
	}
	if err != nil {
		p.failed(w, r, one, err)
		return
	}
	who, err := one.person(claims)
	if err != nil {
		p.failed(w, r, one, refusal{err})
		return
	}
	in, err := p.keep(r, one, who)
	if err != nil {
		p.failed(w, r, one, err)
		return
	}
	p.Log.Info("a person has logged in", "issuer", one.Name, "user", in.User, "groups", len(who.Groups))
	p.pages.welcome(w, in)
}

// What went wrong with an issuer, or is refused; anything else is a failure of
// this server.
var errIssuer = errors.New("the issuer cannot be asked")

// refusal is what the person is told as it is.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// answer is what the issuer says of who comes back to the callback.
func (p *People) answer(r *http.Request, one *provider) (map[string]any, error) {
	q := r.URL.Query()
	cookie, err := r.Cookie(p.cookie("", 0).Name)
	if err != nil {
		return nil, refusal{errNoCookie}
	}
	l, err := p.seal.end(one.Name, cookie.Value, q.Get("state"), p.Now())
	if err != nil {
		return nil, refusal{err}
	}
	if iss := q.Get("iss"); iss != "" && iss != one.URL { // RFC 9207
		return nil, refusal{fmt.Errorf("the answer is from another issuer than %s", one.Name)}
	}
	if code := q.Get("error"); code != "" {
		return nil, refusal{fmt.Errorf("issuer %s says: %s %s", one.Name, shorten(code, 60), shorten(q.Get("error_description"), 200))}
	}
	claims, err := one.exchange(r.Context(), p.redirect(one.Name), q.Get("code"), l)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errIssuer, err)
	}
	return claims, nil
}

// welcome is what a login ends with.
type welcome struct {
	User, Issuer string
	Host         string
	Groups       []string
	Token        string
	TokenName    string
	Expires      time.Time
}

// keep makes the user and the token, and writes down that it did.
func (p *People) keep(r *http.Request, one *provider, who account.Person) (welcome, error) {
	ctx := r.Context()
	if err := p.free(ctx, who); err != nil {
		return welcome{}, err
	}
	secret := account.NewSecret(account.PrefixPersonal)
	in := welcome{Issuer: one.Name, Host: p.Public.Host, Groups: who.Groups, Token: secret.Reveal()}
	err := p.DB.Update(ctx, func(tx *db.Tx) error {
		who.TokensUntil = tx.Now() + p.TokenLife.Milliseconds()
		k, err := account.KeepPerson(tx, who)
		if err != nil {
			return err
		}
		t, err := account.LoginToken(tx, k.Name, secret)
		if err != nil {
			return err
		}
		in.User, in.TokenName, in.Expires = k.Name, t.Name, time.UnixMilli(t.Expires).UTC()
		return p.record(tx, r, one, k, t, who)
	})
	return in, err
}

// free refuses the name of a user of the htpasswd file, whom a user of the
// database would hide.
func (p *People) free(ctx context.Context, who account.Person) error {
	_, found, err := account.PersonNamed(p.DB.Read(ctx), who.Issuer, who.Subject)
	if err != nil || found {
		return err
	}
	_, taken, err := p.Accounts.Password(ctx, who.Name)
	if err == nil && taken {
		err = fmt.Errorf("user %s logs in with a password here, and is somebody else: %w", who.Name, account.ErrExists)
	}
	return err
}

func (p *People) record(tx *db.Tx, r *http.Request, one *provider, k account.Kept, t account.Token, who account.Person) error {
	user := "user:" + k.Name
	groups := "groups: " + strings.Join(who.Groups, ", ")
	if len(who.Groups) == 0 {
		groups = "no groups"
	}
	entries := []audit.Entry{
		{Action: "login", Subject: user, Reason: "at issuer " + one.Name + " as " + who.Subject},
		{Action: "token.create", Subject: fmt.Sprintf("token %d (%s) of %s", t.ID, t.Name, user), Reason: "by a login at issuer " + one.Name},
	}
	if k.Made {
		entries = append(entries, audit.Entry{Action: "user.create", Subject: user, Reason: "by a login at issuer " + one.Name + "; " + groups})
	} else if k.Regroup {
		entries = append(entries, audit.Entry{Action: "user.groups", Subject: user, Reason: "by issuer " + one.Name + "; " + groups})
	}
	for _, e := range entries {
		e.Actor, e.Address, e.Outcome = user, p.Address(r).String(), audit.Allowed
		if err := audit.Append(tx, e); err != nil {
			return err
		}
	}
	return nil
}

// failed answers a login that does not go on, and writes it down.
func (p *People) failed(w http.ResponseWriter, r *http.Request, one *provider, err error) {
	status, text := http.StatusInternalServerError, "This server failed; its log says why."
	var refused refusal
	switch {
	case errors.As(err, &refused):
		status, text = http.StatusForbidden, sentence(refused.Error())
	case errors.Is(err, account.ErrExists), errors.Is(err, account.ErrRefused), errors.Is(err, account.ErrInvalid):
		status, text = http.StatusForbidden, sentence(err.Error())+" Ask an administrator of this server."
	case errors.Is(err, errBusy):
		status, text = http.StatusServiceUnavailable, "Many others are logging in: try again in some seconds."
		w.Header().Set("Retry-After", "5")
	case errors.Is(err, errIssuer):
		status, text = http.StatusBadGateway, "Issuer "+one.Name+" cannot be asked, or does not vouch for this login; the log of this server says why."
	}
	if status >= http.StatusInternalServerError {
		p.Log.Error("a login at an issuer failed", "issuer", one.Name, "err", err)
	}
	p.Refused(audit.Entry{Actor: auth.Identity{}.Actor(), Address: p.Address(r).String(), Action: "login", Subject: "issuer " + one.Name, Outcome: audit.Refused, Reason: err.Error()})
	p.pages.failed(w, status, text, one.Name)
}

// sentence makes one of an error, for a page.
func sentence(s string) string {
	return strings.ToUpper(s[:1]) + s[1:] + "."
}
