package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway/internal/edge"
)

// servePort serves on one port for both protocols, which pebble is told to use
// instead of 80 and 443.
func servePort(t *testing.T, inner net.Listener, s *Source) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the API") })
	server := edge.NewServer(edge.Config{Log: log, Handler: s.Challenges(&edge.PlainGuard{Next: api})})
	go func() {
		_ = server.Serve(edge.NewListener(inner, edge.ListenerConfig{Certificate: s.Certificate, Protocols: []string{Protocol}, Log: log}))
	}()
	t.Cleanup(func() { _ = server.Close() })
}

// get makes a request by name, and returns the certificate that it was shown.
func get(addr, name string, roots *x509.CertPool) (*x509.Certificate, error) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		},
	}}
	resp, err := client.Get("https://" + name + "/v2/")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.TLS.PeerCertificates[0], err
}

// run runs a source until stop or the end of the test.
func run(t *testing.T, s *Source) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

func portOf(l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// A real ACME server gives certificates, by each way to show that a name is
// ours; they are kept over a restart, and then the CA is not needed.
func TestObtain(t *testing.T) {
	for name, c := range map[string]struct {
		names  []string
		dns    bool
		change func(*Source) // ways that are not to be used
	}{
		"HTTP-01":                 {[]string{"reg.test"}, false, func(s *Source) { s.issuer.DisableTLSALPNChallenge = true }},
		"TLS-ALPN-01":             {[]string{"reg.test"}, false, func(s *Source) { s.issuer.DisableHTTPChallenge = true }},
		"DNS-01":                  {[]string{"reg.test"}, true, func(*Source) {}},
		"DNS-01 with a wildcard":  {[]string{"*.reg.test"}, true, func(*Source) {}},
		"two names, in two forms": {[]string{"Reg.test.", "reg2.test"}, false, func(*Source) {}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := startNameserver(t)
			inner, err := net.Listen("tcp", "127.0.0.1:0")
			check(t, err)
			p := startPebble(t, ns.addr, portOf(inner), time.Hour)
			log := &lockedBuffer{}
			config := Config{
				Directory: p.directory, Roots: p.roots, Email: "admin@reg.test", Names: c.names, Folder: t.TempDir(),
				HTTPPort: inner.Addr().(*net.TCPAddr).Port, TLSPort: inner.Addr().(*net.TCPAddr).Port,
				Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			}
			if c.dns {
				config.DNS = &DNS{Server: ns.addr, KeyName: tsigName, Key: tsigKey}
			}
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("log:\n%s", log.String())
				}
			})
			s, err := Open(config)
			check(t, err)
			c.change(s)
			servePort(t, inner, s)
			stop := run(t, s)
			var got *x509.Certificate
			for _, want := range c.names {
				want = strings.ToLower(strings.TrimSuffix(strings.Replace(want, "*", "any", 1), "."))
				eventually(t, "a certificate for "+want, func() bool { got, err = get(inner.Addr().String(), want, p.issued(t)); return err == nil })
			}
			// A client that comes by address, or by a name that is not there, sees
			// the first name's.
			for _, name := range []string{"", "other.test"} {
				conn, err := tls.Dial("tcp", inner.Addr().String(), &tls.Config{InsecureSkipVerify: true, ServerName: name})
				check(t, err)
				if shown := conn.ConnectionState().PeerCertificates[0].DNSNames[0]; !strings.EqualFold(shown, strings.TrimSuffix(c.names[0], ".")) {
					t.Errorf("by the name %q: %s", name, shown)
				}
				_ = conn.Close()
			}
			if s.CA() != nil {
				t.Error("the CA is said to be Slipway's own")
			}
			if strings.Contains(log.String(), tsigKey) || strings.Contains(log.String(), "PRIVATE KEY") {
				t.Errorf("a secret is in the log:\n%s", log.String())
			}
			if n := ns.updates; c.dns != (n > 0) {
				t.Errorf("%d updates of the name server", n)
			}
			if c.dns {
				eventually(t, "the records to be gone", func() bool { ns.mu.Lock(); defer ns.mu.Unlock(); return len(ns.texts) == 0 })
			}
			checkModes(t, config.Folder)

			stop()
			again, err := Open(config)
			check(t, err)
			second, err := net.Listen("tcp", "127.0.0.1:0")
			check(t, err)
			servePort(t, second, again)
			kept, err := get(second.Addr().String(), strings.Replace(got.DNSNames[0], "*", "any", 1), p.issued(t))
			if err != nil || !kept.Equal(got) {
				t.Errorf("after a restart, before anything runs: %v", err)
			}
			run(t, again)
		})
	}
}

