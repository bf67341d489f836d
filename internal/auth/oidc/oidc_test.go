package oidc_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"slipway/internal/audit"
	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/auth/oidc"
	"slipway/internal/auth/oidc/oidctest"
	"slipway/internal/db"
)

var ctx = context.Background()

// world is an issuer, a server that trusts it, and a clock that the test moves.
type world struct {
	t        *testing.T
	issuer   *oidctest.Issuer
	server   *httptest.Server
	people   *oidc.People
	db       *db.DB
	accounts *account.Accounts
	log      bytes.Buffer

	mu      sync.Mutex
	at      time.Time
	refused []audit.Entry
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

// keycloak is the issuer as most of the tests have it.
func keycloak(i *oidctest.Issuer) oidc.Provider {
	return oidc.Provider{
		Name: "keycloak", URL: i.URL, ClientID: oidctest.ClientID, ClientSecret: oidctest.ClientSecret, Transport: i.Client().Transport,
		GroupsClaim: "groups", AdminGroups: []string{"registry-admins"},
	}
}

func newWorld(t *testing.T, change func(*oidc.Provider)) *world {
	t.Helper()
	w := &world{t: t, issuer: oidctest.New(t), at: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	w.issuer.SetNow(w.now)
	var err error
	if w.db, err = db.Open(ctx, filepath.Join(t.TempDir(), "slipway.db"), db.Options{Now: w.now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.db.Close(); err != nil {
			t.Error(err)
		}
	})
	file := filepath.Join(t.TempDir(), "htpasswd")
	hash, err := bcrypt.GenerateFromPassword([]byte("a password"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("filed:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if w.accounts, err = account.New(account.Config{DB: w.db, Htpasswd: file}); err != nil {
		t.Fatal(err)
	}
	p := keycloak(w.issuer)
	if change != nil {
		change(&p)
	}
	w.server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.people.ServeHTTP(rw, r) }))
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	public, err := url.Parse(w.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if w.people, err = oidc.New(oidc.Config{
		Providers: []oidc.Provider{p}, Public: public, DB: w.db, Accounts: w.accounts, Now: w.now, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
		Refused: func(e audit.Entry) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.refused = append(w.refused, e)
		},
	}); err != nil {
		t.Fatal(err)
	}
	return w
}

func anna() oidctest.Claims {
	return oidctest.Claims{"sub": "f81d4fae", "preferred_username": "anna", "email": "anna@example.org", "groups": []string{"dev", "admins", "htpasswd", "Domain Users"}}
}

// browser keeps cookies and follows redirects; last is where it ends.
func (w *world) browser() *http.Client {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(w.issuer.Certificate())
	pool.AddCert(w.server.Certificate())
	t := w.server.Client().Transport.(*http.Transport).Clone()
	t.TLSClientConfig.RootCAs = pool
	return &http.Client{Jar: jar, Transport: t}
}

type page struct {
	status int
	body   string
	header http.Header
	url    *url.URL
}

var personalToken = regexp.MustCompile(`slipway_pat_[a-z2-7]{59}`)

func (p page) token() string { return personalToken.FindString(p.body) }

func (w *world) get(c *http.Client, address string) page {
	w.t.Helper()
	resp, err := c.Get(address)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return page{resp.StatusCode, string(body), resp.Header, resp.Request.URL}
}

func (w *world) login(c *http.Client) page {
	w.t.Helper()
	return w.get(c, w.server.URL+"/oidc/keycloak/login")
}

// comesBack is the address of the callback that a login leads to, not asked for
// yet.
func (w *world) comesBack(c *http.Client) string {
	w.t.Helper()
	held := *c
	held.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasSuffix(r.URL.Path, "/callback") {
			return http.ErrUseLastResponse
		}
		return nil
	}
	p := w.login(&held)
	to := p.header.Get("Location")
	if !strings.Contains(to, "/callback?") {
		w.t.Fatalf("no way back: %d %s %s", p.status, to, p.body)
	}
	return to
}

func (w *world) who(token string) (auth.Identity, error) { return w.accounts.BySecret(ctx, token) }

func (w *world) refusals() []audit.Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.refused)
}

