// Package acme is a certs.Source whose certificates come from a CA that speaks
// ACME (RFC 8555): Let's Encrypt, or one of the company.
//
// The CA wants to see that a name is ours. It connects to port 80 and asks for
// a file (HTTP-01), or to port 443 with a TLS protocol of its own (TLS-ALPN-01),
// both of which the server's own port answers if it is that port or traffic for
// that port is forwarded to it; while a challenge runs, port 80 is also listened
// on if it is free. Or it asks the name server for a record (DNS-01), which
// needs no connection from outside, and is the only way to a wildcard.
package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/libdns/rfc2136"
	acmeapi "github.com/mholt/acmez/v3/acme"

	"slipway/internal/edge/certs"
)

// Config is what a Source is made of. To set it is to agree to the CA's terms.
type Config struct {
	Directory string   // URL of the CA's directory. Default Let's Encrypt's
	Email     string   // where the CA writes to. May be empty
	Names     []string // that are asked for; the first also for clients that say no name
	Folder    string   // keeps the account and the certificates
	Roots     *x509.CertPool
	// KeyID and MACKey tie the account to one that the CA knows already, where
	// it wants that (RFC 8555, section 7.3.4).
	KeyID, MACKey string
	// HTTPPort and TLSPort are where connections to ports 80 and 443 arrive on
	// this machine. Default 80 and 443.
	HTTPPort, TLSPort int
	DNS               *DNS // use DNS-01 and nothing else. May be nil
	Log               *slog.Logger

	look time.Duration // between two looks whether to renew. Default certmagic's 10 minutes
}

// DNS is a name server that takes dynamic updates (RFC 2136) with a key
// (TSIG, RFC 8945), as BIND, Knot, PowerDNS and Windows do.
type DNS struct {
	Server    string // host:port that updates are sent to
	KeyName   string
	Algorithm string // such as hmac-sha256, which is the default
	Key       string // base64
}

// Protocol is that of TLS-ALPN-01 (RFC 8737), which the listener must offer.
const Protocol = "acme-tls/1"

// Source gets certificates and renews them.
type Source struct {
	config Config
	cache  *certmagic.Cache
	magic  *certmagic.Config
	issuer *certmagic.ACMEIssuer
}

var _ certs.Source = (*Source)(nil)

// Open checks the settings. Nothing is asked of the CA before Run, and
// certificates from earlier runs are there at once.
func Open(c Config) (*Source, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &Source{config: c}
	log := newZap(c.Log)
	s.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return s.magic, nil },
		RenewCheckInterval: c.look, Logger: log,
	})
	s.magic = certmagic.New(s.cache, certmagic.Config{
		Storage:           &certmagic.FileStorage{Path: c.Folder},
		DefaultServerName: c.Names[0], FallbackServerName: c.Names[0],
		Logger:  log,
		OnEvent: s.event,
	})
	template := certmagic.ACMEIssuer{
		CA: c.Directory, Email: c.Email, Agreed: true, TrustedRoots: c.Roots,
		AltHTTPPort: c.HTTPPort, AltTLSALPNPort: c.TLSPort, Logger: log,
	}
	if c.KeyID != "" {
		template.ExternalAccount = &acmeapi.EAB{KeyID: c.KeyID, MACKey: c.MACKey}
	}
	if c.DNS != nil {
		template.DisableHTTPChallenge, template.DisableTLSALPNChallenge = true, true
		template.DNS01Solver = &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
			DNSProvider: &rfc2136.Provider{Server: c.DNS.Server, KeyName: c.DNS.KeyName, KeyAlg: c.DNS.Algorithm, Key: c.DNS.Key},
			Resolvers:   []string{c.DNS.Server}, // which knows first
			Logger:      log,
		}}
	}
	s.issuer = certmagic.NewACMEIssuer(s.magic, template)
	s.magic.Issuers = []certmagic.Issuer{s.issuer}
	for _, name := range c.Names {
		// What an earlier run got; errors mean that it got nothing.
		_, _ = s.magic.CacheManagedCertificate(context.Background(), name)
	}
	return s, nil
}

func (c *Config) check() error {
	if c.Directory == "" {
		c.Directory = certmagic.LetsEncryptProductionCA
	}
	u, err := url.Parse(c.Directory)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("the ACME directory is %q: it must be an https URL", c.Directory)
	}
	if len(c.Names) == 0 {
		return errors.New("no name is set that the CA could certify: set external-url or tls.names")
	}
	c.Names = slices.Clone(c.Names)
	for i, name := range c.Names {
		if c.Names[i], err = certs.ParseName(name); err != nil {
			return err
		}
		if _, err := netip.ParseAddr(c.Names[i]); err == nil {
			return fmt.Errorf("%s is an address: ACME is used for names here", name)
		}
		if strings.HasPrefix(c.Names[i], "*.") && c.DNS == nil {
			return fmt.Errorf("%s: a CA gives wildcards only by DNS-01; set a name server that takes updates", name)
		}
	}
	if (c.KeyID == "") != (c.MACKey == "") {
		return errors.New("an account that the CA knows needs both the id of its key and the key")
	}
	if c.DNS == nil {
		return nil
	}
	d := *c.DNS
	if _, _, err := net.SplitHostPort(d.Server); err != nil {
		return fmt.Errorf("the name server is %q: it must be HOST:PORT, such as ns.lan:53", d.Server)
	}
	if d.KeyName == "" || d.Key == "" {
		return errors.New("updates of the name server need a key's name and the key")
	}
	if d.Algorithm == "" {
		d.Algorithm = "hmac-sha256"
	}
	c.DNS = &d
	return nil
}

// CA implements certs.Source.
func (s *Source) CA() *x509.Certificate { return nil }

// Certificate implements certs.Source. Until the CA has given one, it is an
// error, which ends the handshake.
func (s *Source) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.magic.GetCertificate(hello)
}

// Challenges answers HTTP-01 and passes other requests on. It stands where
// plain HTTP arrives, before anything that asks for TLS or a login.
func (s *Source) Challenges(next http.Handler) http.Handler {
	return s.issuer.HTTPChallengeHandler(next)
}

// Run implements certs.Source. What fails is tried again after a minute, then
// less and less often, as CAs want it.
func (s *Source) Run(ctx context.Context) {
	if err := s.magic.ManageAsync(ctx, s.config.Names); err != nil {
		s.config.Log.Error("cannot get certificates", "names", s.config.Names, "err", err)
	}
	<-ctx.Done()
	s.cache.Stop()
}

// event logs what matters to people; the rest is certmagic's own log.
func (s *Source) event(_ context.Context, event string, data map[string]any) error {
	switch event {
	case "cert_obtained":
		s.config.Log.Info("got a certificate", "name", data["identifier"], "renewal", data["renewal"], "from", s.config.Directory)
	case "cert_failed":
		s.config.Log.Error("cannot get a certificate; trying again later", "name", data["identifier"], "err", data["error"], "from", s.config.Directory)
	}
	return nil
}
