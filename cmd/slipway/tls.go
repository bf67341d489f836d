//go:build unix

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"

	"github.com/spf13/pflag"

	"slipway/internal/edge/certs"
)

// tlsSettings are the settings of certificates and of the server's name; see
// the flags for what they mean.
type tlsSettings struct {
	cert, key string
	names     stringList
	external  string
}

// tlsFolder is where the server's own certificate authority is in the data folder.
const tlsFolder = "tls"

func (s *tlsSettings) addFlags(f *pflag.FlagSet) {
	f.StringVar(&s.external, "external-url", "", "address by which clients reach this server, such as https://registry.lan:5000: in certificates, challenges and printed commands")
	f.Var(&s.names, "tls.names", "names and addresses for the certificate, besides the machine's and that of external-url, comma-separated")
	f.StringVar(&s.cert, "tls.cert", "", "PEM file with a certificate and its chain, instead of one by Slipway's own authority; read again when it changes")
	f.StringVar(&s.key, "tls.key", "", "PEM file with the key of tls.cert")
}

func (s *tlsSettings) check() error {
	if (s.cert == "") != (s.key == "") {
		return errors.New("tls.cert and tls.key belong together: set both, or neither")
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

// open finds the certificates: files that are named, else those of an authority
// in the data folder.
func (s *tlsSettings) open(data string, log *slog.Logger) (certs.Source, error) {
	names := append(stringList{}, s.names...)
	if u, err := s.public(); err == nil && u != nil {
		names = append(names, u.Hostname())
	}
	if s.cert != "" {
		return certs.OpenFiles(certs.FilesConfig{Cert: s.cert, Key: s.key, Names: names, Log: log})
	}
	return certs.OpenAuthority(certs.AuthorityConfig{Folder: filepath.Join(data, tlsFolder), Names: names, Log: log})
}