func (w *world) audit() (list []string) {
	w.t.Helper()
	if err := w.db.Read(ctx).Each(`SELECT actor, action, subject, outcome FROM audit ORDER BY id`, nil, func(scan func(...any) error) error {
		var actor, action, subject, outcome string
		err := scan(&actor, &action, &subject, &outcome)
		list = append(list, actor+" "+action+" "+subject+" "+outcome)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return list
}

func TestAPersonLogsIn(t *testing.T) {
	w := newWorld(t, nil)
	w.issuer.SetPerson(anna())
	p := w.login(w.browser())
	if p.status != http.StatusOK || p.token() == "" || !strings.Contains(p.body, "You are anna") || !strings.Contains(p.body, "docker login "+strings.TrimPrefix(w.server.URL, "https://")+" --username anna") {
		t.Fatalf("%d %s", p.status, p.body)
	}
	i, err := w.who(p.token())
	if err != nil || i.Actor() != "user:anna" || !slices.Equal(i.Groups, []string{"dev"}) {
		t.Errorf("%+v, %v", i, err)
	}
	if strings.Contains(w.log.String(), p.token()) {
		t.Error("the token is in the log")
	}
	want := []string{
		"user:anna login user:anna allowed", "user:anna token.create token 1 (login 2026-11-25) of user:anna allowed", "user:anna user.create user:anna allowed",
	}
	if got := w.audit(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	// It cannot be guessed from the database, and has no password to guess.
	if _, ok, err := w.accounts.Password(ctx, "anna"); ok || err != nil {
		t.Errorf("anna has a password: %v", err)
	}

	// Again, with other groups and another name there: it is the same user.
	claims := anna()
	claims["groups"], claims["preferred_username"] = []string{"registry-admins", "ops"}, "anna.married"
	w.issuer.SetPerson(claims)
	again := w.login(w.browser())
	if again.token() == "" || again.token() == p.token() || !strings.Contains(again.body, "login 2026-11-25 (2)") {
		t.Fatalf("%d %s", again.status, again.body)
	}
	for _, token := range []string{p.token(), again.token()} {
		if i, err := w.who(token); err != nil || i.Name != "anna" || !slices.Equal(i.Groups, []string{"admins", "ops", "registry-admins"}) || !i.IsAdmin() {
			t.Errorf("%+v, %v", i, err)
		}
	}
	// And is no administrator when the issuer says so no more.
	claims["groups"] = nil
	w.login(w.browser())
	if i, err := w.who(p.token()); err != nil || i.IsAdmin() || len(i.Groups) > 0 {
		t.Errorf("%+v, %v", i, err)
	}
	// Thirty days after the first login its token ends.
	w.pass(oidc.DefaultTokenLife)
	if _, err := w.who(p.token()); err == nil {
		t.Error("the token outlasts what the issuer said")
	}
}

func TestThePageIsSafe(t *testing.T) {
	w := newWorld(t, nil)
	w.issuer.SetPerson(anna())
	c := w.browser()
	back := w.comesBack(c)
	cookies := c.Jar.Cookies(w.people.Public)
	if len(cookies) != 1 || cookies[0].Name != "__Host-slipway-oidc" {
		t.Fatalf("cookies: %v", cookies)
	}
	for _, p := range []page{w.get(c, back), w.get(c, w.server.URL+"/oidc/"), w.get(c, back), w.get(c, w.server.URL+"/oidc/nobody/login")} {
		policy := p.header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") ||
			p.header.Get("Cache-Control") != "no-store" || p.header.Get("Referrer-Policy") != "no-referrer" || p.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", p.url, p.header)
		}
		if strings.Contains(p.body, "<script") || strings.Contains(p.body, "<form") || strings.Contains(p.body, "ZgotmplZ") {
			t.Errorf("%s", p.body)
		}
	}
	if left := c.Jar.Cookies(w.people.Public); len(left) != 0 {
		t.Errorf("the cookie stays: %v", left)
	}
	// What the issuer says is text.
	w.issuer.SetPerson(nil)
	if p := w.login(c); p.status != http.StatusForbidden || strings.Contains(p.body, "<b>") || !strings.Contains(p.body, "access_denied") || !strings.Contains(p.body, "Begin again") {
		t.Errorf("%d %s", p.status, p.body)
	}
}

func TestTheCookie(t *testing.T) {
	w := newWorld(t, nil)
	rec := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, w.server.URL+"/oidc/keycloak/login", nil)
	w.people.ServeHTTP(rec, r)
	c := rec.Result().Cookies()
	if len(c) != 1 || !c[0].HttpOnly || !c[0].Secure || c[0].SameSite != http.SameSiteLaxMode || c[0].Path != "/" || c[0].Domain != "" || c[0].MaxAge <= 0 || c[0].MaxAge > 3600 {
		t.Errorf("%+v", c)
	}
	// By another name the browser is first sent to the public one, once.
	for _, step := range []struct{ address, to string }{
		{"https://alias.test/oidc/keycloak/login", w.server.URL + "/oidc/keycloak/login?moved"},
		{"https://alias.test/oidc/keycloak/login?moved", w.issuer.URL + "/authorize?"},
	} {
		rec := httptest.NewRecorder()
		w.people.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, step.address, nil))
		if to := rec.Header().Get("Location"); !strings.HasPrefix(to, step.to) {
			t.Errorf("%s leads to %s", step.address, to)
		}
	}
	plain := httptest.NewRecorder()
	w.people.ServeHTTP(plain, httptest.NewRequest(http.MethodGet, "http://"+w.people.Public.Host+"/oidc/keycloak/login", nil))
	if to := plain.Header().Get("Location"); to != w.server.URL+"/oidc/keycloak/login?moved" || len(plain.Result().Cookies()) > 0 {
		t.Errorf("over plain HTTP it leads to %s, with %v", to, plain.Result().Cookies())
	}
	// A look at the headers uses nothing up.
	b := w.browser()
	w.issuer.SetPerson(anna())
	back := w.comesBack(b)
	if resp, err := b.Head(back); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("HEAD: %v %v", resp, err)
	}
	if p := w.get(b, back); p.token() == "" {
		t.Errorf("%d %s", p.status, p.body)
	}
}

