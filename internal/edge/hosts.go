package edge

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// What a client calls the server ends up in commands that people copy. So only
// names and addresses are taken over, never other characters.

// safeHost returns a host name or address without port as it is, if it is one,
// and otherwise "".
func safeHost(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil && addr.Zone() == "" {
		return host
	}
	if host == "" || len(host) > 253 || host[0] == '-' || strings.HasPrefix(host, ".") {
		return ""
	}
	for i := range len(host) {
		c := host[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return ""
		}
	}
	return host
}

// safeHostPort does it for a Host header, with or without port.
func safeHostPort(hostport string) string {
	host, port := splitHost(hostport)
	if safeHost(host) == "" || strings.HasSuffix(hostport, ":") {
		return ""
	}
	if port != "" {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return ""
		}
	}
	return hostport
}

// splitHost takes name, name:1, 1.2.3.4:1, [::1] and [::1]:1 apart.
func splitHost(hostport string) (host, port string) {
	if h, p, err := net.SplitHostPort(hostport); err == nil {
		return h, p
	}
	if inner, ok := strings.CutPrefix(hostport, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok && strings.Contains(inner, ":") {
			return inner, ""
		}
	}
	if strings.Contains(hostport, ":") {
		return "", "" // an IPv6 address needs its brackets
	}
	return hostport, ""
}

// trustAddress is what a client should give to `slipway trust`: how clients
// know the server, or what this one called it, or where it came in.
func trustAddress(public, host string, local net.Addr) string {
	if public != "" {
		return public
	}
	at := ""
	if local != nil {
		at = local.String()
	}
	if host == "" {
		return at
	}
	_, port, err := net.SplitHostPort(at)
	if err != nil {
		return host
	}
	return net.JoinHostPort(host, port)
}

// addrOf is the address without port, IPv4 as such, or the zero address for
// what has none, such as a socket of this machine.
func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case nil:
		return netip.Addr{}
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return parseAddrPort(a.String())
}

func parseAddrPort(s string) netip.Addr {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
