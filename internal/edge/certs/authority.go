package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// AuthorityConfig is what an Authority is made of.
type AuthorityConfig struct {
	Folder string   // ca.crt, ca.key and server.pem; made if it is not there
	Names  []string // names and addresses besides those of the machine
	// Domains limits a CA that is made now to these domains and what is below
	// them, to localhost and to private addresses (RFC 5280, section
	// 4.2.1.10). It is for CAs that go into the stores of whole systems. Empty is
	// no limit, so that the registry may get any name later.
	Domains []string
	Log     *slog.Logger
	Machine func() (Machine, error) // default ThisMachine()
	Now     func() time.Time        // default time.Now
	Every   time.Duration           // between two looks at the machine. Default 1 minute
}

const (
	caFile, caKeyFile, serverFile = "ca.crt", "ca.key", "server.pem"

	// caEndWarning is how long before its end a CA is warned of: every client
	// must be told of the next.
	caEndWarning = 180 * day
	// lookAgain limits what connections to unknown addresses cost.
	lookAgain = time.Second
	// mostUsed is how many addresses are kept in the certificate first, since
	// clients used them.
	mostUsed = 50
)

// Authority is Slipway's own CA and the server certificate that it signed.
type Authority struct {
	config  AuthorityConfig
	ca      pair
	current atomic.Pointer[tls.Certificate]

	mu     sync.Mutex // for all that follows, and to issue
	looked time.Time
	used   []netip.Addr // addresses of the machine that clients came to
	warned time.Time    // of the CA's end
}

var _ Source = (*Authority)(nil)

// OpenAuthority takes the CA and the server certificate from their folder, or
// makes them. A CA is made once: where only its certificate is left, that is an
// error, since a new one would have to be brought to every client. No other
// process may use the folder.
func OpenAuthority(c AuthorityConfig) (*Authority, error) {
	if c.Machine == nil {
		c.Machine = ThisMachine()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Every == 0 {
		c.Every = time.Minute
	}
	var err error
	if c.Names, err = parseNames(c.Names); err != nil {
		return nil, err
	}
	if c.Domains, err = parseNames(c.Domains); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for certificates: %w", err)
	}
	sweep(c.Folder, caFile, caKeyFile, serverFile)
	machine, err := c.Machine()
	if err != nil {
		return nil, err
	}
	a := &Authority{config: c}
	if a.ca, err = openCA(c, machine); err != nil {
		return nil, err
	}
	if saved, err := readPair(filepath.Join(c.Folder, serverFile)); err == nil && saved.cert.CheckSignatureFrom(a.ca.cert) == nil {
		a.current.Store(saved.tls(a.ca))
	}
	if err := a.look(machine); err != nil {
		return nil, err
	}
	if lacks := lacking(a.current.Load().Leaf, c.Names); len(lacks) > 0 {
		c.Log.Warn("the CA is limited to domains that these names are not in", "names", lacks, "domains", a.ca.cert.PermittedDNSDomains)
	}
	a.warnOfEnd()
	return a, nil
}

// CA implements Source.
func (a *Authority) CA() *x509.Certificate { return a.ca.cert }

// Names lists what the certificate is for: host names, then addresses.
func (a *Authority) Names() []string {
	leaf := a.current.Load().Leaf
	list := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		list = append(list, ip.String())
	}
	return list
}

// Certificate implements Source. A client that came to an address of this
// machine that the certificate lacks, because it is new, gets one that has it.
// A name that the certificate lacks is never added: it is the client's word.
func (a *Authority) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	cert := a.current.Load()
	if hello.ServerName != "" || hello.Conn == nil {
		return cert, nil
	}
	local, err := netip.ParseAddrPort(hello.Conn.LocalAddr().String())
	if err != nil || has(cert.Leaf, local.Addr()) {
		return cert, nil
	}
	a.arrived(local.Addr().Unmap().WithZone(""))
	return a.current.Load(), nil
}

// arrived looks whether an address has come to this machine.
func (a *Authority) arrived(addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.config.Now()
	if has(a.current.Load().Leaf, addr) || now.Sub(a.looked).Abs() < lookAgain {
		return
	}
	a.looked = now
	machine, err := a.config.Machine()
	if err != nil || !slices.Contains(machine.Addresses, addr) {
		return // something else brought the connection here
	}
	if !slices.Contains(a.used, addr) {
		a.used = append(a.used, addr)[max(0, len(a.used)+1-mostUsed):]
	}
	if err := a.renew(machine, now); err != nil {
		a.config.Log.Error("cannot make a certificate for a new address", "address", addr, "err", err)
	}
}

// Run implements Source.
func (a *Authority) Run(ctx context.Context) {
	tick := time.NewTicker(a.config.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		machine, err := a.config.Machine()
		if err == nil {
			err = a.look(machine)
		}
		if err != nil {
			a.config.Log.Error("cannot look after the certificate", "err", err)
		}
		a.warnOfEnd()
	}
}

// look makes a certificate if the one that is there does not do any more.
func (a *Authority) look(machine Machine) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.renew(machine, a.config.Now())
}

// renew is look, with the lock held.
func (a *Authority) renew(machine Machine, now time.Time) error {
	cert := a.current.Load()
	if machine.Domain == "" && cert != nil {
		machine.Domain = lastDomain(cert.Leaf, machine.Hostname)
	}
	dns, ips := a.permitted(machine.names(a.config.Names, a.used))
	why := "there was none"
	if cert != nil {
		why = reissue(cert.Leaf, dns, ips, now)
	}
	if why == "" {
		return nil
	}
	server, err := issue(a.ca, machine.Hostname, dns, ips, now)
	if err != nil {
		return err
	}
	a.current.Store(server.tls(a.ca))
	a.config.Log.Info("made a server certificate", "because", why, "until", server.cert.NotAfter.Format(time.DateOnly), "names", dns, "addresses", len(ips))
	// Without it the next start makes another one, which serves as well.
	if err := write(filepath.Join(a.config.Folder, serverFile), server.pem(), 0o600); err != nil {
		a.config.Log.Warn("the server certificate is not kept", "err", err)
	}
	return nil
}

// lastDomain is the machine's name with a domain from the certificate before:
// a name server that does not answer takes nothing away.
func lastDomain(cert *x509.Certificate, hostname string) string {
	for _, name := range cert.DNSNames {
		if strings.HasPrefix(name, strings.ToLower(hostname)+".") {
			return name
		}
	}
	return ""
}

// permitted leaves out what the CA may not sign.
func (a *Authority) permitted(dns []string, ips []netip.Addr) ([]string, []netip.Addr) {
	ca := a.ca.cert
	if len(ca.PermittedDNSDomains) == 0 {
		return dns, ips
	}
	dns = slices.DeleteFunc(dns, func(name string) bool { return !within(ca.PermittedDNSDomains, name) })
	ips = slices.DeleteFunc(ips, func(ip netip.Addr) bool {
		for _, n := range ca.PermittedIPRanges {
			if n.Contains(ip.AsSlice()) {
				return false
			}
		}
		return true
	})
	return dns, ips
}

// warnOfEnd warns once a day.
func (a *Authority) warnOfEnd() {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.config.Now()
	remains := a.CA().NotAfter.Sub(now)
	if remains > caEndWarning || now.Sub(a.warned) < day {
		return
	}
	a.warned = now
	a.config.Log.Warn("the CA ends: stop the server, move ca.crt and ca.key away, start it, and run 'slipway trust' on every client",
		"days", days(remains), "folder", a.config.Folder)
}
