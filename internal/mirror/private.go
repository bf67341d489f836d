package mirror

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"syscall"
	"time"
)

// publicOnly is the transport for upstreams that nobody configured: whoever
// may pull could otherwise make this server talk to machines of its own
// network. It looks at addresses after names are resolved, so it holds for
// redirects too. A proxy may be anywhere; what it reaches is its own matter.
func publicOnly(rt http.RoundTripper) http.RoundTripper {
	base, ok := rt.(*http.Transport)
	if !ok {
		return rt
	}
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
	free := net.Dialer{Timeout: 30 * time.Second}
	strict := free
	strict.Control = func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if a := ap.Addr().Unmap(); !a.IsGlobalUnicast() || a.IsPrivate() || sharedSpace.Contains(a) {
			return fmt.Errorf("%w: %s", errPrivate, a)
		}
		return nil
	}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if _, ok := proxies.Load(address); ok {
			return free.DialContext(ctx, network, address)
		}
		return strict.DialContext(ctx, network, address)
	}
	return t
}

var (
	errPrivate  = errors.New("it is at an address of a private network: name it in mirror.upstreams if that is right")
	sharedSpace = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
)

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
		if port == "" {
			port = "80"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}
