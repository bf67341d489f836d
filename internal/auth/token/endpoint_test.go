package token_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/auth/login"
	"slipway/internal/auth/policy"
	"slipway/internal/auth/token"
	"slipway/internal/db"
)

// world is everything that a server has of access, put together as it is there.
type world struct {
	t        testing.TB
	clock    *clock
	db       *db.DB
	accounts *account.Accounts
	login    *login.Login
	policy   *policy.Policy
	issuer   *token.Issuer
	endpoint *token.Endpoint
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, clock: newClock()}
	folder := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	w.db, err = db.Open(ctx, filepath.Join(folder, "slipway.db"), db.Options{Now: w.clock.Now})
	must(err)
	t.Cleanup(func() { _ = w.db.Close() })
	generation := auth.NewGeneration(w.db)
	w.accounts, err = account.New(account.Config{DB: w.db, Generation: generation})
	must(err)
	w.policy = policy.New(policy.Config{DB: w.db, Generation: generation, Accounts: w.accounts.Any})
	w.issuer = open(t, folder, w.clock, w.accounts)
	w.login, err = login.New(login.Config{Accounts: w.accounts, Access: w.issuer.Verify, Now: w.clock.Now})
	must(err)
	w.endpoint = token.NewEndpoint(token.EndpointConfig{Issuer: w.issuer, Login: w.login, Accounts: w.accounts, Policy: w.policy, Log: slog.New(slog.DiscardHandler)})

	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	must(err)
	w.update(func(tx *db.Tx) error {
		return account.CreateUser(tx, account.NewUser{Name: "anna", Hash: string(hash), Groups: []string{"dev"}})
	})
	w.rule("group:dev", "pull,push", "team/**")
	w.rule("user:anna", "push", "blind")
	return w
}

func (w *world) update(fn func(*db.Tx) error) {
	w.t.Helper()
	if err := w.db.Update(ctx, fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) rule(subject, actions, repositories string) {
	w.t.Helper()
	r, err := policy.ParseRule(subject, actions, repositories)
	if err != nil {
		w.t.Fatal(err)
	}
	w.update(func(tx *db.Tx) error { _, err := policy.AddRule(tx, r); return err })
}

type reply struct {
	status       int
	header       http.Header
	Token        string `json:"token"`
	AccessToken  string `json:"access_token"`
	ExpiresIn    int    `json:"expires_in"`
	IssuedAt     string `json:"issued_at"`
	RefreshToken string `json:"refresh_token"`
	Scope        string `json:"scope"`
	Error        string `json:"error"`
	Errors       []struct{ Code, Message string }
}

func (w *world) do(r *http.Request) (a reply) {
	w.t.Helper()
	r.RemoteAddr = "192.0.2.1:1234"
	answer := httptest.NewRecorder()
	w.endpoint.ServeHTTP(answer, r)
	a.status, a.header = answer.Code, answer.Header()
	if err := json.Unmarshal(answer.Body.Bytes(), &a); err != nil {
		w.t.Fatalf("%d %s: %v", answer.Code, answer.Body, err)
	}
	if a.header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		w.t.Errorf("header %v", a.header)
	}
	return a
}

func (w *world) get(user, password, query string) reply {
	w.t.Helper()
	r := httptest.NewRequest("GET", "/token?"+query, nil)
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	return w.do(r)
}

