package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"slipway/internal/edge"
	"slipway/test/harness"
)

// clock is a time that tests move.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

// machine is one that tests change.
type machine struct {
	mu sync.Mutex
	m  Machine
}

func (m *machine) look() (Machine, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.m, nil
}

func (m *machine) set(hostname, domain string, addrs ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.m = Machine{Hostname: hostname, Domain: domain}
	for _, a := range addrs {
		m.m.Addresses = append(m.m.Addresses, netip.MustParseAddr(a))
	}
}

// logBuffer is written by several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// run runs a source until the test ends.
func run(t *testing.T, s Source) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Error("Run goes on after its context ended")
		}
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// fixture is a source, the roots that verify it, and a way to make it change
// its certificate.
type fixture struct {
	source Source
	roots  *x509.CertPool
	rotate func()
}

func newAuthorityFixture(t *testing.T) fixture {
	c, m := &clock{}, &machine{}
	m.set("build1", "", "127.0.0.1")
	a, err := OpenAuthority(AuthorityConfig{Folder: t.TempDir(), Names: []string{"reg.test"}, Log: slog.New(slog.DiscardHandler), Machine: m.look, Now: c.now, Every: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.CA())
	n := 0
	return fixture{a, roots, func() { n++; m.set("build1", "", "127.0.0.1", fmt.Sprintf("10.0.0.%d", n)) }}
}

func newFilesFixture(t *testing.T) fixture {
	folder := t.TempDir()
	ca, err := makeCA("elsewhere", nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	config := FilesConfig{Cert: filepath.Join(folder, "tls.crt"), Key: filepath.Join(folder, "tls.key"), Log: slog.New(slog.DiscardHandler), Every: time.Millisecond}
	rotate := func() { writeFiles(t, config, ca, time.Now(), "reg.test", "127.0.0.1") }
	rotate()
	f, err := OpenFiles(config)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	return fixture{f, roots, rotate}
}

// writeFiles puts a new pair in the place of the old one, a file after the other.
func writeFiles(t *testing.T, c FilesConfig, ca pair, now time.Time, names ...string) pair {
	t.Helper()
	dns, ips := Machine{}.names(names, nil)
	p, err := issue(ca, "elsewhere", dns, ips, now)
	if err != nil {
		t.Fatal(err)
	}
	key, err := p.keyPEM()
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{c.Cert: p.certPEM(), c.Key: key} {
		if err := write(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// sources are all that need no server elsewhere.
var sources = map[string]func(*testing.T) fixture{"authority": newAuthorityFixture, "files": newFilesFixture}

// Clients connect by name and by address, with both protocols, before and
// after any number of changes; no request fails while they happen.
func TestRotationUnderLoad(t *testing.T) {
	for name, open := range sources {
		t.Run(name, func(t *testing.T) { rotateUnderLoad(t, open(t), 20) })
	}
}

func rotateUnderLoad(t *testing.T, f fixture, times int) {
	run(t, f.source)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := inner.Addr().String()
	log := slog.New(slog.DiscardHandler)
	server := edge.NewServer(edge.Config{Log: log, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })})
	go func() {
		_ = server.Serve(edge.NewListener(inner, edge.ListenerConfig{Certificate: f.source.Certificate, Log: log}))
	}()
	t.Cleanup(func() { _ = server.Close() })

	var requests atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i, host := range []string{"127.0.0.1", "reg.test"} {
		for _, fresh := range []bool{true, false} {
			transport := &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: f.roots}, DisableKeepAlives: fresh, ForceAttemptHTTP2: i == 0,
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
				},
			}
			client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
			_, port, _ := net.SplitHostPort(addr)
			clients.Go(func() {
				defer transport.CloseIdleConnections()
				for {
					resp, err := client.Post("https://"+net.JoinHostPort(host, port), "", strings.NewReader("ping"))
					if err != nil {
						t.Errorf("%s: %v", host, err)
						return
					}
					body, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if err != nil || string(body) != "ping" {
						t.Errorf("%s: %q, %v", host, body, err)
						return
					}
					requests.Add(1)
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
	}
	leaf := func() string {
		cert, err := f.source.Certificate(&tls.ClientHelloInfo{ServerName: "reg.test"})
		if err != nil {
			t.Fatal(err)
		}
		return Fingerprint(cert.Leaf)
	}
	for range times {
		before, asked := leaf(), requests.Load()
		f.rotate()
		eventually(t, "another certificate", func() bool { return leaf() != before })
		eventually(t, "requests after it", func() bool { return t.Failed() || requests.Load() > asked+4 })
	}
	close(stop)
	clients.Wait()
	t.Logf("%d requests during %d changes", requests.Load(), times)
}

func TestFingerprint(t *testing.T) {
	ca, err := makeCA("x", nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(path, ca.certPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := Fingerprint(ca.cert); len(got) != len("sha256:")+64 || got != strings.ToLower(got) {
		t.Errorf("%q", got)
	}
	// And what others make of the file.
	const program = "import hashlib, ssl, sys; print('sha256:' + hashlib.sha256(ssl.PEM_cert_to_DER_cert(open(sys.argv[1]).read())).hexdigest())"
	out, err := exec.Command(harness.Tool(t, "python3"), "-c", program, path).Output()
	if err != nil || strings.TrimSpace(string(out)) != Fingerprint(ca.cert) {
		t.Errorf("Python says %q, %v; want %q", out, err, Fingerprint(ca.cert))
	}
}

func TestParseName(t *testing.T) {
	for s, want := range map[string]string{
		"reg": "reg", "Reg.Test.": "reg.test", "*.reg.test": "*.reg.test", "10.0.0.1": "10.0.0.1", "::1": "::1", "::ffff:10.0.0.1": "10.0.0.1", "a_b": "a_b",
		"FD00::1": "fd00::1",
	} {
		if got, err := ParseName(s); got != want || err != nil {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	for s, want := range map[string]string{
		"": "characters", ".": "characters", "a..b": "each part", "-a": "hyphen", "a-.b": "hyphen", "bücher": "xn--", "reg:5000": "without", "https://reg": "without",
		"a b": "without", "a.*.b": "without", "*": "without", strings.Repeat("a", 64): "63", strings.Repeat("a.", 200): "253", "fe80::1%eth0": "without",
	} {
		if got, err := ParseName(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v; want an error about %q", s, got, err, want)
		}
	}
}
