package token_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/auth/token"
	"slipway/internal/oci"
)

var (
	ctx = context.Background()
	all = func(auth.Action, string) bool { return true }
)

// people are accounts of a test.
type people map[string]auth.Identity

func (p people) Current(_ context.Context, kind auth.Kind, name string, credential int64) (auth.Identity, error) {
	if kind == auth.KindAnonymous {
		return auth.Identity{Kind: kind}, nil
	}
	i, ok := p[string(kind)+":"+name]
	if !ok {
		return i, account.ErrRefused
	}
	i.Credential = credential
	return i, nil
}

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func (c *clock) pass(d time.Duration) { c.now = c.now.Add(d) }

func newClock() *clock { return &clock{time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)} }

func open(t testing.TB, folder string, c *clock, who token.Accounts) *token.Issuer {
	t.Helper()
	s, err := token.Open(token.Config{Folder: folder, Issuer: "https://registry.test", Service: "registry.test", Accounts: who, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func issue(t testing.TB, s *token.Issuer, i auth.Identity, scopes ...string) string {
	t.Helper()
	k, err := s.Issue(i, token.ParseResources(scopes), all)
	if err != nil {
		t.Fatal(err)
	}
	return k.Value
}

var anna = auth.Identity{Kind: auth.KindUser, Name: "anna", Groups: []string{"dev"}}

func mustRefuse(t *testing.T, what string, i auth.Identity, err error) {
	t.Helper()
	if !oci.HasCode(err, oci.CodeUnauthorized) || i.Kind != "" {
		t.Errorf("%s: %+v, %v, want UNAUTHORIZED", what, i, err)
	}
}

func TestIssueAndVerify(t *testing.T) {
	c, who := newClock(), people{"user:anna": anna}
	s := open(t, t.TempDir(), c, who)
	raw := issue(t, s, anna, "repository:team/app:push repository:other:pull", "registry:catalog:*")
	for range 2 { // parsed, and then remembered
		i, err := s.Verify(ctx, raw)
		if err != nil || i.Actor() != "user:anna" || len(i.Groups) != 1 || i.Access == nil {
			t.Fatalf("%+v, %v", i, err)
		}
		for _, a := range []struct {
			action     auth.Action
			repository string
			want       bool
		}{
			{auth.Push, "team/app", true}, {auth.Pull, "team/app", true}, {auth.Delete, "team/app", false}, {auth.Pull, "other", true}, {auth.Push, "other", false},
			{auth.Pull, "team", false}, {auth.List, "", true}, {auth.Ping, "", true}, {auth.Admin, "", false},
		} {
			if got := i.Access.Allow(a.action, a.repository); got != a.want {
				t.Errorf("%s %q: %v", a.action, a.repository, got)
			}
		}
	}
	// Who is gone is out at once, though the token is still good.
	delete(who, "user:anna")
	i, err := s.Verify(ctx, raw)
	mustRefuse(t, "a user who is gone", i, err)
	who["user:anna"] = anna
	c.pass(token.Life + 29*time.Second)
	if _, err := s.Verify(ctx, raw); err != nil {
		t.Errorf("within the leeway: %v", err)
	}
	c.pass(time.Second)
	i, err = s.Verify(ctx, raw)
	mustRefuse(t, "expired, remembered", i, err)
	i, err = open(t, t.TempDir(), c, who).Verify(ctx, raw)
	mustRefuse(t, "of another server", i, err)

	if i, err = s.Verify(ctx, issue(t, s, auth.Identity{})); err != nil || !i.IsAnonymous() || i.Access == nil || i.Access.Allow(auth.Pull, "x") {
		t.Errorf("an anonymous token: %+v, %v", i, err)
	}
	job := auth.Identity{Kind: auth.KindWorkload, Name: "repo:org/app", Claims: map[string]string{"ref": "main"}}
	if i, err = s.Verify(ctx, issue(t, s, job)); err != nil || i.Actor() != job.Actor() || i.Claims["ref"] != "main" {
		t.Errorf("a workload's token: %+v, %v", i, err)
	}
	behind := anna
	behind.Credential = 42
	if i, err = s.Verify(ctx, issue(t, s, behind)); err != nil || i.Credential != 42 {
		t.Errorf("a token got with another: %+v, %v", i, err)
	}
	for _, who := range []auth.Identity{auth.Local, auth.System, i} {
		if _, err := s.Issue(who, nil, all); !oci.HasCode(err, oci.CodeDenied) {
			t.Errorf("%s with access %v got a token: %v", who.Actor(), who.Access, err)
		}
	}
}

// forge makes tokens as an attacker would, or one who knows too much.
type forge struct {
	claims jwt.MapClaims
	header map[string]any
	method jwt.SigningMethod
	key    any
}

func (f forge) String() string {
	k := jwt.NewWithClaims(f.method, f.claims)
	for name, v := range f.header {
		k.Header[name] = v
	}
	s, err := k.SignedString(f.key)
	if err != nil {
		panic(err)
	}
	return s
}

func TestForgedTokens(t *testing.T) {
	folder, c := t.TempDir(), newClock()
	s := open(t, folder, c, people{"user:anna": anna})
	content, err := os.ReadFile(filepath.Join(folder, "token-keys.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Keys []struct {
			ID      string
			Private ed25519.PrivateKey
		}
	}
	if err := json.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	private, kid := file.Keys[0].Private, file.Keys[0].ID
	public := private.Public().(ed25519.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	_, foreign, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := func() forge {
		return forge{jwt.MapClaims{
			"iss": "https://registry.test", "aud": "registry.test", "sub": "user:anna", "jti": "1", "iat": c.now.Unix(), "nbf": c.now.Unix(), "exp": c.now.Add(time.Minute).Unix(),
			"access": []map[string]any{{"type": "repository", "name": "x", "actions": []string{"pull"}}},
		}, map[string]any{"kid": kid}, jwt.SigningMethodEdDSA, private}
	}
	if i, err := s.Verify(ctx, good().String()); err != nil || !i.Access.Allow(auth.Pull, "x") {
		t.Fatalf("the token that all others differ from: %+v, %v", i, err)
	}
	for name, spoil := range map[string]func(*forge){
		"no algorithm":              func(f *forge) { f.method, f.key = jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType },
		"HS256 with the public key": func(f *forge) { f.method, f.key = jwt.SigningMethodHS256, []byte(public) },
		"HS256 with its DER":        func(f *forge) { f.method, f.key = jwt.SigningMethodHS256, der },
		"HS256 with its PEM": func(f *forge) {
			f.method, f.key = jwt.SigningMethodHS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		},
		"RS256":                          func(f *forge) { f.method, f.key = jwt.SigningMethodRS256, rsaKey },
		"another key":                    func(f *forge) { f.key = foreign },
		"another key with its own id":    func(f *forge) { f.key, f.header = foreign, map[string]any{"kid": "0000000000000000"} },
		"another key with its own jwk":   func(f *forge) { f.key = foreign; f.header["jwk"] = map[string]any{"kty": "OKP", "crv": "Ed25519"} },
		"no kid":                         func(f *forge) { f.header = nil },
		"a kid that is a number":         func(f *forge) { f.header = map[string]any{"kid": 1} },
		"a kid that is a path":           func(f *forge) { f.header = map[string]any{"kid": "../../dev/null"} },
		"expired":                        func(f *forge) { f.claims["exp"] = c.now.Add(-31 * time.Second).Unix() },
		"no expiry":                      func(f *forge) { delete(f.claims, "exp") },
		"an expiry in words":             func(f *forge) { f.claims["exp"] = "never" },
		"not yet":                        func(f *forge) { f.claims["nbf"] = c.now.Add(31 * time.Second).Unix() },
		"no beginning":                   func(f *forge) { delete(f.claims, "nbf") },
		"issued in the future":           func(f *forge) { f.claims["iat"] = c.now.Add(time.Hour).Unix() },
		"another audience":               func(f *forge) { f.claims["aud"] = "other.test" },
		"no audience":                    func(f *forge) { delete(f.claims, "aud") },
		"another issuer":                 func(f *forge) { f.claims["iss"] = "https://other.test" },
		"no issuer":                      func(f *forge) { delete(f.claims, "iss") },
		"a user who does not exist":      func(f *forge) { f.claims["sub"] = "user:admin" },
		"the local administrator":        func(f *forge) { f.claims["sub"] = "local administrator" },
		"Slipway itself":                 func(f *forge) { f.claims["sub"] = "slipway" },
		"no subject":                     func(f *forge) { delete(f.claims, "sub") },
		"a subject without a kind":       func(f *forge) { f.claims["sub"] = "anna" },
		"an access that is no list":      func(f *forge) { f.claims["access"] = "*" },
		"a method that only looks right": func(f *forge) { f.header["alg"] = "eddsa" },
	} {
		f := good()
		spoil(&f)
		i, err := s.Verify(ctx, f.String())
		mustRefuse(t, name, i, err)
	}

	raw := good().String()
	parts := strings.Split(raw, ".")
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte{}, signature...)
	flipped[10] ^= 1
	other := good()
	other.claims["sub"] = "robot:ci"
	for name, forged := range map[string]string{
		"empty": "", "no token": "x", "dots": "..", "without a signature": parts[0] + "." + parts[1] + ".", "two parts": parts[0] + "." + parts[1],
		"a bit of the signature":    parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(flipped),
		"padding":                   raw + "=",
		"a spare bit in the base64": raw[:len(raw)-1] + string(raw[len(raw)-1]+1),
		"the claims of another":     parts[0] + "." + strings.Split(other.String(), ".")[1] + "." + parts[2],
		"as long as a book":         raw + strings.Repeat("A", 1<<20),
		"a JSON serialization":      fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, parts[1], parts[0], parts[2]),
	} {
		i, err := s.Verify(ctx, forged)
		mustRefuse(t, name, i, err)
		if err != nil && forged != "" && len(forged) > 40 && strings.Contains(err.Error(), forged[:40]) {
			t.Errorf("%s: the error shows the token", name)
		}
	}

	// A key that was retired and became known signs nothing that is accepted.
	c.pass(7 * 24 * time.Hour)
	issue(t, s, anna) // with a new key
	if _, err := s.Verify(ctx, good().String()); err != nil {
		t.Errorf("of a key that has just been retired: %v", err)
	}
	c.pass(token.Life + 61*time.Second)
	i, err := s.Verify(ctx, good().String())
	mustRefuse(t, "of a key that was retired", i, err)
	c.pass(-token.Life - 61*time.Second)

	// What a signed token says gives no more than it says, in words known here.
	f := good()
	f.claims["access"] = []map[string]any{
		{"type": "repository", "name": "a", "actions": []string{"*"}}, {"type": "repository", "name": "b", "actions": []string{"push"}},
		{"type": "repository", "name": "**", "actions": []string{"pull"}}, {"type": "server", "name": "c", "actions": []string{"pull"}},
	}
	if i, err = s.Verify(ctx, f.String()); err != nil {
		t.Fatal(err)
	}
	for _, repository := range []string{"a", "b", "c", "d", "**"} {
		for _, action := range auth.Grantable {
			if got := i.Access.Allow(action, repository); got != (repository == "b" && action == auth.Push) {
				t.Errorf("%s in %s: %v", action, repository, got)
			}
		}
	}
}

func TestKeysRotate(t *testing.T) {
	folder, c, who := t.TempDir(), newClock(), people{"user:anna": anna}
	s := open(t, folder, c, who)
	kid := func(raw string) string {
		header, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[0])
		if err != nil {
			t.Fatal(err)
		}
		var h struct{ Alg, Kid string }
		if err := json.Unmarshal(header, &h); err != nil || h.Alg != "EdDSA" {
			t.Fatalf("%s: %v", header, err)
		}
		return h.Kid
	}
	path := filepath.Join(folder, "token-keys.json")
	mode := func() {
		t.Helper()
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
	mode()
	c.pass(7*24*time.Hour - time.Second)
	old := issue(t, s, anna)
	c.pass(time.Second)
	young := issue(t, s, anna)
	if kid(old) == kid(young) {
		t.Error("the key is the same after a week")
	}
	mode()
	for name, s := range map[string]*token.Issuer{"the same server": s, "one that starts now": open(t, folder, c, who)} {
		for _, raw := range []string{old, young} {
			if _, err := s.Verify(ctx, raw); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	// Another week, and the first key is gone from the file.
	c.pass(7 * 24 * time.Hour)
	issue(t, s, anna)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(content), kid(old)) || !strings.Contains(string(content), kid(young)) {
		t.Error("the file has a key that nobody needs, or has lost one")
	}
	if left, _ := filepath.Glob(filepath.Join(folder, "*.tmp-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// A key that cannot be stored does not sign, and the old one goes on.
	last := kid(issue(t, s, anna))
	if err := os.Rename(folder, folder+"-away"); err != nil {
		t.Fatal(err)
	}
	c.pass(7 * 24 * time.Hour)
	if got := kid(issue(t, s, anna)); got != last {
		t.Error("a key that is not on the disk signs")
	}
}

func TestKeyFileIsChecked(t *testing.T) {
	c := newClock()
	for name, spoil := range map[string]func(path string) error{
		"readable by others": func(path string) error { return os.Chmod(path, 0o644) },
		"no JSON":            func(path string) error { return os.WriteFile(path, []byte("{"), 0o600) },
		"a key cut off": func(path string) error {
			return os.WriteFile(path, []byte(`{"keys":[{"id":"x","private":"AAAA"}]}`), 0o600)
		},
	} {
		folder := t.TempDir()
		open(t, folder, c, people{})
		path := filepath.Join(folder, "token-keys.json")
		if err := spoil(path); err != nil {
			t.Fatal(err)
		}
		_, err := token.Open(token.Config{Folder: folder, Issuer: "i", Service: "s", Accounts: people{}, Now: c.Now})
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := token.Open(token.Config{Folder: t.TempDir(), Service: "s", Accounts: people{}}); err == nil {
		t.Error("an issuer without a name")
	}
}

func TestVerifySaysWhenItCannotTell(t *testing.T) {
	failed := errors.New("the database does not answer")
	s := open(t, t.TempDir(), newClock(), broken{failed})
	if _, err := s.Verify(ctx, issue(t, s, anna)); !errors.Is(err, failed) || oci.HasCode(err, oci.CodeUnauthorized) {
		t.Errorf("%v", err)
	}
}

type broken struct{ err error }

func (b broken) Current(context.Context, auth.Kind, string, int64) (auth.Identity, error) {
	return auth.Identity{}, b.err
}
