package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Origin is where a request came from and what the client asked for, as far as
// that can be believed.
type Origin struct {
	Client  netip.Addr // zero for a socket of this machine
	Scheme  string     // http or https, between the client and the first trusted proxy
	Host    string     // with the port, if the client gave one
	Proxied bool       // by a trusted proxy, which told of Client
}

// Local tells whether a program of this machine made the connection for
// itself. A proxy does it for others, wherever it runs.
func (o Origin) Local() bool {
	return !o.Proxied && (o.Client.IsLoopback() || !o.Client.IsValid())
}

// Proxies are the networks whose word about a request's origin is believed.
//
// A proxy appends who spoke to it on the right of X-Forwarded-For or Forwarded
// (RFC 7239); what stands to the left was there before and may be made up. So
// the walk begins at the right and ends at the first address that is no trusted
// proxy. Where the headers cannot be understood, or two of them contradict each
// other, the request is refused: to fall back on the proxy's own address would
// give a stranger the proxy's rights.
type Proxies struct{ Networks Networks }

var errForwarded = errors.New("the headers that tell where a proxied request came from cannot be believed")

type originKey struct{}

// OriginOf returns the origin of a request that went through a Config.
func OriginOf(r *http.Request) Origin {
	if o, ok := r.Context().Value(originKey{}).(Origin); ok {
		return o
	}
	o := Origin{Client: parseAddrPort(r.RemoteAddr), Scheme: "http", Host: r.Host}
	if r.TLS != nil {
		o.Scheme = "https"
	}
	return o
}

var forwardedHeaders = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Real-Ip"}

// origin finds the origin of a request and takes the headers away, so that
// nobody behind believes them by mistake.
func (p Proxies) origin(r *http.Request) (*http.Request, error) {
	o := OriginOf(r)
	var told http.Header
	for _, name := range forwardedHeaders {
		if values, ok := r.Header[name]; ok {
			if told == nil {
				told = http.Header{}
			}
			told[name] = values
			delete(r.Header, name)
		}
	}
	if len(told) == 0 || !p.Networks.Contains(o.Client) {
		return r, nil
	}
	if err := p.believe(&o, told); err != nil {
		return r, fmt.Errorf("%w: %w; have the proxy at %s set X-Forwarded-For, -Proto and -Host itself, and drop Forwarded", errForwarded, err, o.Client)
	}
	return r.WithContext(context.WithValue(r.Context(), originKey{}, o)), nil
}

func (p Proxies) believe(o *Origin, told http.Header) error {
	hops, err := xForwarded(told)
	if err != nil {
		return err
	}
	standard, err := forwarded(told.Values("Forwarded"))
	if err != nil {
		return err
	}
	if len(hops) == 0 {
		hops = standard
	} else if len(standard) > 0 && !slices.EqualFunc(hops, standard, agree) {
		// Most proxies write one and pass on the other as the client sent it.
		return errors.New("Forwarded and X-Forwarded-For differ")
	}
	if len(hops) == 0 {
		return errors.New("X-Forwarded-For is missing")
	}
	for i := len(hops) - 1; i >= 0; i-- {
		hop := hops[i]
		client, err := parseNode(hop.from)
		if err != nil {
			return err
		}
		o.Client, o.Proxied = client, true
		if hop.proto != "" {
			o.Scheme = hop.proto
		}
		if hop.host != "" {
			o.Host = hop.host
		}
		if !p.Networks.Contains(client) {
			break
		}
	}
	if o.Scheme != "http" && o.Scheme != "https" {
		return fmt.Errorf("the scheme %q is neither http nor https", clip(o.Scheme))
	}
	if safeHostPort(o.Host) == "" {
		return fmt.Errorf("the host %q is none", clip(o.Host))
	}
	return nil
}

// hop is what one proxy told: who spoke to it, by which scheme, to which host.
type hop struct{ from, proto, host string }

// agree tells whether two headers say the same of a hop, as far as both do.
func agree(a, b hop) bool {
	from, err := parseNode(a.from)
	other, otherErr := parseNode(b.from)
	return err == nil && otherErr == nil && from == other &&
		(a.proto == "" || b.proto == "" || a.proto == b.proto) &&
		(a.host == "" || b.host == "" || a.host == b.host)
}

// xForwarded reads the X- headers. They are lists that may be spread over
// several lines (RFC 9110, section 5.3). Proto and Host are often not appended
// to but set: one value is the client's, whatever the number of proxies.
func xForwarded(told http.Header) ([]hop, error) {
	chain := listOf(told.Values("X-Forwarded-For"))
	hops := make([]hop, len(chain))
	for i, from := range chain {
		hops[i].from = from
	}
	for name, set := range map[string]func(*hop, string){
		"X-Forwarded-Proto": func(h *hop, v string) { h.proto = schemeOf(v) },
		"X-Forwarded-Host":  func(h *hop, v string) { h.host = v },
	} {
		values := listOf(told.Values(name))
		if len(values) == 0 {
			continue
		}
		same := !slices.ContainsFunc(values, func(v string) bool { return v != values[0] })
		if !same && len(values) != len(hops) {
			return nil, fmt.Errorf("%s has %d values that differ, for %d addresses", name, len(values), len(hops))
		}
		for i := range hops {
			if same {
				set(&hops[i], values[0])
			} else {
				set(&hops[i], values[i])
			}
		}
	}
	return hops, nil
}

// schemeOf also takes what Traefik says of web sockets.
func schemeOf(v string) string {
	switch v = strings.ToLower(v); v {
	case "wss":
		return "https"
	case "ws":
		return "http"
	}
	return v
}

func listOf(lines []string) []string {
	var list []string
	for _, line := range lines {
		for v := range strings.SplitSeq(line, ",") {
			if v = strings.TrimSpace(v); v != "" {
				list = append(list, v)
			}
		}
	}
	return list
}

// parseNode reads 1.2.3.4, 1.2.3.4:80, ::1, [::1] and [::1]:80. Names that
// hide an address (RFC 7239, section 6) are refused with all others.
func parseNode(s string) (netip.Addr, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return addr.Unmap(), nil
	}
	host, _ := splitHost(s)
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" || safeHostPort(s) == "" {
		return netip.Addr{}, fmt.Errorf("%q is not an address", clip(s))
	}
	return addr.Unmap(), nil
}