func (w *world) post(form url.Values) reply {
	w.t.Helper()
	r := httptest.NewRequest("POST", "/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return w.do(r)
}

// use is what the bearer of a token may do, as a server finds out.
func (w *world) use(raw string, action auth.Action, repository string) error {
	r := httptest.NewRequest("GET", "/v2/", nil)
	r.RemoteAddr = "192.0.2.1:1234"
	r.Header.Set("Authorization", "Bearer "+raw)
	i, err := w.login.Request(r)
	if err != nil {
		return err
	}
	return w.policy.Decide(ctx, i, action, repository).Err()
}

func TestGrantedIsWhatIsAllowed(t *testing.T) {
	w := newWorld(t)
	w.rule("anyone", "pull", "public/*")
	robot := account.NewSecret(account.PrefixPersonal)
	scopes, err := auth.ParseScopes([]string{"pull:team/**"})
	if err != nil {
		t.Fatal(err)
	}
	w.update(func(tx *db.Tx) error {
		_, err := account.CreateToken(tx, account.NewToken{OwnerKind: auth.KindUser, Owner: "anna", Name: "narrow", Scopes: scopes, Secret: robot})
		return err
	})
	for _, c := range []struct{ user, password, query, want string }{
		{"anna", "right", "", ""},
		{"anna", "right", "service=registry.test&account=anna&client_id=docker&scope=repository:team/app:pull,push", "repository:team/app:pull,push"},
		{"anna", "right", "scope=repository:team/app:push", "repository:team/app:pull,push"},
		{"anna", "right", "scope=repository:blind:push,pull", "repository:blind:push"},
		{"anna", "right", "scope=repository:team/app:*", "repository:team/app:pull,push"},
		{"anna", "right", "scope=repository:team/app:pull,push,delete,admin", "repository:team/app:pull,push"},
		{"anna", "right", "scope=repository:team/a:pull&scope=repository:team/b:push,pull&scope=repository:secret:pull", "repository:team/a:pull repository:team/b:pull,push"},
		{"anna", "right", "scope=repository:team/a:pull+repository:public/x:pull,push", "repository:team/a:pull repository:public/x:pull"},
		{"anna", "right", "scope=registry:catalog:*&scope=server:x:pull&scope=nonsense", "registry:catalog:*"},
		{"anna", "right", "scope=repository(plugin):team/p:pull", "repository(plugin):team/p:pull"},
		{"anna", robot.Reveal(), "scope=repository:team/app:pull,push&scope=repository:public/x:pull", "repository:team/app:pull"},
		{"token", robot.Reveal(), "scope=repository:team/app:push", "repository:team/app:pull"},
		{"", "", "scope=repository:public/x:pull,push&scope=repository:team/app:pull", "repository:public/x:pull"},
		{"", "", "scope=registry:catalog:*", "registry:catalog:*"},
	} {
		a := w.get(c.user, c.password, c.query)
		if a.status != http.StatusOK || a.Scope != c.want || a.Token == "" || a.Token != a.AccessToken || a.ExpiresIn != 300 || a.IssuedAt != "2026-11-25T12:00:00Z" || a.RefreshToken != "" {
			t.Errorf("%s %s: %+v, want %s", c.user, c.query, a, c.want)
			continue
		}
		// The token does what its scope says, and no more.
		for _, repository := range []string{"team/app", "public/x", "secret", "blind"} {
			for _, action := range auth.Grantable {
				granted := false
				for _, r := range token.ParseResources([]string{a.Scope}) {
					granted = granted || (r.Name == repository && strings.Contains(","+strings.Join(r.Actions, ",")+",", ","+string(action)+","))
				}
				if err := w.use(a.Token, action, repository); (err == nil) != granted {
					t.Errorf("%s %s: %s in %s: %v", c.user, c.query, action, repository, err)
				}
			}
		}
	}
}

func TestATokenIsNeverMoreThanThePolicyAtItsUse(t *testing.T) {
	w := newWorld(t)
	raw := w.get("anna", "right", "scope=repository:team/app:pull,push").Token
	if err := w.use(raw, auth.Push, "team/app"); err != nil {
		t.Fatal(err)
	}
	w.update(func(tx *db.Tx) error { return account.SetGroups(tx, "anna", nil) })
	if err := w.use(raw, auth.Push, "team/app"); err == nil {
		t.Error("a user who left the group still pushes")
	}
	w.update(func(tx *db.Tx) error { return account.SetGroups(tx, "anna", []string{"admins"}) })
	if err := w.use(raw, auth.Delete, "team/app"); err == nil {
		t.Error("a token grew with its user")
	}
	if err := w.use(raw, auth.Push, "team/app"); err != nil {
		t.Error(err)
	}
	w.update(func(tx *db.Tx) error { return account.SetUserDisabled(tx, "anna", true) })
	if err := w.use(raw, auth.Pull, "team/app"); err == nil {
		t.Error("a user who is disabled still pulls")
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	raw := w.get("anna", "right", "scope=repository:team/app:pull").Token
	for name, c := range map[string]struct {
		answer reply
		status int
		code   string
	}{
		"wrong password":                {w.get("anna", "wrong", "scope=repository:team/app:pull"), 401, "UNAUTHORIZED"},
		"nobody, where nothing is open": {w.get("", "", "scope=repository:team/app:pull"), 401, "UNAUTHORIZED"},
		"another service":               {w.get("anna", "right", "service=other.test"), 400, ""},
		"two services":                  {w.get("anna", "right", "service=registry.test&service=other.test"), 400, ""},
		"PUT":                           {w.do(httptest.NewRequest("PUT", "/token", nil)), 405, "UNSUPPORTED"},
		"JSON":                          {w.do(httptest.NewRequest("POST", "/token", strings.NewReader(`{"grant_type":"password"}`))), 400, ""},
		"no grant":                      {w.post(url.Values{}), 400, ""},
		"another grant":                 {w.post(url.Values{"grant_type": {"client_credentials"}}), 400, ""},
		"form, wrong password":          {w.post(url.Values{"grant_type": {"password"}, "username": {"anna"}, "password": {"wrong2"}}), 401, "UNAUTHORIZED"},
		"form, another service":         {w.post(url.Values{"grant_type": {"password"}, "username": {"anna"}, "password": {"right"}, "service": {"x"}}), 400, ""},
		"form, no refresh token":        {w.post(url.Values{"grant_type": {"refresh_token"}}), 401, "UNAUTHORIZED"},
		"form, forged refresh token":    {w.post(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {account.NewSecret(account.PrefixRefresh).Reveal()}}), 401, "UNAUTHORIZED"},
		"form, an access token":         {w.post(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {raw}}), 401, "UNAUTHORIZED"},
		"a form as long as a book":      {w.post(url.Values{"grant_type": {"password"}, "x": {strings.Repeat("a", 1<<20)}}), 400, ""},
	} {
		if c.answer.status != c.status || len(c.answer.Errors) != 1 || c.answer.Errors[0].Message == "" || (c.code != "" && c.answer.Errors[0].Code != c.code) || c.answer.Error == "" || c.answer.Token != "" {
			t.Errorf("%s: %+v", name, c.answer)
		}
	}
	if a := w.get("anna", "wrong", ""); a.header.Get("WWW-Authenticate") != `Basic realm="Slipway",charset="UTF-8"` {
		t.Errorf("header %v", a.header)
	}
	// A token is not exchanged for a wider or a younger one.
	r := httptest.NewRequest("GET", "/token?scope=repository:team/app:push", nil)
	r.Header.Set("Authorization", "Bearer "+raw)
	if a := w.do(r); a.status != http.StatusForbidden || a.Token != "" {
		t.Errorf("exchange: %+v", a)
	}
	var limited reply
	for n := range 20 {
		if limited = w.get("anna", fmt.Sprint("guess ", n), ""); limited.status == http.StatusTooManyRequests {
			break
		}
	}
	if limited.status != http.StatusTooManyRequests || limited.header.Get("Retry-After") != "1" || limited.Errors[0].Code != "TOOMANYREQUESTS" {
		t.Errorf("after many guesses: %+v", limited)
	}
}