// TestLoginsThatAreNot are what others may send somebody's browser to.
func TestLoginsThatAreNot(t *testing.T) {
	w := newWorld(t, nil)
	w.issuer.SetPerson(anna())
	change := func(address, name, value string) string {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set(name, value)
		u.RawQuery = q.Encode()
		return u.String()
	}
	for name, try := range map[string]func() page{
		"the browser of another": func() page { return w.get(w.browser(), w.comesBack(w.browser())) },
		"a browser with another login": func() page {
			mallory, victim := w.browser(), w.browser()
			back := w.comesBack(mallory)
			w.comesBack(victim)
			return w.get(victim, back)
		},
		"no state, which ends no login": func() page {
			b := w.browser()
			back := w.comesBack(b)
			p := w.get(b, change(back, "state", ""))
			if p := w.get(b, back); p.token() == "" {
				t.Errorf("the login that was under way: %d %s", p.status, p.body)
			}
			return p
		},
		"another state": func() page {
			b := w.browser()
			return w.get(b, change(w.comesBack(b), "state", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
		},
		"the state again": func() page {
			b := w.browser()
			back := w.comesBack(b)
			cookies := b.Jar.Cookies(w.people.Public)
			if p := w.get(b, back); p.token() == "" {
				t.Errorf("the first time: %d %s", p.status, p.body)
			}
			b.Jar.SetCookies(w.people.Public, []*http.Cookie{{Name: cookies[0].Name, Value: cookies[0].Value, Path: "/", Secure: true}})
			return w.get(b, back)
		},
		"a cookie that was changed": func() page {
			b := w.browser()
			back := w.comesBack(b)
			c := b.Jar.Cookies(w.people.Public)[0]
			b.Jar.SetCookies(w.people.Public, []*http.Cookie{{Name: c.Name, Value: "A" + c.Value[1:], Path: "/", Secure: true}})
			return w.get(b, back)
		},
		"too late": func() page {
			b := w.browser()
			back := w.comesBack(b)
			w.pass(16 * time.Minute)
			return w.get(b, back)
		},
		"another issuer's answer": func() page {
			b := w.browser()
			return w.get(b, change(w.comesBack(b), "iss", "https://evil.test"))
		},
		"another's code": func() page { // whose verifier and nonce are in another cookie
			mallory, victim := w.browser(), w.browser()
			u, err := url.Parse(w.comesBack(mallory))
			if err != nil {
				t.Fatal(err)
			}
			return w.get(victim, change(w.comesBack(victim), "code", u.Query().Get("code")))
		},
		"a code that was used": func() page {
			b, other := w.browser(), w.browser()
			back := w.comesBack(b)
			w.get(b, back)
			u, err := url.Parse(back)
			if err != nil {
				t.Fatal(err)
			}
			return w.get(other, change(w.comesBack(other), "code", u.Query().Get("code")))
		},
		"no code": func() page { b := w.browser(); return w.get(b, change(w.comesBack(b), "code", "")) },
	} {
		before := len(w.refusals())
		p := try()
		want := http.StatusForbidden
		if slices.Contains([]string{"another's code", "a code that was used", "no code"}, name) { // which the issuer finds out
			want = http.StatusBadGateway
		}
		if p.token() != "" || p.status != want {
			t.Errorf("%s: %d %s, want %d", name, p.status, p.body, want)
		}
		if all := w.refusals(); len(all) != before+1 || all[before].Outcome != audit.Refused || all[before].Action != "login" || all[before].Reason == "" {
			t.Errorf("%s: written down as %+v", name, all[before:])
		}
	}
}
