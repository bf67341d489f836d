package edge

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Networks is a list of networks: 10.0.0.0/8, fd00::/8, or one address.
type Networks []netip.Prefix

// ParseNetworks reads a list separated by commas or spaces. Bits after the
// prefix's length are an error: 10.1.2.3/8 may have been meant otherwise.
func ParseNetworks(s string) (Networks, error) {
	var list Networks
	for _, field := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		if addr, err := netip.ParseAddr(field); err == nil && addr.Zone() == "" {
			addr = addr.Unmap()
			list = append(list, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(field)
		if err != nil {
			return nil, fmt.Errorf("%q is not a network such as 10.0.0.0/8, nor an address", field)
		}
		if p != p.Masked() {
			return nil, fmt.Errorf("%s is not a network: did you mean %s, or %s/%d?", field, p.Masked(), p.Addr(), p.Addr().BitLen())
		}
		list = append(list, p)
	}
	return list, nil
}

// Contains tells whether an address is in one of the networks.
func (n Networks) Contains(addr netip.Addr) bool { return contains(n, addr.Unmap().WithZone("")) }

// PlainHTTP is the setting of where HTTP without TLS is served. Programs of
// this machine may always use it.
type PlainHTTP struct {
	Everywhere bool
	Networks   Networks
}

// ParsePlainHTTP reads the setting: loopback, allow, or a list of networks.
func ParsePlainHTTP(s string) (PlainHTTP, error) {
	switch s {
	case "loopback":
		return PlainHTTP{}, nil
	case "allow":
		return PlainHTTP{Everywhere: true}, nil
	}
	n, err := ParseNetworks(s)
	if err != nil || len(n) == 0 {
		return PlainHTTP{}, fmt.Errorf("%q: use loopback, allow, or networks such as 10.0.0.0/8,192.168.1.0/24", s)
	}
	return PlainHTTP{Networks: n}, nil
}

// Allows tells whether plain HTTP is served to where a request came from.
func (p PlainHTTP) Allows(o Origin) bool {
	return p.Everywhere || o.Local() || p.Networks.Contains(o.Client)
}

// PlainGuard stands before everything that must not be spoken in the clear.
type PlainGuard struct {
	Next     http.Handler
	Allow    PlainHTTP
	Refusals *Refusals // may be nil
	Public   string    // host:port by which clients know the server, or ""
}

// ServeHTTP implements http.Handler. A request by TLS, by TLS to a trusted
// proxy, from where plain HTTP is allowed, or for what a client needs before it
// can trust the server is passed on. A browser is sent to https. Everybody else
// is told to upgrade (RFC 9110, section 15.5.22), and what to run.
func (g *PlainGuard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	origin := OriginOf(r)
	if origin.Scheme == "https" || g.Allow.Allows(origin) || needsNoTrust(r.URL.Path) {
		g.Next.ServeHTTP(w, r)
		return
	}
	host, trust := g.addresses(r, origin)
	w.Header().Set("Cache-Control", "no-store")
	if (r.Method == http.MethodGet || r.Method == http.MethodHead) && strings.Contains(r.Header.Get("Accept"), "text/html") {
		// Temporary: the setting may change, and browsers keep a permanent one.
		// Not http.Redirect, which cleans the path.
		w.Header().Set("Location", "https://"+trust+r.URL.RequestURI())
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	g.Refusals.note(origin.Client, Refusal{Reason: SpokeHTTP, Name: host}, trust)
	message := "plain HTTP is not served to " + origin.Client.String() + ": use https://" + trust + ". If the certificate is not trusted yet, run: slipway trust " + trust
	if r.ProtoMajor == 1 {
		w.Header().Set("Upgrade", "TLS/1.2")
		w.Header().Set("Connection", "Upgrade")
	}
	if r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/") {
		// The form of the distribution specification: clients show the message.
		type item struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		}
		body, _ := json.Marshal(map[string][]item{"errors": {{"UNSUPPORTED", message}}}) // strings always have a form
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(http.StatusUpgradeRequired)
		_, _ = w.Write(append(body, '\n'))
		return
	}
	http.Error(w, message, http.StatusUpgradeRequired)
}

// addresses are the host that a client asked for, and what it should use.
func (g *PlainGuard) addresses(r *http.Request, o Origin) (host, trust string) {
	named, port := splitHost(o.Host)
	host = safeHost(named)
	switch {
	case g.Public != "":
		return host, g.Public
	case host != "" && (port != "" || o.Proxied) && safeHostPort(o.Host) != "":
		return host, o.Host // a proxy's own port for TLS is the usual one
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return host, trustAddress("", host, local)
}

// needsNoTrust are paths that are the same for everybody and that a client
// needs before it can speak TLS, and those by which a balancer asks whether the
// server is up: nothing is told or changed there.
func needsNoTrust(path string) bool {
	return path == "/trust" || strings.HasPrefix(path, "/trust/") || path == "/healthz" || path == "/readyz"
}
