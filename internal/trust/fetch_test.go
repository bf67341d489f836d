package trust

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestFetchAndVerify(t *testing.T) {
	ca, other := newSigner(t, "Test CA"), newSigner(t, "Other CA")
	soon := time.Now().Add(time.Hour)
	good := issue(t, ca, soon, "127.0.0.1", "registry.lan")
	withCA := good
	withCA.Certificate = append(append([][]byte{}, good.Certificate...), ca.cert.Raw)
	alone := issue(t, nil, soon, "127.0.0.1")

	for _, c := range []struct {
		name   string
		cert   tls.Certificate
		pages  map[string]string
		given  *Authority
		want   string // fingerprint
		source string
		fetch  string // or what the error has
		verify string
	}{
		{name: "slipway", cert: good, pages: map[string]string{authorityPath: string(ca.PEM())}, want: ca.Fingerprint(), source: authorityPath},
		{name: "another registry, whole chain", cert: withCA, want: ca.Fingerprint(), source: "TLS handshake"},
		{name: "another registry that answers anything", cert: withCA, pages: map[string]string{authorityPath: "<html>"}, want: ca.Fingerprint(), source: "TLS handshake"},
		{name: "signed by itself", cert: alone, want: fingerprintOf(alone), source: "TLS handshake"},
		{name: "authority not sent", cert: good, fetch: "--ca-file"},
		{name: "authority from a file", cert: good, given: ca.Authority, want: ca.Fingerprint(), source: "a file"},
		{name: "wrong authority from a file", cert: good, given: other.Authority, want: other.Fingerprint(), source: "a file", verify: "did not sign"},
		{name: "serves an authority that did not sign", cert: good, pages: map[string]string{authorityPath: string(other.PEM())}, want: other.Fingerprint(), source: authorityPath, verify: "did not sign"},
		{name: "two authorities", cert: good, pages: map[string]string{authorityPath: string(ca.PEM()) + string(other.PEM())}, fetch: "--ca-file"},
		{name: "other names", cert: issue(t, ca, soon, "10.0.0.5", "registry.lan"), pages: map[string]string{authorityPath: string(ca.PEM())},
			want: ca.Fingerprint(), source: authorityPath, verify: "it is for registry.lan and 10.0.0.5; use one of these"},
		{name: "out of date", cert: issue(t, ca, time.Now().Add(-time.Hour), "127.0.0.1"), pages: map[string]string{authorityPath: string(ca.PEM())},
			want: ca.Fingerprint(), source: authorityPath, verify: "out of date"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := serve(t, c.cert, c.pages)
			offer, err := Fetch(t.Context(), h, c.given)
			if c.fetch != "" {
				if err == nil || !strings.Contains(err.Error(), c.fetch) {
					t.Fatalf("Fetch: %v, want an error with %q", err, c.fetch)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if offer.Known || offer.Authority.Fingerprint() != c.want || !strings.Contains(offer.Source, c.source) {
				t.Errorf("Fetch = %+v of %s", offer, offer.Authority.Fingerprint())
			}
			err = Verify(t.Context(), h, offer.Authority)
			if (c.verify == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.verify)) {
				t.Errorf("Verify: %v, want %q", err, c.verify)
			}
		})
	}
}

// Anybody can put anything into a certificate.
func TestNamesDoNotSteerTheTerminal(t *testing.T) {
	a, err := NewAuthority([]byte(pemOf(issue(t, newSigner(t, "\x1b[2J\nCA"), time.Now().Add(time.Hour), "127.0.0.1"))))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{newSigner(t, "\x1b[2J\nCA").Subject(), printable(a.cert.Issuer.String())} {
		if strings.ContainsAny(text, "\x1b\n") || !strings.Contains(text, "CA") {
			t.Errorf("%q", text)
		}
	}
}

func fingerprintOf(c tls.Certificate) string {
	a, err := NewAuthority([]byte(pemOf(c)))
	if err != nil {
		return err.Error()
	}
	return a.Fingerprint()
}

func TestFetchWithoutTLS(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	_, err := Fetch(t.Context(), host(t, plain.Listener.Addr().String()), nil)
	if err == nil || !strings.Contains(err.Error(), "does not speak TLS") {
		t.Errorf("plain HTTP: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := host(t, l.Addr().String())
	l.Close()
	if _, err = Fetch(t.Context(), h, nil); err == nil || !strings.Contains(err.Error(), "is the registry running there") {
		t.Errorf("a closed port: %v", err)
	}
}

// Where a redirect leads says nothing about the host that was named.
func TestRedirectIsNotFollowed(t *testing.T) {
	ca, other := newSigner(t, "Test CA"), newSigner(t, "Other CA")
	elsewhere := serve(t, issue(t, other, time.Now().Add(time.Hour), "127.0.0.1"), map[string]string{authorityPath: string(other.PEM())})
	s := httptest.NewUnstartedServer(http.RedirectHandler(elsewhere.url(authorityPath), http.StatusFound))
	cert := issue(t, ca, time.Now().Add(time.Hour), "127.0.0.1")
	cert.Certificate = append(cert.Certificate, ca.cert.Raw)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.StartTLS()
	defer s.Close()
	h := host(t, s.Listener.Addr().String())
	offer, err := Fetch(t.Context(), h, nil)
	if err != nil || offer.Authority.Fingerprint() != ca.Fingerprint() {
		t.Fatalf("Fetch = %+v, %v", offer, err)
	}
	if err := Verify(t.Context(), h, ca.Authority); err != nil {
		t.Error(err)
	}
}
