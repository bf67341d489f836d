package git

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"

	"golang.org/x/net/http/httpproxy"
)

// special are networks that are not the public Internet and that netip has no
// method for.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // carriers' NAT
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("fec0::/10"),
	// These carry an IPv4 address, which may be anything.
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("2002::/16"),
}

// private says whether an address is not one of the public Internet.
func private(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return true
	}
	for _, p := range special {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// guard decides which machines may be talked to.
type guard struct {
	allowPrivate bool
	proxy        func(*url.URL) (*url.URL, error)
}

func newGuard(o Options) guard {
	p := httpproxy.Config{HTTPProxy: o.Proxy.HTTP, HTTPSProxy: o.Proxy.HTTPS, NoProxy: o.Proxy.No}
	return guard{o.AllowPrivate, p.ProxyFunc()}
}

// pin resolves the host of u, once, and returns the addresses that are to be
// used. nil means that nothing needs to be pinned: private addresses are
// allowed, or a proxy of ours resolves the name, whose rules then apply.
func (g guard) pin(ctx context.Context, u URL) ([]netip.Addr, error) {
	if g.allowPrivate || u.Scheme == "file" {
		return nil, nil
	}
	host, _ := splitPort(u)
	proxied := false
	if u.Scheme != "ssh" {
		if p, err := g.proxy(&url.URL{Scheme: u.Scheme, Host: u.Host}); err == nil && p != nil {
			proxied = true
		}
	}
	addresses, err := resolve(ctx, host)
	if err != nil && proxied {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", host, err)
	}
	for _, a := range addresses {
		if private(a) {
			return nil, fmt.Errorf("%s has the address %s: %w. An administrator can allow it", host, a, ErrPrivate)
		}
	}
	if proxied {
		return nil, nil
	}
	return addresses, nil
}

func resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err == nil && len(addresses) == 0 {
		err = fmt.Errorf("it has no address")
	}
	return addresses, err
}

// splitPort returns host and port of an address, without brackets.
func splitPort(u URL) (host, port string) {
	host, port = u.Host, map[string]string{"https": "443", "http": "80", "ssh": "22"}[u.Scheme]
	if h, p, err := net.SplitHostPort(u.Host); err == nil {
		host, port = h, p
	}
	return strings.Trim(host, "[]"), port
}

// client is an HTTP client under the same rules. The address is judged when it
// is connected to, so that no name can resolve differently then.
func (g guard) client(o Options) (*http.Client, error) {
	tls, err := o.tls()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: connectTimeout}
	direct := &net.Dialer{Timeout: connectTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !g.allowPrivate && private(a.Addr()) {
			return fmt.Errorf("%s: %w. An administrator can allow it", a.Addr(), ErrPrivate)
		}
		return nil
	}}
	proxies := map[string]bool{}
	for _, p := range []string{o.Proxy.HTTP, o.Proxy.HTTPS} {
		if !strings.Contains(p, "://") {
			p = "http://" + p
		}
		if u, err := url.Parse(p); err == nil && u.Host != "" {
			_, port := splitPort(URL{Scheme: u.Scheme, Host: u.Host})
			proxies[net.JoinHostPort(u.Hostname(), port)] = true
		}
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy: func(r *http.Request) (*url.URL, error) { return g.proxy(r.URL) },
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				if proxies[address] { // the administrator's, wherever it is
					return dialer.DialContext(ctx, network, address)
				}
				return direct.DialContext(ctx, network, address)
			},
			TLSClientConfig:       tls,
			TLSHandshakeTimeout:   connectTimeout,
			ResponseHeaderTimeout: answerTimeout,
			ForceAttemptHTTP2:     true,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) >= 5 || r.URL.Scheme != "https" && via[0].URL.Scheme == "https" {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}, nil
}
