package remote

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"
)

const (
	maxManifest = 8 << 20  // a manifest, an index, a list of referrers
	maxListing  = 32 << 20 // one page of tags or repositories
	maxConfig   = 8 << 20  // an image's configuration
)

var errPlainHTTP = errors.New("plain HTTP is not allowed to this address")

// guardedTransport keeps what a registry may do to this process within limits:
// answers that are read into memory are cut off, and HTTP without TLS to
// private addresses, which the library would try by itself, is refused.
type guardedTransport struct {
	inner     http.RoundTripper
	plainHTTP bool
}

// transports is one transport for each host that has authorities of its own,
// and one for all others.
type transports struct {
	others *http.Transport
	roots  func(host string) *x509.CertPool

	mu     sync.Mutex
	byHost map[string]*http.Transport
}

func (t *transports) RoundTrip(req *http.Request) (*http.Response, error) {
	return t.of(req.URL.Host).RoundTrip(req)
}

func (t *transports) of(host string) *http.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	if own, known := t.byHost[host]; known {
		return own
	}
	own := t.others
	if pool := t.roots(host); pool != nil {
		own = t.others.Clone()
		own.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	t.byHost[host] = own
	return own
}

func newTransport(o Options) http.RoundTripper {
	t := ggcr.DefaultTransport.(*http.Transport).Clone()
	// An answer starts at once, or after the registry has hashed what it was
	// sent; bodies may take as long as they need.
	t.ResponseHeaderTimeout = 5 * time.Minute
	if o.SkipVerify {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // asked for by the user
	}
	g := &guardedTransport{inner: t, plainHTTP: o.PlainHTTP}
	if o.Roots != nil && !o.SkipVerify {
		g.inner = &transports{others: t, roots: o.Roots, byHost: map[string]*http.Transport{}}
	}
	return g
}

func (g *guardedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	registryCall := strings.HasPrefix(req.URL.Path, "/v2/")
	if registryCall && req.URL.Scheme == "http" && !g.plainHTTP && !isLoopback(req.URL.Host) && isAddress(req.URL.Host) {
		return nil, errPlainHTTP
	}
	resp, err := g.inner.RoundTrip(req)
	if err != nil || !registryCall || req.Method != http.MethodGet {
		return resp, err
	}
	switch path := req.URL.Path; {
	case strings.Contains(path, "/manifests/"), strings.Contains(path, "/referrers/"):
		resp.Body = &cappedBody{ReadCloser: resp.Body, left: maxManifest, max: maxManifest}
	case strings.HasSuffix(path, "/tags/list"), strings.HasSuffix(path, "/_catalog"):
		resp.Body = &cappedBody{ReadCloser: resp.Body, left: maxListing, max: maxListing}
	}
	return resp, nil
}

// isAddress reports whether host is an IP address rather than a name.
func isAddress(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return net.ParseIP(strings.Trim(host, "[]")) != nil
}

// cappedBody fails once more than max bytes were read.
type cappedBody struct {
	io.ReadCloser
	left, max int64
}

func (b *cappedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("the registry's answer is larger than %d MiB", b.max>>20)
	}
	return n, err
}
