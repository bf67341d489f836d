package oidc_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/auth/oidc"
	"slipway/internal/auth/oidc/oidctest"
	"slipway/internal/db"
)

// notIn ends the test unless a login is refused, with a status.
func (w *world) notIn(what string, status int) page {
	w.t.Helper()
	p := w.login(w.browser())
	if p.status != status || p.token() != "" {
		w.t.Errorf("%s: %d %s, want %d", what, p.status, p.body, status)
	}
	return p
}

func (w *world) isIn(what string) {
	w.t.Helper()
	if p := w.login(w.browser()); p.status != http.StatusOK || p.token() == "" {
		w.t.Errorf("%s: %d %s\n%s", what, p.status, p.body, w.log.String())
	}
}

func TestIDTokensThatAreNotGood(t *testing.T) {
	w := newWorld(t, nil)
	w.issuer.SetPerson(anna())
	for what, change := range map[string]func(oidctest.Claims){
		"another audience":      func(c oidctest.Claims) { c["aud"] = "other" },
		"several audiences":     func(c oidctest.Claims) { c["aud"] = []string{"other", oidctest.ClientID} }, // and nothing says who it is for
		"for another client":    func(c oidctest.Claims) { c["azp"] = "other" },
		"another issuer":        func(c oidctest.Claims) { c["iss"] = "https://other.test" },
		"expired":               func(c oidctest.Claims) { c["exp"] = w.now().Add(-time.Second).Unix() },
		"no expiry":             func(c oidctest.Claims) { c["exp"] = nil },
		"not before an hour":    func(c oidctest.Claims) { c["nbf"] = w.now().Add(time.Hour).Unix() },
		"another nonce":         func(c oidctest.Claims) { c["nonce"] = "n-0S6_WzA2Mj" },
		"no nonce":              func(c oidctest.Claims) { delete(c, "nonce") },
		"as long as a book":     func(c oidctest.Claims) { c["x"] = strings.Repeat("a", 100<<10) },
		"longer than an answer": func(c oidctest.Claims) { c["x"] = strings.Repeat("a", 2<<20) },
	} {
		w.issuer.Change(change)
		w.notIn(what, http.StatusBadGateway)
	}
	w.issuer.Change(func(c oidctest.Claims) { c["aud"], c["azp"] = []string{"other", oidctest.ClientID}, oidctest.ClientID })
	w.isIn("several audiences, for this client")
	w.issuer.Change(func(c oidctest.Claims) { c["nbf"] = w.now().Add(time.Minute).Unix() })
	w.isIn("a clock that is a minute ahead")
}

// TestForgedIDTokens are what somebody at the token endpoint's place could say.
func TestForgedIDTokens(t *testing.T) {
	w := newWorld(t, nil)
	w.issuer.SetPerson(anna())
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&foreign.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{"iss": w.issuer.URL, "aud": oidctest.ClientID, "sub": "f81d4fae", "exp": w.now().Add(time.Minute).Unix(), "preferred_username": "anna"}
	for what, signed := range map[string]struct {
		method jwt.SigningMethod
		key    any
	}{
		"no algorithm":        {jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType},
		"a key as a secret":   {jwt.SigningMethodHS256, public},
		"the client's secret": {jwt.SigningMethodHS256, []byte(oidctest.ClientSecret)},
		"an unknown key":      {jwt.SigningMethodRS256, foreign},
	} {
		token := jwt.NewWithClaims(signed.method, claims)
		token.Header["kid"] = "forged"
		raw, err := token.SignedString(signed.key)
		if err != nil {
			t.Fatal(err)
		}
		w.issuer.Instead(func(rw http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/token" {
				return false
			}
			rw.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(rw, `{"access_token":"x","token_type":"Bearer","id_token":%q}`, raw)
			return true
		})
		w.notIn(what, http.StatusBadGateway)
	}
}

func TestKeysRotate(t *testing.T) {
	w := newWorld(t, nil)
	w.issuer.SetPerson(anna())
	w.isIn("the first key")
	w.issuer.Rotate(false)
	w.isIn("another key, and the first is gone")
	w.issuer.Rotate(true)
	w.isIn("a third key")
	if n := w.issuer.Requests("/.well-known/openid-configuration"); n != 1 {
		t.Errorf("the issuer was asked %d times where it is", n)
	}
}

