package trust

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	// fetchTime is for a whole request; the answers are a few kilobytes.
	fetchTime = 20 * time.Second
	// fetchLimit is more than any certificate has.
	fetchLimit = 64 << 10
	// authorityPath is where Slipway serves its authority.
	authorityPath = "/trust/ca.crt"
)

// Offer is what a registry says about itself. Nothing of it is verified.
type Offer struct {
	// Authority is what would be trusted; nil if Known.
	Authority *Authority
	// Source is how the registry told it, for people.
	Source string
	// Names are those in the server's certificate.
	Names []string
	// Expires is the server's certificate's end.
	Expires time.Time
	// Known reports that this machine's system trusts the registry already,
	// and that the registry offers no authority of its own.
	Known bool
}

// Fetch asks a registry for its authority: for the file that Slipway serves,
// else for the certificates of its TLS handshake, in which other servers may
// include it. given, if not nil, is an authority that came by another way,
// and is not asked for.
func Fetch(ctx context.Context, h Host, given *Authority) (*Offer, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	// Whether this is the right server is what a person, or a fingerprint,
	// decides after this; nothing secret is sent.
	resp, err := get(ctx, h.url(authorityPath), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil, explainConnect(h, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, fetchLimit))
	if err != nil {
		return nil, fmt.Errorf("fetch the authority of %s: %w", h, err)
	}
	chain := resp.TLS.PeerCertificates
	offer := &Offer{Names: names(chain[0]), Expires: chain[0].NotAfter}
	switch {
	case given != nil:
		offer.Authority, offer.Source = given, "a file"
		return offer, nil
	case resp.StatusCode == http.StatusOK:
		// A server that is not Slipway may answer anything with 200.
		if offer.Authority, err = NewAuthority(body); err == nil {
			offer.Source = h.url(authorityPath)
			return offer, nil
		}
	}
	if known(h, chain) {
		offer.Known = true
		return offer, nil
	}
	top := chain[len(chain)-1]
	if top.CheckSignature(top.SignatureAlgorithm, top.RawTBSCertificate, top.Signature) != nil {
		return nil, fmt.Errorf("%s shows a certificate that %s signed, but not that authority's own certificate: "+
			"get it from whoever runs the registry, and give it with --ca-file FILE", h, printable(top.Issuer.String()))
	}
	offer.Authority, offer.Source = &Authority{top}, "the TLS handshake"
	return offer, nil
}

// known reports whether the system's authorities vouch for the server.
func known(h Host, chain []*x509.Certificate) bool {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: h.name, Intermediates: between})
	return err == nil
}

// Verify asks the registry something, with a as the only authority that
// counts, and returns nil if the registry proved to be h. The error says what
// is wrong with its certificate, and who can mend it.
func Verify(ctx context.Context, h Host, a *Authority) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	resp, err := get(ctx, h.url("/v2/"), &tls.Config{RootCAs: pool})
	if err == nil {
		return resp.Body.Close()
	}
	var name x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &name):
		return fmt.Errorf("the certificate of %s is not for that name: it is for %s; use one of these names, "+
			"or have %s added to the server's certificate (tls.names of slipway serve)", h, list(names(name.Certificate)), h.name)
	case errors.As(err, &unknown):
		return fmt.Errorf("%s shows a certificate that this authority did not sign: fingerprint %s, subject %s; "+
			"if a proxy stands before the registry, its authority is the one to trust (--ca-file FILE)", h, a.Fingerprint(), a.Subject())
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("a certificate of %s is out of date, or this machine's clock is wrong: %w", h, err)
	}
	return fmt.Errorf("verify %s with its authority: %w", h, err)
}

func get(ctx context.Context, url string, config *tls.Config) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, DisableKeepAlives: true, MaxResponseHeaderBytes: fetchLimit},
		// Another place's certificate says nothing about this one's.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return client.Do(req)
}

func explainConnect(h Host, err error) error {
	var record tls.RecordHeaderError
	if errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &record) {
		return fmt.Errorf("%s does not speak TLS, so there is no certificate to trust: start the registry with TLS first", h)
	}
	return fmt.Errorf("ask %s for its authority: %w; is the registry running there, and is the port right?", h, err)
}

func list(names []string) string {
	text := ""
	for i, n := range names {
		switch {
		case i == 0:
		case i == len(names)-1:
			text += " and "
		default:
			text += ", "
		}
		text += n
	}
	if text == "" {
		return "no name at all"
	}
	return text
}
