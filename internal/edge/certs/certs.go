// Package certs is where the server's certificates come from. A Source gives
// the certificate for a connection and keeps it valid while the server runs.
// There are three:
//
//   - Authority signs with a CA of Slipway's own, made at the first start. The
//     server certificate names the machine and its addresses and is made anew
//     when these change, so clients trust the CA once and never again.
//   - Files takes a certificate and key that something else renews.
//   - ACME gets certificates from a public CA, or one of the company, by
//     RFC 8555.
//
// A Source always gives the newest certificate. Connections that are open keep
// theirs, so that a renewal disturbs nobody.
package certs

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Source gives certificates. Its methods may be called at once.
type Source interface {
	// Certificate is the one to show to a client, for tls.Config. It never
	// waits for the network.
	Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// CA is Slipway's own that signed the certificates, or nil: then clients
	// trust them for another reason, or not.
	CA() *x509.Certificate
	// Run keeps the certificates valid until the context ends. It is called
	// once. What goes wrong is logged, and tried again.
	Run(context.Context)
}

// Fingerprint is sha256: and 64 hexadecimal digits, of the certificate's DER.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ParseName checks a name or address that a certificate is to carry, and
// returns it as certificates have it: in lower case, without a last dot.
func ParseName(s string) (string, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return addr.Unmap().String(), nil
	}
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	host := strings.TrimPrefix(name, "*.")
	bad := func(why string) (string, error) {
		return "", fmt.Errorf("%q cannot be a name in a certificate: %s", s, why)
	}
	if len(name) == 0 || len(name) > 253 {
		return bad("it must have 1 to 253 characters")
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return bad("each part must have 1 to 63 characters")
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return bad("no part may begin or end with a hyphen")
		}
		for _, c := range label {
			switch {
			case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			case c > 127:
				return bad("write it as xn--...")
			default:
				return bad("use a host name or an address, without scheme, port and path")
			}
		}
	}
	return name, nil
}

func parseNames(list []string) ([]string, error) {
	names := make([]string, len(list))
	for i, s := range list {
		var err error
		if names[i], err = ParseName(s); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// lacking lists the names that a certificate is not for.
func lacking(cert *x509.Certificate, names []string) []string {
	var list []string
	for _, name := range names {
		if below, ok := strings.CutPrefix(name, "*."); cert.VerifyHostname(name) != nil && (!ok || cert.VerifyHostname("any."+below) != nil) {
			list = append(list, name)
		}
	}
	return list
}

// left is how much of a certificate's life remains, from 1 to 0.
func left(cert *x509.Certificate, now time.Time) float64 {
	return float64(cert.NotAfter.Sub(now)) / float64(cert.NotAfter.Sub(cert.NotBefore))
}

// days is for log lines.
func days(d time.Duration) int { return int(d / (24 * time.Hour)) }

const day = 24 * time.Hour