func TestIssuersThatFail(t *testing.T) {
	for what, answer := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"an error": func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "no", http.StatusInternalServerError)
			return true
		},
		"an answer without an end": func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write(make([]byte, 4<<20))
			return true
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.URL.Path, "/moved") {
				http.Redirect(w, r, "/moved"+r.URL.Path, http.StatusFound)
			}
			return !strings.HasPrefix(r.URL.Path, "/moved")
		},
		"another's name": func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = fmt.Fprint(w, `{"issuer":"https://other.test","authorization_endpoint":"https://other.test/a","token_endpoint":"https://other.test/t","jwks_uri":"https://other.test/k"}`)
			return true
		},
	} {
		w := newWorld(t, nil)
		w.issuer.SetPerson(anna())
		w.issuer.Instead(answer)
		w.notIn(what, http.StatusBadGateway)
		asked := w.issuer.Requests("/.well-known/openid-configuration")
		w.notIn(what+", at once again", http.StatusBadGateway)
		if n := w.issuer.Requests("/.well-known/openid-configuration"); n != asked {
			t.Errorf("%s: it is asked again at once", what)
		}
		w.issuer.Instead(nil)
		w.pass(6 * time.Second)
		w.isIn(what + ", and then it works")
	}
	w := newWorld(t, nil)
	w.issuer.SetPerson(anna())
	w.issuer.Instead(func(rw http.ResponseWriter, _ *http.Request) bool {
		_, _ = rw.Write([]byte(strings.Repeat(" ", 1<<20))) // and then all is right
		return false
	})
	w.notIn("a long answer", http.StatusBadGateway)
	// Addresses that are no https.
	w = newWorld(t, nil)
	w.issuer.Instead(func(rw http.ResponseWriter, _ *http.Request) bool {
		_, _ = fmt.Fprintf(rw, `{"issuer":%q,"authorization_endpoint":"javascript:alert(1)","token_endpoint":"https://x.test/t","jwks_uri":"https://x.test/k"}`, w.issuer.URL)
		return true
	})
	w.notIn("a script in place of an address", http.StatusBadGateway)
}

