// Package oidctest is an issuer of a test's own: it speaks OpenID Connect over
// HTTPS, signs what it is told to, and fails as it is told to. It checks what
// clients send as strictly as the standards let it, so that a client which
// forgets something does not log in.
package oidctest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The client that may ask for logins.
const (
	ClientID     = "slipway"
	ClientSecret = "a secret : with/all+that%20needs escaping" // #nosec G101 -- of no use elsewhere
)

// Claims are those of a token.
type Claims = map[string]any

// Issuer is a running one. Its methods may be used from many goroutines.
type Issuer struct {
	*httptest.Server
	tb testing.TB

	mu       sync.Mutex
	now      func() time.Time
	keys     []key // all are published, the last one signs
	person   Claims
	change   func(Claims)
	instead  func(http.ResponseWriter, *http.Request) bool
	codes    map[string]code
	requests map[string]int
}

type key struct {
	id      string
	private *rsa.PrivateKey
}

// code is one that a browser carries to the client.
type code struct {
	redirect, challenge, nonce string
	person                     Claims
}

// New starts an issuer, which stops with the test.
func New(tb testing.TB) *Issuer {
	tb.Helper()
	i := &Issuer{tb: tb, now: time.Now, codes: map[string]code{}, requests: map[string]int{}}
	i.Rotate(true)
	i.Server = httptest.NewTLSServer(i)
	tb.Cleanup(i.Close)
	return i
}

// CA writes the certificate of the authority that its clients have to trust.
func (i *Issuer) CA() (path string) {
	i.tb.Helper()
	path = filepath.Join(i.tb.TempDir(), "issuer.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw}), 0o600); err != nil {
		i.tb.Fatal(err)
	}
	return path
}

// Rotate makes a new key, which signs from now on. The old ones are published
// further if they are to be kept.
func (i *Issuer) Rotate(keep bool) (id string) {
	i.tb.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		i.tb.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if !keep {
		i.keys = nil
	}
	k := key{rand.Text(), private}
	i.keys = append(i.keys, k)
	return k.id
}

// SetNow gives it another clock.
func (i *Issuer) SetNow(now func() time.Time) { i.set(func() { i.now = now }) }

// SetPerson is who sits at the browser: the claims of who logs in next.
func (i *Issuer) SetPerson(c Claims) { i.set(func() { i.person = c }) }

// Change changes the ID tokens of logins before they are signed; nil does not.
func (i *Issuer) Change(fn func(Claims)) { i.set(func() { i.change = fn }) }

// Instead answers requests itself where it returns true; nil answers none.
func (i *Issuer) Instead(fn func(http.ResponseWriter, *http.Request) bool) {
	i.set(func() { i.instead = fn })
}

func (i *Issuer) set(fn func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	fn()
}

// Requests is how often a path was asked for.
func (i *Issuer) Requests(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.requests[path]
}

// Token signs claims; iss, iat, nbf and exp are added where they are missing.
func (i *Issuer) Token(c Claims) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.sign(c)
}

func (i *Issuer) sign(c Claims) string {
	now := i.now()
	all := jwt.MapClaims{"iss": i.URL, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
	maps.Copy(all, c)
	k := i.keys[len(i.keys)-1]
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, all)
	t.Header["kid"] = k.id
	raw, err := t.SignedString(k.private)
	if err != nil {
		i.tb.Error(err)
	}
	return raw
}

// ServeHTTP implements http.Handler.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	instead := i.instead
	i.requests[r.URL.Path]++
	i.mu.Unlock()
	if instead != nil && instead(w, r) {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		i.write(w, http.StatusOK, map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token",
			"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"}, "code_challenge_methods_supported": []string{"S256"},
		})
	case "/keys":
		list := []map[string]string{}
		for _, k := range i.keys {
			list = append(list, map[string]string{
				"kty": "RSA", "use": "sig", "alg": "RS256", "kid": k.id,
				"n": base64.RawURLEncoding.EncodeToString(k.private.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.private.E)).Bytes()),
			})
		}
		i.write(w, http.StatusOK, map[string]any{"keys": list})
	case "/authorize":
		i.authorize(w, r)
	case "/token":
		i.token(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (i *Issuer) write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may have had enough
}

// authorize sends the browser back with a code; its person needs no password.
func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	to, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || q.Get("client_id") != ClientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" ||
		len(q.Get("code_challenge")) != 43 || len(q.Get("state")) < 16 || len(q.Get("nonce")) < 16 {
		http.Error(w, fmt.Sprintf("not a request for a login: %v", q), http.StatusBadRequest)
		return
	}
	c := code{q.Get("redirect_uri"), q.Get("code_challenge"), q.Get("nonce"), i.person}
	back := url.Values{"state": {q.Get("state")}}
	if i.person == nil {
		back.Set("error", "access_denied")
		back.Set("error_description", "nobody <b>is</b> here")
	} else {
		one := rand.Text()
		i.codes[one] = c
		back.Set("code", one)
	}
	to.RawQuery = back.Encode()
	http.Redirect(w, r, to.String(), http.StatusFound)
}

func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	id, secret, ok := r.BasicAuth()
	if ok { // RFC 6749, section 2.3.1: encoded as in a form
		id, _ = url.QueryUnescape(id)
		secret, _ = url.QueryUnescape(secret)
	}
	if r.Method != http.MethodPost || id != ClientID || secret != ClientSecret {
		i.write(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	one := r.PostFormValue("code")
	c, known := i.codes[one]
	delete(i.codes, one)
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !known || r.PostFormValue("grant_type") != "authorization_code" || r.PostFormValue("redirect_uri") != c.redirect || base64.RawURLEncoding.EncodeToString(sum[:]) != c.challenge {
		i.write(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant", "error_description": "the code " + one + " is not good"})
		return
	}
	claims := Claims{"aud": ClientID, "nonce": c.nonce}
	maps.Copy(claims, c.person)
	if i.change != nil {
		i.change(claims)
	}
	i.write(w, http.StatusOK, map[string]any{"access_token": rand.Text(), "token_type": "Bearer", "expires_in": 300, "id_token": i.sign(claims)})
}