func TestRefreshTokens(t *testing.T) {
	w := newWorld(t)
	for name, a := range map[string]reply{
		"GET":  w.get("anna", "right", "offline_token=true&client_id=docker&service=registry.test"),
		"POST": w.post(url.Values{"grant_type": {"password"}, "username": {"anna"}, "password": {"right"}, "access_type": {"offline"}, "client_id": {"docker"}, "service": {"registry.test"}}),
	} {
		if a.status != http.StatusOK || !strings.HasPrefix(a.RefreshToken, "slipway_refresh_") {
			t.Fatalf("%s: %+v", name, a)
		}
		again := w.post(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {a.RefreshToken}, "service": {"registry.test"}, "scope": {"repository:team/app:pull,push repository:secret:pull"}, "access_type": {"offline"}})
		if again.status != http.StatusOK || again.Scope != "repository:team/app:pull,push" || again.RefreshToken != "" || w.use(again.Token, auth.Push, "team/app") != nil {
			t.Errorf("%s: %+v", name, again)
		}
		if err := w.use(a.RefreshToken, auth.Pull, "team/app"); err == nil {
			t.Errorf("%s: a refresh token is an access token", name)
		}
	}
	kept := w.get("anna", "right", "offline_token=true").RefreshToken
	w.update(func(tx *db.Tx) error { return account.SetUserDisabled(tx, "anna", true) })
	if a := w.post(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {kept}}); a.status != http.StatusUnauthorized {
		t.Errorf("of a user who is disabled: %+v", a)
	}
	w.rule("anyone", "pull", "public/*")
	if a := w.get("", "", "offline_token=true"); a.status != http.StatusOK || a.RefreshToken != "" {
		t.Errorf("for nobody: %+v", a)
	}
}

func TestCanonicalNames(t *testing.T) {
	w := newWorld(t)
	c := w.endpoint.EndpointConfig
	c.Canonical = func(repository string) (string, error) {
		if repository == "bad" {
			return "", context.Canceled
		}
		return "team/" + repository, nil
	}
	w.endpoint = token.NewEndpoint(c)
	if a := w.get("anna", "right", "scope=repository:app:pull&scope=repository:bad:pull"); a.Scope != "repository:team/app:pull" {
		t.Errorf("%+v", a)
	}
}