// TestASlowIssuerBlocksNobodyElse: while one does not answer, who logs in at
// another, or shows a token, does not wait.
func TestASlowIssuerBlocksNobodyElse(t *testing.T) {
	slow := oidctest.New(t)
	release := make(chan struct{})
	slow.Instead(func(http.ResponseWriter, *http.Request) bool { <-release; return false })
	w := newWorld(t, nil)
	w.issuer.SetPerson(anna())
	p := keycloak(slow)
	p.Name = "slow"
	both, err := oidc.New(oidc.Config{Providers: []oidc.Provider{p, keycloak(w.issuer)}, Public: w.people.Public, DB: w.db, Accounts: w.accounts, Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	w.people = both
	waiting := make(chan error, 5)
	for range cap(waiting) {
		go func() {
			resp, err := w.server.Client().Get(w.server.URL + "/oidc/slow/login?moved")
			if err == nil {
				err = resp.Body.Close()
			}
			waiting <- err
		}()
	}
	for slow.Requests("/.well-known/openid-configuration") == 0 {
		time.Sleep(time.Millisecond)
	}
	w.isIn("the other issuer")
	select {
	case err := <-waiting:
		t.Errorf("the slow issuer has answered: %v", err)
	default:
	}
	close(release)
	for range cap(waiting) {
		<-waiting //nolint:errcheck // the redirect leads to a page that the client does not trust
	}
	if n := slow.Requests("/.well-known/openid-configuration"); n != 1 {
		t.Errorf("who waits together asks once, and not %d times", n)
	}
}

func TestNamesThatAreTaken(t *testing.T) {
	w := newWorld(t, nil)
	hash, err := account.HashPassword("correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range []account.NewUser{{Name: "local", Hash: hash, Groups: []string{auth.GroupAdmins}}, {Name: "made-by-hand", Groups: []string{auth.GroupAdmins}}} {
		if err := w.db.Update(ctx, func(tx *db.Tx) error { return account.CreateUser(tx, u) }); err != nil {
			t.Fatal(err)
		}
	}
	as := func(sub, name string) {
		w.issuer.SetPerson(oidctest.Claims{"sub": sub, "preferred_username": name})
	}
	for _, name := range []string{"local", "LOCAL", "made-by-hand", "filed"} {
		as("mallory", name)
		if p := w.notIn("the name "+name, http.StatusForbidden); !strings.Contains(p.body, strings.ToLower(name)) || !strings.Contains(p.body, "administrator") {
			t.Errorf("%s: %s", name, p.body)
		}
	}
	as("one", "anna")
	w.isIn("anna")
	as("two", "anna")
	w.notIn("another anna", http.StatusForbidden)
	as("two", "Anna")
	w.notIn("another Anna", http.StatusForbidden)
	as("two", "bob")
	w.isIn("bob")
	as("two", "anna") // who is bob here for ever
	w.isIn("bob, who calls himself anna now")
	for _, name := range []string{"", "a b", "../x", "token", "Anonymous", "x\r\ny", strings.Repeat("a", 65)} {
		as("three", name)
		w.notIn(fmt.Sprintf("the name %q", name), http.StatusForbidden)
	}
	for what, c := range map[string]oidctest.Claims{
		"no name": {"sub": "three"}, "a number as a name": {"sub": "three", "preferred_username": 7}, "no subject": {"preferred_username": "carl"},
		"a long subject": {"sub": strings.Repeat("s", 256), "preferred_username": "carl"}, "groups that are none": {"sub": "three", "preferred_username": "carl", "groups": []int{1}},
	} {
		w.issuer.SetPerson(c)
		w.notIn(what, http.StatusForbidden)
	}
	if err := w.db.Update(ctx, func(tx *db.Tx) error { return account.SetUserDisabled(tx, "anna", true) }); err != nil {
		t.Fatal(err)
	}
	as("one", "anna")
	w.notIn("anna, who is disabled", http.StatusForbidden)
	// Nothing of all this made a user.
	users, err := account.Users(w.db.Read(ctx))
	if err != nil || len(users) != 4 {
		t.Errorf("%v, %v", users, err)
	}
}

func TestUsernameFromAnAddress(t *testing.T) {
	w := newWorld(t, func(p *oidc.Provider) { p.UsernameClaim = "email" })
	for what, c := range map[string]struct {
		verified any
		status   int
	}{
		"nothing said": {nil, http.StatusForbidden}, "not verified": {false, http.StatusForbidden}, "as a text": {"true", http.StatusForbidden}, "verified": {true, http.StatusOK},
	} {
		w.issuer.SetPerson(oidctest.Claims{"sub": "1", "email": "anna@example.org", "email_verified": c.verified})
		if p := w.login(w.browser()); p.status != c.status {
			t.Errorf("%s: %d %s", what, p.status, p.body)
		}
	}
}

func TestGroups(t *testing.T) {
	for what, c := range map[string]struct {
		claim  string
		admins []string
		groups map[string]string
		said   oidctest.Claims
		want   string
	}{
		"by their own names":     {"groups", nil, nil, oidctest.Claims{"groups": []string{"/team/dev", "ops", "ops"}}, "/team/dev ops"},
		"never admins":           {"groups", nil, nil, oidctest.Claims{"groups": []string{"admins", "htpasswd", "dev"}}, "dev"},
		"admins by what it says": {"groups", []string{"admins"}, nil, oidctest.Claims{"groups": []string{"admins"}}, "admins"},
		"mapped":                 {"groups", []string{"root"}, map[string]string{"/team/dev": "dev"}, oidctest.Claims{"groups": []string{"/team/dev", "ops", "root"}}, "admins dev"},
		"mapped, and none fits":  {"groups", nil, map[string]string{"/team/dev": "dev"}, oidctest.Claims{"groups": []string{"ops"}}, ""},
		"names with spaces":      {"groups", nil, map[string]string{"Domain Users": "all"}, oidctest.Claims{"groups": []string{"Domain Users"}}, "all"},
		"within another":         {"realm_access.roles", []string{"boss"}, nil, oidctest.Claims{"realm_access": map[string]any{"roles": []string{"boss", "dev"}}}, "admins boss dev"},
		"a name with dots":       {"https://x.test/groups", nil, nil, oidctest.Claims{"https://x.test/groups": []string{"dev"}}, "dev"},
		"a single one":           {"groups", nil, nil, oidctest.Claims{"groups": "dev"}, "dev"},
		"none said":              {"groups", nil, nil, oidctest.Claims{}, ""},
		"not asked for":          {"", nil, nil, oidctest.Claims{"groups": []string{"dev"}}, ""},
		"GitLab's":               {"groups_direct", []string{"org/registry-admins"}, nil, oidctest.Claims{"groups_direct": []string{"org", "org/registry-admins"}}, "admins org org/registry-admins"},
	} {
		w := newWorld(t, func(p *oidc.Provider) { p.GroupsClaim, p.AdminGroups, p.Groups = c.claim, c.admins, c.groups })
		c.said["sub"], c.said["preferred_username"] = "1", "anna"
		w.issuer.SetPerson(c.said)
		p := w.login(w.browser())
		i, err := w.who(p.token())
		if got := strings.Join(i.Groups, " "); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", what, got, err, c.want)
		}
	}
	w := newWorld(t, nil)
	many := make([]string, 300)
	for n := range many {
		many[n] = fmt.Sprint("g", n)
	}
	w.issuer.SetPerson(oidctest.Claims{"sub": "1", "preferred_username": "anna", "groups": many})
	w.notIn("300 groups", http.StatusForbidden)
}

func TestRequiredClaims(t *testing.T) {
	w := newWorld(t, func(p *oidc.Provider) { p.Require = map[string]string{"hd": "example.org", "groups": "registry"} })
	for what, c := range map[string]struct {
		hd     any
		groups any
		status int
	}{
		"both": {"example.org", []string{"dev", "registry"}, http.StatusOK}, "a single group": {"example.org", "registry", http.StatusOK},
		"another": {"evil.test", []string{"registry"}, http.StatusForbidden}, "one that is longer": {"example.org.evil.test", "registry", http.StatusForbidden},
		"not in the list": {"example.org", []string{"dev"}, http.StatusForbidden}, "no list": {"example.org", nil, http.StatusForbidden}, "no text": {true, "registry", http.StatusForbidden},
	} {
		w.issuer.SetPerson(oidctest.Claims{"sub": "1", "preferred_username": "anna", "hd": c.hd, "groups": c.groups})
		if p := w.login(w.browser()); p.status != c.status || (p.token() != "") != (c.status == http.StatusOK) {
			t.Errorf("%s: %d %s", what, p.status, p.body)
		}
	}
}

// TestGuard: an issuer that is named may be anywhere; what it names may not.
func TestGuard(t *testing.T) {
	i := oidctest.New(t)
	base := i.Client().Transport.(*http.Transport)
	for what, c := range map[string]struct {
		hosts []string
		ok    bool
	}{
		"its own host": {[]string{"127.0.0.1"}, true}, "another host": {[]string{"issuer.test"}, false}, "no host": {nil, false}, "one of several": {[]string{"issuer.test", "127.0.0.1"}, true},
	} {
		resp, err := (&http.Client{Transport: oidc.Guard(base, c.hosts...)}).Get(i.URL + "/keys")
		if (err == nil) != c.ok || (err != nil && !errors.Is(err, oidc.ErrPrivate)) {
			t.Errorf("%s: %v", what, err)
		}
		if err == nil {
			_ = resp.Body.Close()
		}
	}
}

func TestProvidersAreChecked(t *testing.T) {
	w := newWorld(t, nil)
	for what, change := range map[string]func(*oidc.Provider){
		"no name":                  func(p *oidc.Provider) { p.Name = "" },
		"a path as a name":         func(p *oidc.Provider) { p.Name = "a/b" },
		"no client":                func(p *oidc.Provider) { p.ClientID = "" },
		"plain HTTP":               func(p *oidc.Provider) { p.URL = "http://x.test" },
		"a password":               func(p *oidc.Provider) { p.URL = "https://u:p@x.test" },
		"no URL":                   func(p *oidc.Provider) { p.URL = "" },
		"a group that becomes all": func(p *oidc.Provider) { p.Groups = map[string]string{"dev": "admins"} },
		"a group that is none":     func(p *oidc.Provider) { p.Groups = map[string]string{"dev": "a b"} },
		"admins from nowhere":      func(p *oidc.Provider) { p.GroupsClaim = "" },
	} {
		p := keycloak(w.issuer)
		change(&p)
		if _, err := oidc.New(oidc.Config{Providers: []oidc.Provider{p}, Public: w.people.Public, DB: w.db, Accounts: w.accounts}); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	for address, ok := range map[string]bool{"https://registry.lan:5000": true, "http://127.0.0.1:5000": true, "http://[::1]:5000": true, "http://localhost:5000": true, "http://registry.lan": false} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := oidc.New(oidc.Config{Providers: []oidc.Provider{keycloak(w.issuer)}, Public: u, DB: w.db, Accounts: w.accounts}); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
	twice := []oidc.Provider{keycloak(w.issuer), keycloak(w.issuer)}
	if _, err := oidc.New(oidc.Config{Providers: twice, Public: w.people.Public, DB: w.db, Accounts: w.accounts}); err == nil {
		t.Error("a name twice is accepted")
	}
	if _, err := oidc.New(oidc.Config{Providers: twice[:1], DB: w.db, Accounts: w.accounts}); err == nil || !strings.Contains(err.Error(), "external-url") {
		t.Errorf("without an address: %v", err)
	}
}
