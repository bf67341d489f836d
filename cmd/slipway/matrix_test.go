//go:build unix

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"slipway/internal/audit"
	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/auth/policy"
	"slipway/internal/db"
	"slipway/internal/httpapi"
	"slipway/internal/oci"
)

// guarded is a server where nobody may do anything without a login, with one
// caller of each kind. All of them have to do with repository team/app.
type guarded struct {
	t        *testing.T
	url      string
	store    *store
	recorder *audit.Recorder
	header   map[string]string // Authorization, by caller
}

// mayDo is what each caller may do in team/app. Whoever is not here may not log in.
var mayDo = map[string][]auth.Action{
	"nobody":         nil,
	"reader":         {auth.Ping, auth.List, auth.Pull},
	"writer":         {auth.Ping, auth.List, auth.Pull, auth.Push},
	"keeper":         {auth.Ping, auth.List, auth.Pull, auth.Push, auth.Delete},
	"administrator":  {auth.Ping, auth.List, auth.Pull, auth.Push, auth.Delete, auth.Build, auth.Admin},
	"elsewhere":      {auth.Ping, auth.List}, // may push to other/**
	"without rules":  {auth.Ping},
	"robot":          {auth.Ping, auth.List, auth.Pull, auth.Push},
	"narrow token":   {auth.Ping, auth.List, auth.Pull}, // of a robot that may push
	"token to pull":  {auth.Ping, auth.Pull},            // an access token of the administrator, for pulling
	"token for less": {auth.Ping, auth.Pull},            // asked for push, by who may only pull
}

// behind are the owners of access tokens.
var behind = map[string]string{"token to pull": "administrator", "token for less": "reader"}

// strangers have shown something that is not good.
var strangers = []string{"wrong password", "unknown user", "disabled", "revoked token", "expired token", "forged token", "no scheme"}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{t: t, header: map[string]string{}}
	s := serveSettings{
		listen: "127.0.0.1:0", http: "loopback", anonymous: "none", manifestLimit: 4 << 20, drain: 10 * time.Second, stall: time.Minute,
		store: storeSettings{data: t.TempDir(), grace: time.Hour, uploadExpiry: time.Hour},
	}
	srv := newServer(s, slog.New(slog.DiscardHandler))
	if err := srv.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	g.url, g.store, g.recorder = "http://"+srv.listener.Addr().String(), srv.store, srv.access.recorder
	g.people()
	return g
}

const password = "correct horse battery"

func (g *guarded) people() {
	g.t.Helper()
	// A cheap hash: what a dear one costs is not the point here.
	cheap, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	g.must(err)
	hash := string(cheap)
	user := func(name string, groups ...string) {
		g.update(func(tx *db.Tx) error {
			return account.CreateUser(tx, account.NewUser{Name: name, Hash: hash, Groups: groups})
		})
		g.header[name] = basic(name, password)
	}
	rule := func(subject, actions, repositories string) {
		r, err := policy.ParseRule(subject, actions, repositories)
		g.must(err)
		g.update(func(tx *db.Tx) error { _, err := policy.AddRule(tx, r); return err })
	}
	token := func(name string, expires int64, scopes ...string) (id int64, header string) {
		limits, err := auth.ParseScopes(scopes)
		g.must(err)
		secret := account.NewSecret(account.PrefixRobot)
		g.update(func(tx *db.Tx) error {
			if expires != 0 {
				expires = tx.Now() + expires
			}
			t, err := account.CreateToken(tx, account.NewToken{OwnerKind: auth.KindRobot, Owner: "ci", Name: name, Scopes: limits, Expires: expires, CreatedBy: "test", Secret: secret})
			id = t.ID
			return err
		})
		return id, basic("ci", secret.Reveal())
	}
	user("reader")
	user("writer")
	user("keeper")
	user("administrator", auth.GroupAdmins)
	user("elsewhere")
	user("without-rules")
	user("disabled", auth.GroupAdmins)
	g.header["without rules"] = g.header["without-rules"]
	g.update(func(tx *db.Tx) error { return account.CreateRobot(tx, "ci", "") })
	rule("user:reader", "pull", "team/**")
	rule("user:writer", "pull,push", "team/**")
	rule("user:keeper", "pull,push,delete", "team/**")
	rule("user:elsewhere", "pull,push,delete", "other/**")
	rule("robot:ci", "pull,push", "team/**")
	_, g.header["robot"] = token("all", 0)
	_, g.header["narrow token"] = token("narrow", 0, "pull:team/app")
	revoked, header := token("revoked", 0)
	g.header["revoked token"] = header
	g.update(func(tx *db.Tx) error { _, err := account.RevokeToken(tx, revoked); return err })
	_, g.header["expired token"] = token("expired", 1)
	g.update(func(tx *db.Tx) error { return account.SetUserDisabled(tx, "disabled", true) })
	g.header["token to pull"] = g.accessToken("administrator", "repository:team/app:pull")
	g.header["token for less"] = g.accessToken("reader", "repository:team/app:pull,push")
	g.header["wrong password"] = basic("reader", "wrong")
	g.header["unknown user"] = basic("nemo", password)
	good := g.header["token to pull"]
	parts := strings.Split(good, ".")
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	g.must(err)
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(claims), `"pull"`, `"push"`, 1)))
	g.header["forged token"] = strings.Join(parts, ".")
	g.header["no scheme"] = password
	time.Sleep(2 * time.Millisecond) // until the expired token has
}

