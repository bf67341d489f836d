//go:build unix

package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"slipway/internal/edge/certs"
	"slipway/internal/edge/certs/acme"
)

// tlsSettings are the settings of certificates and of the server's name; see
// the flags for what they mean.
type tlsSettings struct {
	cert, key string
	names     stringList
	external  string
	acme      acmeSettings
}

// acmeSettings are the settings of certificates from an ACME server.
type acmeSettings struct {
	directory, email                             string
	dnsServer, dnsKeyName, dnsKeyFile, dnsMethod string
	eabKeyID, eabKeyFile                         string
}

// letsEncrypt is the short name of its directory.
const letsEncrypt = "letsencrypt"

// Folders of certificates in the data folder: of the server's own authority, and
// those that came by ACME.
const (
	tlsFolder  = "tls"
	acmeFolder = "acme"
)

func (s *tlsSettings) addFlags(f *pflag.FlagSet) {
	f.StringVar(&s.external, "external-url", "", "address by which clients reach this server, such as https://registry.lan:5000: in certificates, challenges and printed commands")
	f.Var(&s.names, "tls.names", "names and addresses for the certificate, besides the machine's and that of external-url, comma-separated")
	f.StringVar(&s.cert, "tls.cert", "", "PEM file with a certificate and its chain, instead of one by Slipway's own authority; read again when it changes")
	f.StringVar(&s.key, "tls.key", "", "PEM file with the key of tls.cert")
	f.StringVar(&s.acme.directory, "tls.acme.directory", "", "directory of an ACME server (RFC 8555) that gives certificates for external-url and tls.names: an https URL, or "+letsEncrypt+", whose terms are agreed to by this")
	f.StringVar(&s.acme.email, "tls.acme.email", "", "address that the ACME server may write to")
	f.StringVar(&s.acme.dnsServer, "tls.acme.dns-server", "", "name server, HOST:PORT, that takes the answers to the ACME server as dynamic updates (RFC 2136, DNS-01); without it they are given on ports 80 and 443")
	f.StringVar(&s.acme.dnsKeyName, "tls.acme.dns-key-name", "", "name of the key (TSIG) for tls.acme.dns-server")
	f.StringVar(&s.acme.dnsKeyFile, "tls.acme.dns-key-file", "", "file with that key, in base64")
	f.StringVar(&s.acme.dnsMethod, "tls.acme.dns-algorithm", "hmac-sha256", "algorithm of that key")
	f.StringVar(&s.acme.eabKeyID, "tls.acme.eab-key-id", "", "id of the key by which the ACME server knows an account of yours (external account binding), where it wants one")
	f.StringVar(&s.acme.eabKeyFile, "tls.acme.eab-key-file", "", "file with that key, in base64url")
}

func (s *tlsSettings) check() error {
	if (s.cert == "") != (s.key == "") {
		return errors.New("tls.cert and tls.key belong together: set both, or neither")
	}
	switch a := s.acme; {
	case a.directory == "" && (a.email != "" || a.dnsServer != "" || a.eabKeyID != ""):
		return errors.New("settings of tls.acme have no effect without tls.acme.directory")
	case a.directory != "" && s.cert != "":
		return errors.New("tls.cert and tls.acme.directory exclude each other")
	case a.dnsServer == "" && (a.dnsKeyName != "" || a.dnsKeyFile != ""):
		return errors.New("tls.acme.dns-key-name and -file are for tls.acme.dns-server, which is not set")
	}
	if s.cert != "" && len(s.names) > 0 {
		return errors.New("tls.names is for certificates that Slipway makes: tls.cert has its own names")
	}
	for _, n := range s.names {
		if _, err := certs.ParseName(n); err != nil {
			return fmt.Errorf("tls.names: %w", err)
		}
	}
	_, err := s.public()
	return err
}

// public is external-url, nil where it is not set.
func (s *tlsSettings) public() (*url.URL, error) {
	if s.external == "" {
		return nil, nil
	}
	u, err := url.Parse(s.external)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || (u.Path != "" && u.Path != "/") || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("external-url is %q: it must be like https://registry.lan:5000, without a path", s.external)
	}
	if _, err := certs.ParseName(u.Hostname()); err != nil {
		return nil, fmt.Errorf("external-url: %w", err)
	}
	u.Path = ""
	return u, nil
}

// address is external-url without a slash at the end, "" where it is not set.
func (s *tlsSettings) address() string {
	u, err := s.public()
	if err != nil || u == nil {
		return ""
	}
	return u.String()
}

// publicHost is the HOST:PORT that clients trust and name images by, "" where
// external-url is not set.
func (s *tlsSettings) publicHost() string {
	u, err := s.public()
	if err != nil || u == nil {
		return ""
	}
	return u.Host
}

// open finds the certificates: files that are named, an ACME server's, or else
// those of an authority in the data folder. roots are trusted beside the system's.
func (s *tlsSettings) open(data string, roots []byte, log *slog.Logger) (certs.Source, error) {
	names := append(stringList{}, s.names...)
	if u, err := s.public(); err == nil && u != nil {
		names = append(names, u.Hostname())
	}
	if s.cert != "" {
		return certs.OpenFiles(certs.FilesConfig{Cert: s.cert, Key: s.key, Names: names, Log: log})
	}
	if s.acme.directory != "" {
		return s.openACME(filepath.Join(data, acmeFolder), names, roots, log)
	}
	return certs.OpenAuthority(certs.AuthorityConfig{Folder: filepath.Join(data, tlsFolder), Names: names, Log: log})
}

func (s *tlsSettings) openACME(folder string, names []string, roots []byte, log *slog.Logger) (certs.Source, error) {
	c := acme.Config{Directory: s.acme.directory, Email: s.acme.email, Names: names, Folder: folder, KeyID: s.acme.eabKeyID, Log: log}
	if c.Directory == letsEncrypt {
		c.Directory = ""
	}
	if len(roots) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, err
		}
		pool.AppendCertsFromPEM(roots)
		c.Roots = pool
	}
	var err error
	if c.MACKey, err = keyFile("tls.acme.eab-key-file", s.acme.eabKeyFile); err != nil {
		return nil, err
	}
	if s.acme.dnsServer != "" {
		c.DNS = &acme.DNS{Server: s.acme.dnsServer, KeyName: s.acme.dnsKeyName, Algorithm: s.acme.dnsMethod}
		if c.DNS.Key, err = keyFile("tls.acme.dns-key-file", s.acme.dnsKeyFile); err != nil {
			return nil, err
		}
	}
	source, err := acme.Open(c)
	if err != nil {
		return nil, usageError{fmt.Errorf("tls.acme: %w", err)}
	}
	return source, nil
}

func keyFile(setting, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", usageError{fmt.Errorf("%s: %w", setting, err)}
	}
	return strings.TrimSpace(string(content)), nil
}
