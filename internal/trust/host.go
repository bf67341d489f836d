package trust

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// Host is a registry as image references name it.
type Host struct {
	name string // a DNS name or an address, without brackets
	port string // empty: 443, and references name none either
}

var dnsName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)

// ParseHost reads HOST, HOST:PORT or an https URL without a path. It accepts
// nothing that could be more than one element of a path.
func ParseHost(s string) (Host, error) {
	rest := strings.TrimSuffix(strings.TrimPrefix(s, "https://"), "/")
	switch {
	case rest == "":
		return Host{}, errors.New("the registry has no name: give HOST or HOST:PORT")
	case strings.HasPrefix(rest, "http://"):
		return Host{}, fmt.Errorf("%s is plain HTTP, which has no certificate: give HOST:PORT of a port that serves TLS", s)
	case strings.Contains(rest, "/"):
		return Host{}, fmt.Errorf("%q is more than a registry: give HOST or HOST:PORT, without a repository", s)
	}
	invalid := fmt.Errorf("%q is no registry: give HOST or HOST:PORT, and an IPv6 address in brackets", s)
	if ip, err := netip.ParseAddr(rest); err == nil && ip.Is6() { // no brackets, so no port
		rest = "[" + rest + "]"
	}
	var h Host
	if inner, ok := strings.CutPrefix(rest, "["); ok {
		address, after, closed := strings.Cut(inner, "]")
		ip, err := netip.ParseAddr(address)
		if err != nil || !closed || !ip.Is6() || ip.Zone() != "" {
			return Host{}, invalid
		}
		h.name, rest = ip.String(), after
		if rest != "" && rest[0] != ':' {
			return Host{}, invalid
		}
		rest = strings.TrimPrefix(rest, ":")
		if after != "" && rest == "" {
			return Host{}, invalid
		}
	} else {
		var colon bool
		h.name, rest, colon = strings.Cut(rest, ":")
		if len(h.name) > 253 || !dnsName.MatchString(h.name) || (colon && rest == "") {
			return Host{}, invalid
		}
	}
	if rest != "" {
		port, err := strconv.ParseUint(rest, 10, 16)
		if err != nil || port == 0 || strconv.FormatUint(port, 10) != rest {
			return Host{}, fmt.Errorf("%q: the port is a number from 1 to 65535", s)
		}
		h.port = rest
	}
	if h.port == "" && !strings.ContainsAny(h.name, ".:") && h.name != "localhost" {
		return Host{}, fmt.Errorf("image names that begin with %s/ are Docker Hub's, since it has neither a dot nor a port: give %s:443, and use that in image names", h.name, h.name)
	}
	return h, nil
}

// String is the registry as image references, and so the tools' folders, name
// it: [fd00::1]:5000.
func (h Host) String() string {
	name := h.name
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	if h.port == "" {
		return name
	}
	return name + ":" + h.port
}

// url is where the registry serves path, as HTTP clients put it into Host: a
// port 443 is left out.
func (h Host) url(path string) string {
	if h.port == "443" {
		h.port = ""
	}
	return "https://" + h.String() + path
}

// file is a file name for this registry, for places whose programs are
// particular about names.
func (h Host) file() string {
	return strings.NewReplacer(":", "_", "[", "", "]", "").Replace(h.String())
}