func checkModes(t *testing.T, folder string) {
	t.Helper()
	keys := 0
	check(t, filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".key") {
			info, err := d.Info()
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
			keys++
		}
		return err
	}))
	if keys < 2 {
		t.Errorf("found %d keys, want those of the account and the certificate", keys)
	}
}

// Certificates that live for seconds are renewed, and no request fails.
func TestRenewal(t *testing.T) {
	ns := startNameserver(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	p := startPebble(t, ns.addr, portOf(inner), 20*time.Second)
	at := inner.Addr().(*net.TCPAddr).Port
	s, err := Open(Config{Directory: p.directory, Roots: p.roots, Names: []string{"reg.test"}, Folder: t.TempDir(), HTTPPort: at, TLSPort: at, Log: slog.New(slog.DiscardHandler), look: 500 * time.Millisecond})
	check(t, err)
	servePort(t, inner, s)
	run(t, s)
	roots := p.issued(t)
	var first *x509.Certificate
	eventually(t, "the first certificate", func() bool { first, err = get(inner.Addr().String(), "reg.test", roots); return err == nil })
	eventually(t, "the second certificate", func() bool {
		now, err := get(inner.Addr().String(), "reg.test", roots)
		if err != nil {
			t.Fatalf("a request failed: %v", err)
		}
		return !now.Equal(first)
	})
}

// Before there is a certificate, and when the CA does not give one, the log
// says why, and plain HTTP goes on.
func TestCAThatGivesNothing(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	log := &lockedBuffer{}
	s, err := Open(Config{Directory: "https://" + freePort(t) + "/dir", Names: []string{"reg.test"}, Folder: t.TempDir(), Log: slog.New(slog.NewTextHandler(log, nil))})
	check(t, err)
	servePort(t, inner, s)
	run(t, s)
	eventually(t, "a line about the failure", func() bool { return strings.Contains(log.String(), "cannot get a certificate") })
	if _, err := get(inner.Addr().String(), "reg.test", nil); err == nil {
		t.Error("a request was answered without a certificate")
	}
	resp, err := http.Get("http://" + inner.Addr().String() + "/v2/")
	check(t, err)
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "the API" {
		t.Errorf("plain HTTP: %q", b)
	}
}

func TestSettings(t *testing.T) {
	good := DNS{Server: "127.0.0.1:53", KeyName: "k", Key: "a2V5"}
	for name, c := range map[string]struct {
		change func(*Config)
		err    string
	}{
		"no names":              {func(c *Config) { c.Names = nil }, "no name is set"},
		"an address":            {func(c *Config) { c.Names = []string{"10.0.0.1"} }, "is an address"},
		"a name that is none":   {func(c *Config) { c.Names = []string{"a b"} }, "cannot be a name"},
		"a wildcard by HTTP":    {func(c *Config) { c.Names = []string{"*.reg.test"} }, "only by DNS-01"},
		"a directory by HTTP":   {func(c *Config) { c.Directory = "http://ca/dir" }, "must be an https URL"},
		"half an account":       {func(c *Config) { c.KeyID = "x" }, "both the id"},
		"no port":               {func(c *Config) { d := good; d.Server = "ns"; c.DNS = &d }, "must be HOST:PORT"},
		"no key":                {func(c *Config) { d := good; d.Key = ""; c.DNS = &d }, "need a key's name"},
		"good":                  {func(*Config) {}, ""},
		"good, with DNS":        {func(c *Config) { d := good; c.DNS = &d }, ""},
		"good, with a wildcard": {func(c *Config) { d := good; c.DNS = &d; c.Names = []string{"*.reg.test"} }, ""},
	} {
		config := Config{Names: []string{"reg.test"}, Folder: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
		c.change(&config)
		s, err := Open(config)
		if c.err == "" && err == nil {
			s.cache.Stop()
			continue
		}
		if c.err == "" || err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: error %v, want %q", name, err, c.err)
		}
	}
}
