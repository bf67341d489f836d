// Package workload lets jobs of a CI system in by the token that the system
// itself gives them (OpenID Connect), so that no secret is stored there: GitHub
// Actions, GitLab, Kubernetes and others sign, for each job, who it is.
//
// An Issuer is such a system: a short name, its URL, and the audience that its
// jobs ask a token for, which says that the token is meant for this server and
// no other. The token is verified against the keys that the issuer publishes.
// What it says of the job becomes the claims of an identity, which a rule then
// looks at:
//
//	workload:issuer=github,repository=org/app,ref=refs/heads/main
//
// "issuer" is the short name and is set here, whatever the token has under that
// name; a rule has to begin with it, since a claim means something only in the
// mouth of who makes it.
//
// There is no account behind a workload: it may do what a rule gives it, as
// long as its token lasts.
package workload

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"slipway/internal/auth"
	"slipway/internal/oci"
)

// Issuer is a system whose jobs may log in. All fields are required.
type Issuer struct {
	Name     string // as rules have it, such as github
	URL      string // as tokens have it in "iss", such as https://token.actions.githubusercontent.com
	Audience string // such as the public address of this server
}

// Config of New.
type Config struct {
	Issuers []Issuer
	// Transport reaches the issuers; it decides which addresses may be. What
	// it brings is bounded here. Default: http.DefaultTransport.
	Transport http.RoundTripper
	Now       func() time.Time // default: the system's clock
}

// Workloads verifies tokens of jobs. Safe for concurrent use.
type Workloads struct {
	issuers map[string]*issuer // by URL
}

type issuer struct {
	Issuer
	client *http.Client
	now    func() time.Time

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier // nil until the issuer has answered
}

// The algorithms that are accepted: asymmetric ones, and so no "none" either.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}

const (
	maxToken = 16 << 10
	// What is kept of a token's claims goes into access tokens.
	maxClaims = 6 << 10
	maxClaim  = 512
	maxName   = 300
)

// New checks the issuers. None of them is asked before a token of it comes.
func New(c Config) (*Workloads, error) {
	if c.Transport == nil {
		c.Transport = http.DefaultTransport
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	w := &Workloads{issuers: map[string]*issuer{}}
	names := map[string]bool{}
	for _, i := range c.Issuers {
		if err := i.check(); err != nil {
			return nil, err
		}
		if names[i.Name] || w.issuers[i.URL] != nil {
			return nil, fmt.Errorf("issuer %s: its name or its URL is there twice", i.Name)
		}
		names[i.Name] = true
		w.issuers[i.URL] = &issuer{Issuer: i, now: c.Now, client: &http.Client{
			Timeout: fetchTimeout, Transport: newBounded(c.Transport, c.Now), CheckRedirect: refuseRedirect,
		}}
	}
	return w, nil
}

func (i Issuer) check() error {
	if err := auth.CheckName(i.Name); err != nil {
		return fmt.Errorf("issuer of workload tokens: %w", err)
	}
	if strings.ContainsAny(i.Name, ",=*") || i.Audience == "" {
		return fmt.Errorf("issuer %s: it needs an audience: what jobs ask a token for, such as the address of this server", i.Name)
	}
	u, err := url.Parse(i.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("issuer %s: its URL %q must be https://HOST/…, as its tokens have it in the claim iss", i.Name, i.URL)
	}
	return nil
}

// Is reports whether a string that was shown looks like a token of one of the
// issuers. It believes what the string says, so it decides nothing.
func (w *Workloads) Is(raw string) bool {
	_, ok := w.issuers[claimedIssuer(raw)]
	return ok
}

func claimedIssuer(raw string) string {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || len(raw) > maxToken {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Issuer
}

// Verify is the identity of the job that shows a token. Its error is an
// UNAUTHORIZED *oci.Error for a token that is not good, and UNAVAILABLE if its
// issuer cannot be asked for its keys.
func (w *Workloads) Verify(ctx context.Context, raw string) (auth.Identity, error) {
	i := w.issuers[claimedIssuer(raw)]
	if i == nil {
		return auth.Identity{}, refused(errors.New("its issuer is not one that is trusted here"))
	}
	verifier, err := i.verify(ctx)
	if err != nil {
		return auth.Identity{}, oci.NewError(oci.CodeUnavailable, fmt.Sprintf("the issuer %s cannot be asked for its keys: try again; the log says why", i.Name)).WithCause(err)
	}
	t, err := verifier.Verify(ctx, raw)
	if err != nil {
		return auth.Identity{}, refused(err)
	}
	var claims map[string]any
	if err := t.Claims(&claims); err != nil {
		return auth.Identity{}, refused(err)
	}
	name := i.Name + "/" + t.Subject
	if t.Subject == "" || len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return auth.Identity{}, refused(errors.New("its subject is missing, too long, or not visible ASCII"))
	}
	return auth.Identity{Kind: auth.KindWorkload, Name: name, Claims: i.claims(claims)}, nil
}

func refused(why error) *oci.Error {
	return oci.NewError(oci.CodeUnauthorized, "the workload's token is not valid, or not any more: the job has to ask for one with the audience of this server").WithCause(why)
}

// claims keeps what a rule can look at: texts, numbers and booleans. What is too
// long, or too much in the order of names, is left out, and then no rule
// matches it.
func (i *issuer) claims(all map[string]any) map[string]string {
	kept := map[string]string{}
	size := 0
	for _, name := range slices.Sorted(maps.Keys(all)) {
		var s string
		switch v := all[name].(type) {
		case string:
			s = v
		case bool, float64:
			s = fmt.Sprint(v)
		default:
			continue
		}
		if n := len(name) + len(s); n <= maxClaim && size+n <= maxClaims {
			kept[name] = s
			size += n
		}
	}
	kept[auth.ClaimIssuer] = i.Name
	return kept
}

// verify asks the issuer where its keys are, the first time that it answers.
func (i *issuer) verify(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.verifier != nil {
		return i.verifier, nil
	}
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, i.client), i.URL)
	if err != nil {
		return nil, fmt.Errorf("ask issuer %s: %w", i.Name, err)
	}
	// The keys are fetched later, for whoever comes then.
	i.verifier = provider.VerifierContext(oidc.ClientContext(context.WithoutCancel(ctx), i.client),
		&oidc.Config{ClientID: i.Audience, SupportedSigningAlgs: algorithms, Now: i.now})
	return i.verifier, nil
}
