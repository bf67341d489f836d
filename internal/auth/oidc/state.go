package oidc

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/oauth2"
)

// pending is a login under way, as the browser's cookie has it.
type pending struct {
	State    string // comes back by way of the issuer
	Nonce    string // comes back within the ID token
	Verifier string // of PKCE, RFC 7636: shown with the code
	Expires  int64  // seconds since 1970
}

const (
	// A person may have to look for a second factor.
	loginTakes = 15 * time.Minute
	usedKept   = 16384
)

// seal makes cookies that nobody else can read or write. Its key is of this
// process: a login that a restart comes into begins again.
type seal struct {
	aead cipher.AEAD
	used *lru.Cache[string, struct{}] // states that came back
}

func newSeal() (*seal, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	used, err := lru.New[string, struct{}](usedKept)
	return &seal{aead, used}, err
}

// begin makes a login at an issuer, and the cookie for it.
func (s *seal) begin(issuer string, now time.Time) (pending, string, error) {
	l := pending{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Expires: now.Add(loginTakes).Unix()}
	content, err := json.Marshal(l)
	if err != nil {
		return l, "", fmt.Errorf("begin a login: %w", err)
	}
	return l, base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, content, []byte(issuer))), nil
}

// Why a login that comes back is not gone on with. Each begins again.
var (
	errNoCookie = errors.New("the login was begun in another browser, too long ago, or before this server was restarted")
	errState    = errors.New("the answer is to another login than the last one that was begun in this browser")
	errUsed     = errors.New("the login was finished before")
)

// end opens the cookie of the login that comes back with a state. It does so
// once.
func (s *seal) end(issuer, cookie, state string, now time.Time) (l pending, err error) {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(cookie)
	if err != nil {
		return l, errNoCookie
	}
	content, err := s.aead.Open(nil, nil, sealed, []byte(issuer))
	if err != nil || json.Unmarshal(content, &l) != nil || now.Unix() >= l.Expires {
		return pending{}, errNoCookie
	}
	if !equal(state, l.State) {
		return pending{}, errState
	}
	if again, _ := s.used.ContainsOrAdd(l.State, struct{}{}); again {
		return pending{}, errUsed
	}
	return l, nil
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
