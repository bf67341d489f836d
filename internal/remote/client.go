package remote

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// DefaultJobs is how many blobs are transferred at once unless Options say otherwise.
const DefaultJobs = 4

// Options configure a Client. The zero value works.
type Options struct {
	// PlainHTTP also tries HTTP without TLS, after HTTPS. It is always tried
	// on localhost, 127.0.0.0/8 and [::1].
	PlainHTTP bool
	// SkipVerify accepts any TLS certificate.
	SkipVerify bool
	// Roots are the authorities by which a host, with its port as image names
	// have it, is known. nil, or a nil result, means the system's.
	Roots func(host string) *x509.CertPool
	// Jobs is the number of parallel transfers; 0 means DefaultJobs.
	Jobs int
	// UserAgent goes in front of the library's own.
	UserAgent string
	// Keychain finds credentials; nil means Docker's config.json with its
	// credential helpers, or else Podman's auth.json.
	Keychain authn.Keychain
	// Progress hears about transfers; nil means nobody does.
	Progress Progress
}

// Client works on registries. It is safe for concurrent use.
type Client struct {
	opts     Options
	base     http.RoundTripper
	keychain authn.Keychain
	puller   *ggcr.Puller
	pusher   *ggcr.Pusher
}

// New returns a client. It sends nothing until it is used.
func New(o Options) (*Client, error) {
	if o.Jobs < 0 {
		return nil, fmt.Errorf("jobs is %d: %w", o.Jobs, ErrInvalid)
	}
	if o.Jobs == 0 {
		o.Jobs = DefaultJobs
	}
	if o.Progress == nil {
		o.Progress = silence{}
	}
	c := &Client{opts: o, base: newTransport(o), keychain: o.Keychain}
	if c.keychain == nil {
		c.keychain = authn.DefaultKeychain
	}
	options := []ggcr.Option{
		ggcr.WithTransport(c.base),
		ggcr.WithAuthFromKeychain(c.keychain),
		ggcr.WithJobs(o.Jobs),
		ggcr.WithUserAgent(o.UserAgent),
	}
	var err error
	if c.puller, err = ggcr.NewPuller(options...); err != nil {
		return nil, err
	}
	if c.pusher, err = ggcr.NewPusher(options...); err != nil {
		return nil, err
	}
	return c, nil
}

// authorized returns an HTTP client that signs requests to repo's registry for
// the given scope, for the few requests that the library has no call for.
func (c *Client) authorized(ctx context.Context, repo name.Repository, scope string) (*http.Client, error) {
	auth, err := authn.Resolve(ctx, c.keychain, repo)
	if err != nil {
		return nil, err
	}
	rt := transport.NewRetry(c.base)
	if c.opts.UserAgent != "" {
		rt = transport.NewUserAgent(rt, c.opts.UserAgent)
	}
	signed, err := transport.NewWithContext(ctx, repo.Registry, auth, rt, []string{repo.Scope(scope)})
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: signed}, nil
}

// nameOptions allow plain HTTP where Options or the address itself do.
func (c *Client) nameOptions(ref string) []name.Option {
	host, _, _ := strings.Cut(ref, "/")
	if c.opts.PlainHTTP || isLoopback(host) {
		return []name.Option{name.Insecure}
	}
	return nil
}

// isLoopback reports whether host, which may carry a port, is this machine.
func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func invalid(what, text string, err error) error {
	if err == nil {
		return fmt.Errorf("%q is not a %s: %w", CleanText(text), what, ErrInvalid)
	}
	return fmt.Errorf("%q is not a %s (%s): %w", CleanText(text), what, CleanText(err.Error()), ErrInvalid)
}

func (c *Client) parseReference(ref string) (name.Reference, error) {
	if h, port, err := net.SplitHostPort(ref); err == nil && !strings.Contains(ref, "/") && (isLoopback(h) || isAddress(h)) && port != "" {
		return nil, invalid("reference: it names a registry and no repository", ref, nil)
	}
	r, err := name.ParseReference(ref, c.nameOptions(ref)...)
	if err != nil {
		return nil, invalid("reference, which looks like HOST/NAME:TAG or HOST/NAME@sha256:…", ref, nil)
	}
	return r, nil
}

func (c *Client) parseRepository(repo string) (name.Repository, error) {
	r, err := name.NewRepository(repo, c.nameOptions(repo)...)
	if err != nil {
		return name.Repository{}, invalid("repository, which looks like HOST/NAME without a tag", repo, nil)
	}
	return r, nil
}

func (c *Client) parseRegistry(host string) (name.Registry, error) {
	if strings.Contains(host, "://") {
		return name.Registry{}, invalid("registry; leave out the scheme, as in registry.example:5000", host, nil)
	}
	r, err := name.NewRegistry(host, append(c.nameOptions(host), name.StrictValidation)...)
	if err != nil {
		return name.Registry{}, invalid("registry, which looks like HOST or HOST:PORT", host, nil)
	}
	return r, nil
}

// hasTag reports whether the text of a reference names a tag or a digest itself.
func hasTag(ref string) bool {
	last := ref[strings.LastIndex(ref, "/")+1:]
	return strings.ContainsAny(last, ":@")
}
