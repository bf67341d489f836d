package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"slipway/internal/trust"
)

// trustedRoots are the authorities by which this machine knows a registry: the
// system's and those that 'slipway trust' wrote for the container tools, so
// that these commands trust what docker and podman do. nil means the system's.
func trustedRoots(host string) *x509.CertPool {
	h, err := trust.ParseHost(host)
	if err != nil {
		return nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	found := false
	for _, dir := range trustFolders() {
		files, _ := filepath.Glob(filepath.Join(dir, "certs.d", h.String(), "*.crt")) // its pattern is right
		for _, file := range files {
			if pem, err := os.ReadFile(file); err == nil { // what others may not read is not for them
				found = pool.AppendCertsFromPEM(pem) || found
			}
		}
	}
	if !found {
		return nil
	}
	return pool
}

func trustFolders() []string {
	dirs := []string{"/etc/docker", "/etc/containers"}
	home, err := os.UserHomeDir()
	if err != nil {
		return dirs
	}
	config := os.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(config) {
		config = filepath.Join(home, ".config")
	}
	return append(dirs, filepath.Join(home, ".docker"), filepath.Join(config, "docker"), filepath.Join(home, ".config", "containers"))
}

// newHostTransport is the transport to one host.
func newHostTransport(host string, skipVerify bool) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: trustedRoots(host), InsecureSkipVerify: skipVerify} //nolint:gosec // asked for by the user
	return t
}

// isLoopbackHost reports whether a host, without a port, is this machine.
func isLoopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// untrusted says what to do about a certificate that was not accepted; "" for
// any other error.
func untrusted(host string, err error) string {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &authority):
		return "this machine does not trust its certificate: run 'slipway trust " + host + "' once"
	case errors.As(err, &name):
		return name.Error() + ": use a name that is in the certificate, or add this one to the server's tls.names"
	case errors.As(err, &invalid):
		return invalid.Error() + ": the server's certificate has to be renewed, or this machine's clock set"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "it speaks plain HTTP, and TLS was expected"
	}
	return ""
}
