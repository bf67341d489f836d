package token

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"

	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/oci"
)

const (
	// Life is how long an access token lasts.
	Life = 5 * time.Minute
	// leeway is how far clocks of servers that share keys may be apart.
	leeway = 30 * time.Second
	// rotateAfter is how long a key signs.
	rotateAfter = 7 * 24 * time.Hour

	verifiedKept = 8192
	maxToken     = 60 << 10
)

// Accounts looks up who a token is for.
type Accounts interface {
	// Current is the identity as it is now; account.ErrRefused if it is gone.
	Current(ctx context.Context, kind auth.Kind, name string, credential int64) (auth.Identity, error)
}

var _ Accounts = (*account.Accounts)(nil)

// Config of Open. Folder, Issuer, Service and Accounts are required.
type Config struct {
	Folder   string // keeps the keys
	Issuer   string // who issues, such as the public address
	Service  string // what for: the audience of every token
	Accounts Accounts
	Now      func() time.Time // default: the system's clock
	Log      *slog.Logger     // default: discards
}

// Issuer makes and verifies access tokens. Safe for concurrent use.
type Issuer struct {
	Config
	keys     *keys
	parser   *jwt.Parser
	verified *lru.Cache[[sha256.Size]byte, verified]
}

// verified is what a token that was good once said: it is as good until it
// expires, since the signature does not change.
type verified struct {
	kind       auth.Kind
	name       string
	credential int64
	claims     map[string]string
	access     *auth.Access
	expires    time.Time
	keyID      string
}

// claims are those of a token. Subject is an actor's name.
type claims struct {
	jwt.RegisteredClaims
	Access     []Resource        `json:"access"`
	Credential int64             `json:"slipway_token,omitempty"`  // id of the token behind it
	Workload   map[string]string `json:"slipway_claims,omitempty"` // of a workload, which has no account
}

// Open reads the keys, or makes the first.
func Open(c Config) (*Issuer, error) {
	if c.Issuer == "" || c.Service == "" || c.Accounts == nil {
		return nil, errors.New("open the issuer of access tokens: it needs a name, a service and accounts")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	k, err := openKeys(c.Folder, rotateAfter, Life+2*leeway, c.Now, c.Log)
	if err != nil {
		return nil, err
	}
	cache, err := lru.New[[sha256.Size]byte, verified](verifiedKept)
	if err != nil {
		return nil, err
	}
	return &Issuer{Config: c, keys: k, verified: cache, parser: jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithStrictDecoding(),
		jwt.WithIssuer(c.Issuer), jwt.WithAudience(c.Service),
		jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(c.Now),
	)}, nil
}

// Token is an access token as its client gets it.
type Token struct {
	Value   string
	Issued  time.Time
	Expires time.Time
	Granted []Resource // what of that which was asked for is in it
}

// Issue makes a token for an identity, for what of the resources allowed lets
// through. Nothing at all is no error: such a token still says who its bearer
// is. An identity that came by an access token gets no other one.
func (s *Issuer) Issue(i auth.Identity, asked []Resource, allowed func(auth.Action, string) bool) (Token, error) {
	switch {
	case i.Access != nil:
		return Token{}, oci.NewError(oci.CodeDenied, "an access token cannot be exchanged for another: log in with what it was got with")
	case i.Kind == auth.KindLocal || i.Kind == auth.KindSystem:
		return Token{}, oci.NewError(oci.CodeDenied, "the "+i.Actor()+" has no account, and gets no token")
	}
	granted := grant(asked, allowed)
	k := s.keys.signing()
	now := s.Now()
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	t := Token{Issued: now, Expires: now.Add(Life), Granted: granted}
	c := claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: s.Issuer, Subject: i.Actor(), Audience: jwt.ClaimStrings{s.Service}, ID: hex.EncodeToString(id),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(t.Expires),
		},
		Access: granted, Credential: i.Credential,
	}
	if i.Kind == auth.KindWorkload {
		c.Workload = i.Claims
	}
	signed := jwt.NewWithClaims(jwt.SigningMethodEdDSA, c)
	signed.Header["kid"] = k.ID
	var err error
	if t.Value, err = signed.SignedString(k.Private); err != nil {
		return Token{}, fmt.Errorf("sign an access token: %w", err)
	}
	return t, nil
}

// Verify is the identity of who bears a token, as it is now, with what the
// token was issued for. Its error is an UNAUTHORIZED *oci.Error for a token
// that is not good. A token that was seen before costs microseconds.
func (s *Issuer) Verify(ctx context.Context, raw string) (auth.Identity, error) {
	if len(raw) > maxToken {
		return auth.Identity{}, invalid(errors.New("it is too long"))
	}
	sum := sha256.Sum256([]byte(raw))
	v, ok := s.verified.Get(sum)
	if !ok {
		var err error
		if v, err = s.parse(raw); err != nil {
			return auth.Identity{}, invalid(err)
		}
		s.verified.Add(sum, v)
	} else if _, accepted := s.keys.public(v.keyID); !accepted || !s.Now().Before(v.expires.Add(leeway)) {
		s.verified.Remove(sum)
		return auth.Identity{}, invalid(errors.New("it has expired"))
	}
	i := auth.Identity{Kind: v.kind, Name: v.name, Claims: v.claims}
	if v.kind == auth.KindUser || v.kind == auth.KindRobot {
		var err error
		if i, err = s.Accounts.Current(ctx, v.kind, v.name, v.credential); err != nil {
			if errors.Is(err, account.ErrRefused) {
				err = invalid(err)
			}
			return auth.Identity{}, err
		}
	}
	i.Access = v.access
	return i, nil
}

// invalid is the one answer to every token that is not good. Clients that get
// it ask for a new one.
func invalid(why error) *oci.Error {
	return oci.NewError(oci.CodeUnauthorized, "the access token is not valid, or not any more: ask for another").WithCause(why)
}

func (s *Issuer) parse(raw string) (verified, error) {
	var c claims
	t, err := s.parser.ParseWithClaims(raw, &c, func(t *jwt.Token) (any, error) {
		id, _ := t.Header["kid"].(string)
		if public, ok := s.keys.public(id); ok {
			return public, nil
		}
		return nil, errors.New("its key is not known here, or not any more")
	})
	if err != nil {
		return verified{}, err
	}
	kind, name, ok := auth.ParseActor(c.Subject)
	if !ok || kind == auth.KindLocal || kind == auth.KindSystem {
		return verified{}, fmt.Errorf("its subject %.80q is not one of ours", c.Subject)
	}
	id, _ := t.Header["kid"].(string)
	return verified{kind: kind, name: name, credential: c.Credential, claims: c.Workload, access: access(c.Access), expires: c.ExpiresAt.Time, keyID: id}, nil
}
