package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	caLife = 10 * 365 * day
	// caBackdate lets a CA that was made by a clock ahead of time stay good when
	// the clock is set right.
	caBackdate = 30 * day
	// serverLife is below the 398 days that Apple's systems accept.
	serverLife = 397 * day
	// clockDifference is how far clients' clocks may be behind.
	clockDifference = time.Hour
)

// firstRelease is a time that no right clock is before.
var firstRelease = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// pair is a certificate and its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// tls adds the CA, so that whoever looks at the connection can see it.
func (p pair) tls(ca pair) *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{p.cert.Raw, ca.cert.Raw}, PrivateKey: p.key, Leaf: p.cert}
}

func (p pair) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})
}

func (p pair) keyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// pem is both in one, so that they can be replaced together.
func (p pair) pem() []byte {
	key, err := p.keyPEM()
	if err != nil {
		panic(err) // keys of P-256 have a form
	}
	return append(p.certPEM(), key...)
}

// readPair reads files that together have a certificate and its key.
func readPair(paths ...string) (pair, error) {
	var all []byte
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return pair{}, err
		}
		all = append(append(all, b...), '\n')
	}
	both, err := tls.X509KeyPair(all, all)
	if err != nil {
		return pair{}, fmt.Errorf("%s: %w", strings.Join(paths, " and "), err)
	}
	key, ok := both.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return pair{}, fmt.Errorf("%s: the key is a %T, not one of ECDSA", strings.Join(paths, " and "), both.PrivateKey)
	}
	return pair{both.Leaf, key}, nil
}

// openCA reads the CA or makes it. The certificate is written last: where it is
// missing, no client can have seen it.
func openCA(c AuthorityConfig, machine Machine) (pair, error) {
	certPath, keyPath := filepath.Join(c.Folder, caFile), filepath.Join(c.Folder, caKeyFile)
	ca, err := readPair(certPath, keyPath)
	if err == nil {
		if !ca.cert.IsCA {
			return pair{}, fmt.Errorf("%s is not the certificate of a CA", certPath)
		}
		if info, err := os.Stat(keyPath); err == nil && info.Mode().Perm()&0o077 != 0 {
			c.Log.Warn("others can read the CA's key; run: chmod 600 "+keyPath, "mode", info.Mode().Perm().String())
		}
		return ca, nil
	}
	if _, there := os.Stat(certPath); !errors.Is(there, fs.ErrNotExist) {
		return pair{}, fmt.Errorf("the CA cannot be used: %w; bring both files back from a backup, or move them away and run 'slipway trust' on every client again", err)
	}
	if ca, err = makeCA(machine.Hostname, c.Domains, c.Now()); err != nil {
		return pair{}, err
	}
	key, err := ca.keyPEM()
	if err != nil {
		return pair{}, err
	}
	if err := write(keyPath, key, 0o600); err != nil {
		return pair{}, err
	}
	if err := write(certPath, ca.certPEM(), 0o644); err != nil {
		return pair{}, err
	}
	c.Log.Info("made a CA", "name", ca.cert.Subject.CommonName, "fingerprint", Fingerprint(ca.cert), "until", ca.cert.NotAfter.Format(time.DateOnly))
	return ca, nil
}

// privateAddresses are what a limited CA may sign: loopback, private, shared
// and link-local ones (RFC 1918, 6598, 3927, 4193, 4291).
var privateAddresses = []string{"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10"}

func makeCA(hostname string, domains []string, now time.Time) (pair, error) {
	if now.Before(firstRelease) {
		return pair{}, fmt.Errorf("this machine's clock says %s: set it before the first start, since the CA's life begins then", now.Format(time.DateTime))
	}
	name := "Slipway CA of " + hostname
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil {
		return pair{}, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{
			CommonName: name[:min(len(name), 64)], // RFC 5280, appendix A: at most 64
			// Stores find CAs by their subject: that of a machine which is set
			// up again must be another.
			SerialNumber: hex.EncodeToString(id[:]),
		},
		NotBefore: now.Add(-caBackdate), NotAfter: now.Add(-caBackdate + caLife),
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},          // no clients, no code, no mail
		IsCA:        true, BasicConstraintsValid: true, MaxPathLenZero: true, // no CA below it
	}
	if len(domains) > 0 {
		template.PermittedDNSDomainsCritical = true
		template.PermittedDNSDomains = append(slices.Clone(domains), "localhost")
		for _, s := range privateAddresses {
			_, n, err := net.ParseCIDR(s)
			if err != nil {
				return pair{}, err
			}
			template.PermittedIPRanges = append(template.PermittedIPRanges, n)
		}
	}
	return sign(template, nil)
}

// issue makes a server certificate.
func issue(ca pair, hostname string, dns []string, ips []netip.Addr, now time.Time) (pair, error) {
	name := "Slipway on " + hostname
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: name[:min(len(name), 64)]},
		NotBefore: now.Add(-clockDifference), NotAfter: now.Add(-clockDifference + serverLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    dns, BasicConstraintsValid: true,
	}
	if template.NotAfter.After(ca.cert.NotAfter) {
		template.NotAfter = ca.cert.NotAfter
	}
	if !template.NotAfter.After(now) {
		return pair{}, fmt.Errorf("the CA ended on %s: move ca.crt and ca.key away, start the server, and run 'slipway trust' on every client", ca.cert.NotAfter.Format(time.DateOnly))
	}
	for _, ip := range ips {
		template.IPAddresses = append(template.IPAddresses, ip.AsSlice())
	}
	return sign(template, &ca)
}

// sign makes a key and signs its certificate, by itself without a CA.
func sign(template *x509.Certificate, ca *pair) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("make a key: %w", err)
	}
	by := pair{template, key}
	if ca != nil {
		by = *ca
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		return pair{}, fmt.Errorf("sign a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return pair{}, fmt.Errorf("sign a certificate: %w", err)
	}
	return pair{cert, key}, nil
}

// reissue says why a certificate does not do any more, or "". Names must be the
// same; an address that the machine does not have any more stays until the next
// time, since networks of containers come and go.
func reissue(cert *x509.Certificate, dns []string, ips []netip.Addr, now time.Time) string {
	switch {
	case now.Before(cert.NotBefore) || left(cert, now) < 1.0/3:
		return "the last one ends"
	case !slices.Equal(slices.Sorted(slices.Values(dns)), slices.Sorted(slices.Values(cert.DNSNames))):
		return "names changed"
	case slices.ContainsFunc(ips, func(ip netip.Addr) bool { return !has(cert, ip) }):
		return "addresses changed"
	}
	return ""
}

// has tells whether a certificate is for an address.
func has(cert *x509.Certificate, addr netip.Addr) bool {
	ip := net.IP(addr.Unmap().WithZone("").AsSlice())
	return slices.ContainsFunc(cert.IPAddresses, ip.Equal)
}

// within tells whether a name is one of the domains or below one.
func within(domains []string, name string) bool {
	return slices.ContainsFunc(domains, func(d string) bool { return name == d || strings.HasSuffix(name, "."+d) })
}
