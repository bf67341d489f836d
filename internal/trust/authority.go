package trust

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Authority is the certificate that a machine is to trust for one registry.
type Authority struct {
	cert *x509.Certificate
}

// NewAuthority reads PEM of exactly one certificate: a fingerprint is of one,
// so a second one would be trusted unseen.
func NewAuthority(text []byte) (*Authority, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("there is no certificate in PEM form in it")
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, errors.New("it has more than one certificate: keep only the authority's own, the one that signs itself")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read its certificate: %w", err)
	}
	return &Authority{cert}, nil
}

// Fingerprint is the SHA-256 of the certificate's DER: sha256: and 64
// lowercase hex digits.
func (a *Authority) Fingerprint() string { return fingerprint(a.cert) }

// Subject is the authority's name of itself.
func (a *Authority) Subject() string { return subject(a.cert) }

// Expires is when its certificates stop counting.
func (a *Authority) Expires() time.Time { return a.cert.NotAfter }

// SelfSigned reports that the server signed its own certificate, which can
// therefore sign for no one else.
func (a *Authority) SelfSigned() bool { return !a.cert.IsCA }

// PEM is the certificate alone.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// file is the certificate as it is written for h: the first line tells people
// where it comes from, and undo that it is trust's. Programs read past it.
func (a *Authority) file(h Host) []byte {
	return append(marker(h), a.PEM()...)
}

func marker(h Host) []byte {
	return fmt.Appendf(nil, "# Written by 'slipway trust %s'; 'slipway trust --undo %s' takes it back.\n", h, h)
}

// ours returns the authority in a file that trust wrote for h, or nil if it
// did not, or not like this.
func ours(h Host, file []byte) *Authority {
	a, err := NewAuthority(file)
	if err != nil || !bytes.Equal(file, a.file(h)) {
		return nil
	}
	return a
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func subject(c *x509.Certificate) string {
	if s := c.Subject.String(); s != "" {
		return printable(s)
	}
	return "(no name)"
}

// names is whom a server's certificate is for.
func names(c *x509.Certificate) []string {
	list := []string{}
	for _, name := range c.DNSNames {
		list = append(list, printable(name))
	}
	for _, ip := range c.IPAddresses {
		list = append(list, ip.String())
	}
	return list
}

// printable keeps a certificate, which anybody may have made, from steering the
// terminal on which it is shown.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// ParseFingerprint reads a fingerprint as people may have it: with or without
// its prefix, in capitals, with colons between bytes as openssl prints it.
func ParseFingerprint(s string) (string, error) {
	digits := strings.ToLower(strings.TrimSpace(s))
	if _, after, ok := strings.Cut(digits, "fingerprint="); ok {
		digits = after
	}
	digits = strings.ReplaceAll(strings.TrimPrefix(digits, "sha256:"), ":", "")
	if b, err := hex.DecodeString(digits); err != nil || len(b) != sha256.Size {
		return "", fmt.Errorf("%q is no fingerprint: it is sha256: and 64 hex digits, as the server printed it", s)
	}
	return "sha256:" + digits, nil
}
