package certs

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// Machine is how this machine can be called.
type Machine struct {
	Hostname  string
	Domain    string       // its name with a domain, or ""
	Addresses []netip.Addr // of its interfaces, in their order
}

const (
	// lookupPatience is how long the name server is asked for the machine's own
	// name.
	lookupPatience = 2 * time.Second
	// lookupAgain is how long nothing is asked after it was in vain.
	lookupAgain = 10 * time.Minute
)

// ThisMachine returns a function that looks at the machine. It may be called
// often: the name server is asked when the host name has changed, and seldom
// while it knows none with a domain.
func ThisMachine() func() (Machine, error) {
	var mu sync.Mutex
	var asked, domain string
	var when time.Time
	return func() (Machine, error) {
		mu.Lock()
		defer mu.Unlock()
		var m Machine
		var err error
		if m.Hostname, err = os.Hostname(); err != nil {
			return Machine{}, fmt.Errorf("find the machine's name: %w", err)
		}
		if asked != m.Hostname || domain == "" && time.Since(when) > lookupAgain {
			asked, domain, when = m.Hostname, domainName(m.Hostname), time.Now()
		}
		m.Domain = domain
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			return Machine{}, fmt.Errorf("find the machine's addresses: %w", err)
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				m.Addresses = append(m.Addresses, p.Addr().Unmap())
			}
		}
		return m, nil
	}
}

// domainName asks for the host's name with a domain.
func domainName(hostname string) string {
	ctx, cancel := context.WithTimeout(context.Background(), lookupPatience)
	defer cancel()
	name, err := net.DefaultResolver.LookupCNAME(ctx, hostname)
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if err != nil || !strings.HasPrefix(name, strings.ToLower(hostname)+".") {
		return ""
	}
	return name
}

// mostAddresses is how many addresses a certificate carries: with thousands,
// as the service addresses of Kubernetes can be, no handshake fits.
const mostAddresses = 200

// names lists what a certificate of the machine is for: the given names, its
// own, and its addresses. Link-local IPv6 addresses only mean something with a
// zone, which no certificate has.
func (m Machine) names(given []string, used []netip.Addr) (dns []string, ips []netip.Addr) {
	seen := map[string]bool{}
	add := func(s string) {
		name, err := ParseName(s)
		if err != nil || seen[name] {
			return // a host may be called what no certificate can
		}
		addr, err := netip.ParseAddr(name)
		if err == nil && len(ips) >= mostAddresses {
			return
		}
		seen[name] = true
		if err == nil {
			ips = append(ips, addr)
		} else {
			dns = append(dns, name)
		}
	}
	for _, name := range given {
		add(name)
	}
	add(m.Hostname)
	if short, _, ok := strings.Cut(m.Hostname, "."); ok {
		add(short)
	}
	add(m.Domain)
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		add(name)
	}
	for _, list := range [][]netip.Addr{used, m.Addresses} {
		for _, addr := range list {
			if !addr.Is6() || !addr.IsLinkLocalUnicast() {
				add(addr.WithZone("").String())
			}
		}
	}
	return dns, ips
}