func (g *guarded) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *guarded) update(fn func(*db.Tx) error) {
	g.t.Helper()
	g.must(g.store.db.Update(context.Background(), fn))
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// accessToken gets a token as docker does.
func (g *guarded) accessToken(user, scope string) string {
	g.t.Helper()
	status, body, _ := g.do(http.MethodGet, "/token?service=slipway&scope="+url.QueryEscape(scope), user)
	var answer struct{ Token string }
	if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK {
		g.t.Fatalf("%d %s: %v", status, body, err)
	}
	return "Bearer " + answer.Token
}

func (g *guarded) do(method, path, caller string) (status int, body []byte, header http.Header) {
	g.t.Helper()
	r, err := http.NewRequest(method, g.url+path, nil)
	g.must(err)
	if h := g.header[caller]; h != "" {
		r.Header.Set("Authorization", h)
	}
	resp, err := http.DefaultClient.Do(r)
	g.must(err)
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	g.must(err)
	return resp.StatusCode, body, resp.Header
}

// TestEveryRouteForEveryCaller asks each route of the registry as each kind of
// caller. A route is part of it by standing in the table.
func TestEveryRouteForEveryCaller(t *testing.T) {
	g := newGuarded(t)
	known := mayDo["administrator"]
	digest := oci.FromBytes(oci.SHA256, []byte("nothing")).String()
	for _, route := range httpapi.Routes() {
		if !slices.Contains(known, route.Action) {
			t.Fatalf("%s %s needs the action %q, of which this test knows nothing: say who may do it", route.Method, route.Pattern, route.Action)
		}
		path := strings.NewReplacer("{name}", "team/app", "{last}", digest).Replace(route.Pattern)
		for caller, actions := range mayDo {
			status, body, header := g.do(route.Method, path, caller)
			refused := status == http.StatusUnauthorized || status == http.StatusForbidden
			if may := slices.Contains(actions, route.Action); refused == may {
				t.Errorf("%s: %s %s: %d %s; may %s: %v", caller, route.Method, path, status, body, route.Action, may)
			}
			// Asked to log in is whom it could help: nobody yet, and who has an
			// access token and could get one for more.
			helps := caller == "nobody" || slices.Contains(mayDo[behind[caller]], route.Action)
			if refused && (status == http.StatusUnauthorized) != helps {
				t.Errorf("%s: %s %s: %d; another login would help: %v", caller, route.Method, path, status, helps)
			}
			if challenge := header.Get("WWW-Authenticate"); (status == http.StatusUnauthorized) != strings.HasPrefix(challenge, `Bearer realm="`+g.url+`/token",service="slipway"`) {
				t.Errorf("%s: %s %s: %d with challenge %q", caller, route.Method, path, status, challenge)
			}
		}
		for _, caller := range strangers {
			if status, body, _ := g.do(route.Method, path, caller); status != http.StatusUnauthorized && status != http.StatusTooManyRequests {
				t.Errorf("%s: %s %s: %d %s", caller, route.Method, path, status, body)
			}
		}
	}
}

// TestPagesOutsideTheAPIs are for everybody, except that metrics tell how much
// there is.
func TestPagesOutsideTheAPIs(t *testing.T) {
	g := newGuarded(t)
	for path, who := range map[string][]string{
		"/":                 {"nobody", "reader", "administrator"},
		"/healthz":          {"nobody", "reader", "administrator"},
		"/readyz":           {"nobody", "reader", "administrator"},
		"/trust":            {"nobody", "reader", "administrator"},
		"/trust/ca.crt":     {"nobody", "reader", "administrator"},
		"/trust/install.sh": {"nobody", "reader", "administrator"},
		"/metrics":          {"reader", "administrator"},
	} {
		for _, caller := range []string{"nobody", "without rules", "reader", "administrator"} {
			want := slices.Contains(who, caller) || (caller == "without rules" && path != "/metrics")
			status, body, header := g.do(http.MethodGet, path, caller)
			if (status == http.StatusOK) != want {
				t.Errorf("%s: %s: %d %.200s", caller, path, status, body)
			}
			if header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
				t.Errorf("%s: %s: a browser may do what it likes with it: %v", caller, path, header)
			}
		}
	}
}
