package workload_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"slipway/internal/auth"
	"slipway/internal/auth/workload"
	"slipway/internal/oci"
)

var ctx = context.Background()

// system is a CI system: it signs tokens and publishes its keys.
type system struct {
	*httptest.Server
	now     time.Time
	keys    map[string]*rsa.PrivateKey
	fetches atomic.Int64
	answer  func(w http.ResponseWriter, r *http.Request) bool // instead of the usual
}

func newSystem(t *testing.T) *system {
	t.Helper()
	s := &system{now: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC), keys: map[string]*rsa.PrivateKey{}}
	s.addKey(t, "one")
	s.Server = httptest.NewTLSServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *system) addKey(t *testing.T, id string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s.keys[id] = key
}

func (s *system) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.fetches.Add(1)
	if s.answer != nil && s.answer(w, r) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch strings.TrimPrefix(r.URL.Path, "/moved") {
	case "/.well-known/openid-configuration":
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"id_token_signing_alg_values_supported":["RS256","none","HS256"]}`, s.URL, s.URL+"/keys")
	case "/keys":
		list := []map[string]string{}
		for id, k := range s.keys {
			list = append(list, map[string]string{
				"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id,
				"n": base64.RawURLEncoding.EncodeToString(k.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.E)).Bytes()),
			})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": list})
	default:
		http.NotFound(w, r)
	}
}

func (s *system) claims() jwt.MapClaims {
	return jwt.MapClaims{
		"iss": s.URL, "aud": "https://registry.test", "sub": "repo:org/app:ref:refs/heads/main", "iat": s.now.Unix(), "nbf": s.now.Unix(), "exp": s.now.Add(5 * time.Minute).Unix(),
		"repository": "org/app", "ref": "refs/heads/main", "run_attempt": 2, "protected": true, "environments": []string{"a"}, "long": strings.Repeat("x", 1000),
	}
}

func (s *system) sign(t *testing.T, method jwt.SigningMethod, kid string, key any, claims jwt.MapClaims) string {
	t.Helper()
	k := jwt.NewWithClaims(method, claims)
	k.Header["kid"] = kid
	raw, err := k.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (s *system) workloads(t *testing.T) *workload.Workloads {
	t.Helper()
	w, err := workload.New(workload.Config{
		Issuers:   []workload.Issuer{{Name: "hub", URL: s.URL, Audience: "https://registry.test"}},
		Transport: s.Client().Transport, Now: func() time.Time { return s.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestAJobGetsIn(t *testing.T) {
	s := newSystem(t)
	w := s.workloads(t)
	claims := s.claims()
	claims["issuer"] = "somebody else"
	raw := s.sign(t, jwt.SigningMethodRS256, "one", s.keys["one"], claims)
	if !w.Is(raw) || w.Is("a.b.c") || w.Is("password") || w.Is("") {
		t.Error("what looks like a token")
	}
	for range 3 {
		i, err := w.Verify(ctx, raw)
		if err != nil {
			t.Fatal(err)
		}
		if i.Actor() != "workload:hub/repo:org/app:ref:refs/heads/main" || i.Claims["issuer"] != "hub" || i.Claims["run_attempt"] != "2" || i.Claims["protected"] != "true" {
			t.Errorf("%+v", i)
		}
		if _, has := i.Claims["long"]; has || i.Claims["environments"] != "" {
			t.Errorf("claims that no rule can look at: %v", i.Claims)
		}
		for subject, want := range map[string]bool{
			"workload:issuer=hub,repository=org/app": true, "workload:issuer=hub,repository=org/*,ref=refs/heads/main": true,
			"workload:issuer=hub,repository=org/other": false, "workload:issuer=lab,repository=org/app": false, "authenticated": false, "group:admins": false,
		} {
			sub, err := auth.ParseSubject(subject)
			if err != nil {
				t.Fatal(err)
			}
			if got := sub.Match(i); got != want {
				t.Errorf("%s: %v", subject, got)
			}
		}
	}
	if n := s.fetches.Load(); n != 2 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

func TestTokensThatAreNotGood(t *testing.T) {
	s := newSystem(t)
	w := s.workloads(t)
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&s.keys["one"].PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	with := func(name string, value any) jwt.MapClaims {
		c := s.claims()
		c[name] = value
		if value == nil {
			delete(c, name)
		}
		return c
	}
	rs := func(c jwt.MapClaims) string { return s.sign(t, jwt.SigningMethodRS256, "one", s.keys["one"], c) }
	if _, err := w.Verify(ctx, rs(s.claims())); err != nil {
		t.Fatalf("the token that all others differ from: %v", err)
	}
	good := rs(s.claims())
	for name, raw := range map[string]string{
		"another audience":           rs(with("aud", "https://other.test")),
		"no audience":                rs(with("aud", nil)),
		"another issuer":             rs(with("iss", "https://other.test")),
		"the issuer and more":        rs(with("iss", s.URL+"/")),
		"no issuer":                  rs(with("iss", nil)),
		"expired":                    rs(with("exp", s.now.Add(-time.Second).Unix())),
		"no expiry":                  rs(with("exp", nil)),
		"not yet":                    rs(with("nbf", s.now.Add(time.Hour).Unix())),
		"no subject":                 rs(with("sub", nil)),
		"a subject with lines":       rs(with("sub", "a\nb")),
		"a subject that is long":     rs(with("sub", strings.Repeat("a", 400))),
		"another key":                s.sign(t, jwt.SigningMethodRS256, "one", foreign, s.claims()),
		"an unknown key":             s.sign(t, jwt.SigningMethodRS256, "two", foreign, s.claims()),
		"no algorithm":               s.sign(t, jwt.SigningMethodNone, "one", jwt.UnsafeAllowNoneSignatureType, s.claims()),
		"the public key as a secret": s.sign(t, jwt.SigningMethodHS256, "one", public, s.claims()),
		"another kind of key":        s.sign(t, jwt.SigningMethodES256, "one", curve, s.claims()),
		"cut off":                    good[:len(good)-10], "without a signature": good[:strings.LastIndexByte(good, '.')+1], "empty": "", "a password": "secret",
		"as long as a book": rs(with("x", strings.Repeat("a", 100<<10))),
	} {
		i, err := w.Verify(ctx, raw)
		if !oci.HasCode(err, oci.CodeUnauthorized) || i.Kind != "" {
			t.Errorf("%s: %+v, %v, want UNAUTHORIZED", name, i, err)
		}
		if err != nil && len(raw) > 40 && strings.Contains(err.Error(), raw[:40]) {
			t.Errorf("%s: the error shows the token", name)
		}
	}
}

// A key that is new is found, and keys that do not exist do not make the server
// ask again and again.
func TestKeysAreFetchedWithMeasure(t *testing.T) {
	s := newSystem(t)
	w := s.workloads(t)
	old := s.sign(t, jwt.SigningMethodRS256, "one", s.keys["one"], s.claims())
	if _, err := w.Verify(ctx, old); err != nil {
		t.Fatal(err)
	}
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	before := s.fetches.Load()
	for n := range 50 {
		if _, err := w.Verify(ctx, s.sign(t, jwt.SigningMethodRS256, fmt.Sprint("forged", n), foreign, s.claims())); !oci.HasCode(err, oci.CodeUnauthorized) {
			t.Fatal(err)
		}
	}
	if n := s.fetches.Load() - before; n > 1 {
		t.Errorf("50 forged tokens made the server ask %d times", n)
	}
	s.addKey(t, "two")
	s.now = s.now.Add(16 * time.Second)
	if _, err := w.Verify(ctx, s.sign(t, jwt.SigningMethodRS256, "two", s.keys["two"], s.claims())); err != nil {
		t.Errorf("a new key: %v", err)
	}
}

func TestIssuersThatFail(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"an error": func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "no", http.StatusInternalServerError)
			return true
		},
		"an answer that is too long": func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = fmt.Fprintf(w, `{"issuer":"https://%s","jwks_uri":"https://%s/keys"}%s`, r.Host, r.Host, strings.Repeat(" ", 2<<20))
			return true
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.URL.Path, "/moved") {
				return false
			}
			http.Redirect(w, r, "/moved"+r.URL.Path, http.StatusFound)
			return true
		},
		"another's name": func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = fmt.Fprint(w, `{"issuer":"https://other.test","jwks_uri":"https://other.test/keys"}`)
			return true
		},
	} {
		s := newSystem(t)
		s.answer = answer
		w := s.workloads(t)
		raw := s.sign(t, jwt.SigningMethodRS256, "one", s.keys["one"], s.claims())
		if _, err := w.Verify(ctx, raw); !oci.HasCode(err, oci.CodeUnavailable) {
			t.Errorf("%s: %v, want UNAVAILABLE", name, err)
		}
		s.answer = nil
		s.now = s.now.Add(16 * time.Second)
		if _, err := w.Verify(ctx, raw); err != nil {
			t.Errorf("%s, and then it works: %v", name, err)
		}
	}
	// Keys over plain HTTP are nobody's.
	s := newSystem(t)
	plain := httptest.NewServer(s)
	defer plain.Close()
	s.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/keys" {
			return false
		}
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, s.URL, plain.URL+"/keys")
		return true
	}
	if i, err := s.workloads(t).Verify(ctx, s.sign(t, jwt.SigningMethodRS256, "one", s.keys["one"], s.claims())); err == nil {
		t.Errorf("keys over plain HTTP: %+v", i)
	}
}

func TestIssuersAreChecked(t *testing.T) {
	good := workload.Issuer{Name: "hub", URL: "https://hub.test", Audience: "a"}
	for name, list := range map[string][]workload.Issuer{
		"no name": {{URL: good.URL, Audience: "a"}}, "no audience": {{Name: "hub", URL: good.URL}}, "plain HTTP": {{Name: "hub", URL: "http://hub.test", Audience: "a"}},
		"no URL": {{Name: "hub", Audience: "a"}}, "a file": {{Name: "hub", URL: "file:///x", Audience: "a"}}, "a password": {{Name: "hub", URL: "https://u:p@hub.test", Audience: "a"}},
		"twice the name": {good, {Name: "hub", URL: "https://lab.test", Audience: "a"}}, "twice the URL": {good, {Name: "lab", URL: good.URL, Audience: "a"}},
	} {
		if _, err := workload.New(workload.Config{Issuers: list}); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	w, err := workload.New(workload.Config{Issuers: []workload.Issuer{good}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Verify(ctx, "a.b.c"); !oci.HasCode(err, oci.CodeUnauthorized) {
		t.Error(err)
	}
}
