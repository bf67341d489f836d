package edge

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway/test/harness"
)

// logBuffer is written by the server's goroutines.
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

// Real clients that cannot connect, and what is known of them afterwards.
func TestRefusals(t *testing.T) {
	dial := func(c *tls.Config) func(t *testing.T, addr string) {
		return func(t *testing.T, addr string) {
			conn, err := tls.Dial("tcp", addr, c)
			if err == nil {
				_, err = conn.Read(make([]byte, 1)) // TLS 1.3: the server's word comes later
				_ = conn.Close()
			}
			if err == nil {
				t.Error("the client connected")
			}
		}
	}
	none := x509.NewCertPool()
	for name, c := range map[string]struct {
		client func(t *testing.T, addr string)
		reason Reason
		name   string
		advice string // %s is where the client connected to
		logged bool
	}{
		"does not trust, TLS 1.3": {dial(&tls.Config{RootCAs: none, NextProtos: []string{"h2", "http/1.1"}}), Untrusted, "", "on 127.0.0.1 run: slipway trust %s", true},
		"does not trust, TLS 1.2": {dial(&tls.Config{RootCAs: none, MaxVersion: tls.VersionTLS12}), Untrusted, "", "on 127.0.0.1 run: slipway trust %s", true},
		"does not trust, by name": {dial(&tls.Config{RootCAs: none, ServerName: "registry.test"}), Untrusted, "registry.test", "on 127.0.0.1 run: slipway trust registry.test:PORT", true},
		"by a name that is not there": {dial(&tls.Config{RootCAs: none, ServerName: "other.test"}), WrongName, "other.test",
			"add other.test to tls.names, or let it use a name that is there", true},
		"by a name that is no name": {dial(&tls.Config{RootCAs: none, ServerName: "$(reboot)"}), WrongName, "", "it asked for a name that no certificate can have", true},
		"says what another CA would mean": {dial(&tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error { return errors.New("no") }}),
			Untrusted, "", "on 127.0.0.1 run: slipway trust %s", true},
		"does not trust, by OpenSSL and TLS 1.3": {openSSL("TLSv1_3"), Untrusted, "", "on 127.0.0.1 run: slipway trust %s", true},
		"does not trust, by OpenSSL and TLS 1.2": {openSSL("TLSv1_2"), Untrusted, "", "on 127.0.0.1 run: slipway trust %s", true},
		"is too old":                             {dial(&tls.Config{RootCAs: none, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}), OldTLS, "", "it needs TLS 1.2 or newer: update that client", true},
		"hangs up": {func(t *testing.T, addr string) {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			// As one that has seen enough: it reads the certificate and closes.
			quiet := &hangUp{Conn: conn}
			if tls.Client(quiet, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}).Handshake() == nil {
				t.Error("the client connected")
			}
		}, HungUp, "", "if it is a client, on 127.0.0.1 run: slipway trust %s", false},
	} {
		t.Run(name, func(t *testing.T) {
			log := &logBuffer{}
			refusals := NewRefusals(slog.New(slog.NewTextHandler(log, nil)), "")
			s := serveBoth(t, http.HandlerFunc(say), ListenerConfig{Refusals: refusals})
			for n := range 3 {
				c.client(t, s.addr)
				eventually(t, "a refusal", func() bool { l := refusals.List(); return len(l) == 1 && l[0].Count == n+1 })
			}
			r := refusals.List()[0]
			_, port, _ := net.SplitHostPort(s.addr)
			advice := strings.ReplaceAll(strings.ReplaceAll(c.advice, "%s", s.addr), "PORT", port)
			if r.Reason != c.reason || r.Name != c.name || r.Advice != advice || r.Client != netip.MustParseAddr("127.0.0.1") || r.Last.Before(r.First) {
				t.Errorf("got  %+v\nwant %s %q %q", r, c.reason, c.name, advice)
			}
			want := 0
			if c.logged {
				want = 1
			}
			if got := strings.Count(log.String(), "could not connect"); got != want || (want > 0 && !strings.Contains(log.String(), advice)) {
				t.Errorf("%d lines of the log, want %d:\n%s", got, want, log.String())
			}
			// When a client of that address has connected, it shows.
			resp, err := s.client(t, "HTTP/1.1", nil, true).Get("https://" + s.addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if l := refusals.List(); len(l) != 1 || l[0].Connected.Before(l[0].Last) {
				t.Errorf("after a success: %+v", l)
			}
		})
	}
}

// openSSL is Python, which uses that library as curl does.
func openSSL(version string) func(t *testing.T, addr string) {
	const program = `
import socket, ssl, sys
c = ssl.create_default_context()
c.minimum_version = c.maximum_version = ssl.TLSVersion[sys.argv[3]]
c.wrap_socket(socket.create_connection((sys.argv[1], int(sys.argv[2]))), server_hostname=sys.argv[1])`
	return func(t *testing.T, addr string) {
		host, port, _ := net.SplitHostPort(addr)
		out, err := exec.Command(harness.Tool(t, "python3"), "-c", program, host, port, version).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "CERTIFICATE_VERIFY_FAILED") {
			t.Errorf("%v: %s", err, out)
		}
	}
}

