package oidc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	dialTimeout = 5 * time.Second
	maxAnswer   = 1 << 20
)

// ErrPrivate is the refusal of an address that nobody has named.
var ErrPrivate = errors.New("it is at an address of a private network, and is not the issuer's own host: name it in the issuer's setting hosts if that is right")

// Guard is base for what belongs to one issuer. The administrator has named the
// issuer, which may be anywhere. What it names in turn, such as the address of
// its keys, must be public unless it is one of the hosts: else who runs a public
// issuer could make this server speak to machines of its own network. Addresses
// are looked at after names are resolved. A proxy may be anywhere; what it
// reaches is its own matter.
func Guard(base *http.Transport, hosts ...string) *http.Transport {
	t := base.Clone()
	var proxies sync.Map // of host:port
	if proxy := base.Proxy; proxy != nil {
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			u, err := proxy(r)
			if u != nil {
				proxies.Store(hostPort(u), true)
			}
			return u, err
		}
	}
	free := net.Dialer{Timeout: dialTimeout}
	strict := net.Dialer{Timeout: dialTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err == nil && private(ap.Addr()) {
			err = fmt.Errorf("%s: %w", ap.Addr(), ErrPrivate)
		}
		return err
	}}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if _, ok := proxies.Load(address); ok || slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, host) }) {
			return free.DialContext(ctx, network, address)
		}
		return strict.DialContext(ctx, network, address)
	}
	t.TLSHandshakeTimeout, t.ResponseHeaderTimeout = dialTimeout, askTimeout
	return t
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		if port = "80"; u.Scheme == "https" {
			port = "443"
		} else if strings.HasPrefix(u.Scheme, "socks5") {
			port = "1080"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// special are networks that are not the public Internet, or carry an IPv4
// address that may be anything, and that netip has no method for.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("fec0::/10"),
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("2002::/16"),
}

func private(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return !a.IsGlobalUnicast() || a.IsPrivate() || slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(a) })
}

// bounded limits what an issuer may answer.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, fmt.Errorf("%s is not https: what an issuer says must come from itself", r.URL.Redacted())
	}
	resp, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = &limited{resp.Body, maxAnswer}
	return resp, nil
}

// limited fails where a body is too long, and does not seem to end there.
type limited struct {
	io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, fmt.Errorf("an issuer answers with more than %d bytes", maxAnswer)
	}
	return n, err
}

// refuseRedirect keeps to the addresses that the issuer itself has named.
func refuseRedirect(*http.Request, []*http.Request) error {
	return errors.New("an issuer that redirects is not followed: set its own URL")
}