// A certificate that has ended is not a question of trust.
func TestEndedCertificate(t *testing.T) {
	cert, roots := certificate(t, "127.0.0.1")
	ended := *cert.Leaf
	ended.NotAfter = time.Now().Add(-time.Minute)
	refusals := NewRefusals(slog.New(slog.DiscardHandler), "")
	s := serveBoth(t, http.HandlerFunc(say), ListenerConfig{Refusals: refusals, Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: cert.Certificate, PrivateKey: cert.PrivateKey, Leaf: &ended}, nil
	}})
	late := &tls.Config{RootCAs: roots, Time: func() time.Time { return time.Now().Add(48 * time.Hour) }}
	if c, err := tls.Dial("tcp", s.addr, late); err == nil {
		_ = c.Close()
		t.Fatal("the client connected")
	}
	eventually(t, "the refusal", func() bool { return len(refusals.List()) == 1 })
	if r := refusals.List()[0]; r.Reason != Expired || !strings.Contains(r.Advice, "renew the server's certificate") {
		t.Errorf("%+v", r)
	}
}

// hangUp closes instead of the second write, which is where a client that
// accepts the certificate goes on.
type hangUp struct {
	net.Conn
	wrote bool
}

func (c *hangUp) Write(p []byte) (int, error) {
	if c.wrote {
		_ = c.Close()
		return 0, io.ErrClosedPipe
	}
	c.wrote = true
	return c.Conn.Write(p)
}

// A client that verifies nothing connects by any name; the next one will not.
func TestNameOfInsecureClient(t *testing.T) {
	refusals := NewRefusals(slog.New(slog.DiscardHandler), "registry.test:443")
	s := serveBoth(t, http.HandlerFunc(say), ListenerConfig{Refusals: refusals})
	for _, name := range []string{"127.0.0.1", "registry.test", "REGISTRY.test", "other.test"} {
		c, err := tls.Dial("tcp", s.addr, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	eventually(t, "the refusal", func() bool { return len(refusals.List()) > 0 })
	if l := refusals.List(); len(l) != 1 || l[0].Reason != WrongName || l[0].Name != "other.test" || l[0].Count != 1 {
		t.Errorf("%+v", l)
	}
}

// What comes that is no TLS tells nothing about a client.
func TestNoiseIsNotRemembered(t *testing.T) {
	refusals := NewRefusals(slog.New(slog.DiscardHandler), "")
	s := serveBoth(t, http.HandlerFunc(say), ListenerConfig{Refusals: refusals})
	for _, noise := range []string{"", "\x16", "\x16\x03\x01\x00\x01\x01", "\x16\x00\x00\x00\x00\x00\x00", "\x00\xff", "SSH-2.0-x\r\n"} {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, noise)
		_ = c.(*net.TCPConn).CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%q: %v", noise, err)
		}
		_ = c.Close()
	}
	if l := refusals.List(); len(l) != 0 {
		t.Errorf("%+v", l)
	}
}

// The record is bounded, and so is the log: by address, by network of IPv6,
// and in all.
func TestBoundsOfRefusals(t *testing.T) {
	log := &logBuffer{}
	s := NewRefusals(slog.New(slog.NewTextHandler(log, nil)), "registry.test")
	now := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	s.now = func() time.Time { return now }
	lines := func() int { return strings.Count(log.String(), "\n") }

	home := netip.MustParseAddr("10.0.0.1")
	for range 20 { // a line each ten minutes, whatever the reason
		s.note(home, Refusal{Reason: Untrusted}, "x")
		s.note(home, Refusal{Reason: SpokeHTTP}, "x")
		now = now.Add(time.Minute)
	}
	if lines() != 2 {
		t.Errorf("%d lines in 20 minutes, want 2", lines())
	}
	for i := range 20 {
		s.note(netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)), Refusal{Reason: Untrusted}, "x")
	}
	if l := s.List(); lines() != 3 || len(l) != 3 || l[0].Count != 20 {
		t.Errorf("%d lines, %d rows, want 3", lines(), len(l))
	}
	for i := range 3 * refusalsKept {
		now = now.Add(time.Millisecond)
		s.note(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), Refusal{Reason: Untrusted}, "x")
	}
	if l := s.List(); len(l) != refusalsKept || l[0].Client != netip.MustParseAddr("10.1.11.183") || len(s.warned) > refusalsAnHour {
		t.Errorf("%d rows, the latest %s, %d warned", len(l), l[0].Client, len(s.warned))
	}
	if lines() != refusalsAnHour {
		t.Errorf("%d lines in an hour, want %d", lines(), refusalsAnHour)
	}
	now = now.Add(time.Hour)
	s.note(home, Refusal{Reason: Untrusted}, "x")
	if lines() != refusalsAnHour+1 || len(s.warned) != 1 {
		t.Errorf("%d lines after an hour, %d warned", lines(), len(s.warned))
	}
}
