package edge

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// certificate makes one for names and addresses that signs itself.
func certificate(t *testing.T, names ...string) (*tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// served is a Listener with a server on it.
type served struct {
	addr  string
	roots *x509.CertPool
	l     *Listener
	http  *http.Server
}

func serveBoth(t *testing.T, handler http.Handler, c ListenerConfig) *served {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, inner, handler, c)
}

func serveOn(t *testing.T, inner net.Listener, handler http.Handler, c ListenerConfig) *served {
	t.Helper()
	cert, roots := certificate(t, "127.0.0.1", "registry.test")
	if c.Certificate == nil {
		c.Certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &served{addr: inner.Addr().String(), roots: roots, l: NewListener(inner, c)}
	s.http = NewServer(Config{Handler: handler, Log: c.Log, Stall: 20 * time.Second})
	ended := make(chan error, 1)
	go func() { ended <- s.http.Serve(s.l) }()
	t.Cleanup(func() {
		_ = s.http.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve ended with %v", err)
		}
	})
	return s
}

// client speaks a protocol, on a new connection for each request if fresh.
func (s *served) client(t *testing.T, protocol string, config *tls.Config, fresh bool) *http.Client {
	t.Helper()
	p := new(http.Protocols)
	switch protocol {
	case "HTTP/2.0":
		p.SetHTTP2(true)
	case "h2c":
		p.SetUnencryptedHTTP2(true)
	default:
		p.SetHTTP1(true)
	}
	if config == nil {
		config = &tls.Config{}
	}
	if config.RootCAs == nil {
		config.RootCAs = s.roots
	}
	tr := &http.Transport{Protocols: p, TLSClientConfig: config, DisableKeepAlives: fresh}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func say(w http.ResponseWriter, r *http.Request) {
	version := uint16(0)
	if r.TLS != nil {
		version = r.TLS.Version
	}
	n, _ := io.Copy(io.Discard, r.Body)
	fmt.Fprintf(w, "%s %s %s %d", r.Proto, OriginOf(r).Scheme, tls.VersionName(version), n)
}

func TestBothProtocolsOnOnePort(t *testing.T) {
	s := serveBoth(t, http.HandlerFunc(say), ListenerConfig{})
	for _, c := range []struct {
		scheme, protocol string
		max              uint16
		want             string
	}{
		{"http", "HTTP/1.1", 0, "HTTP/1.1 http 0x0000 300000"},
		{"http", "h2c", 0, "HTTP/2.0 http 0x0000 300000"},
		{"https", "HTTP/1.1", 0, "HTTP/1.1 https TLS 1.3 300000"},
		{"https", "HTTP/2.0", 0, "HTTP/2.0 https TLS 1.3 300000"},
		{"https", "HTTP/1.1", tls.VersionTLS12, "HTTP/1.1 https TLS 1.2 300000"},
		{"https", "HTTP/2.0", tls.VersionTLS12, "HTTP/2.0 https TLS 1.2 300000"},
	} {
		t.Run(fmt.Sprintf("%s %s up to %x", c.scheme, c.protocol, c.max), func(t *testing.T) {
			client := s.client(t, c.protocol, &tls.Config{MaxVersion: c.max}, false)
			for range 2 { // the second on the same connection
				resp, err := client.Post(c.scheme+"://"+s.addr+"/", "", bytes.NewReader(make([]byte, 300_000)))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || string(body) != c.want {
					t.Errorf("got %q, %v; want %q", body, err, c.want)
				}
			}
		})
	}
	old := &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	if c, err := tls.Dial("tcp", s.addr, old); err == nil {
		t.Errorf("TLS 1.1 was spoken: %v", c.ConnectionState().Version)
	}
}

// Without a certificate the port is for plain HTTP, and a TLS client gets an
// answer that ends it.
func TestListenerWithoutTLS(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := NewListener(inner, ListenerConfig{Log: slog.New(slog.DiscardHandler)})
	srv := NewServer(Config{Handler: http.HandlerFunc(say), Log: slog.New(slog.DiscardHandler)})
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	resp, err := http.Get("http://" + inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if _, err := tls.Dial("tcp", inner.Addr().String(), &tls.Config{InsecureSkipVerify: true}); err == nil {
		t.Error("TLS was spoken without a certificate")
	}
}

// Protocols that are no HTTP end with their handshake.
func TestOtherApplicationProtocols(t *testing.T) {
	s := serveBoth(t, http.HandlerFunc(say), ListenerConfig{Protocols: []string{"acme-tls/1"}})
	c, err := tls.Dial("tcp", s.addr, &tls.Config{RootCAs: s.roots, NextProtos: []string{"acme-tls/1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if b, _ := io.ReadAll(c); c.ConnectionState().NegotiatedProtocol != "acme-tls/1" || len(b) > 0 {
		t.Errorf("%s was answered with %q", c.ConnectionState().NegotiatedProtocol, b)
	}
}

// tcpSpy notes what the kernel is asked to send from.
type tcpSpy struct {
	net.Listener
	mu      sync.Mutex
	sources []string
}

type spiedConn struct {
	*net.TCPConn
	spy *tcpSpy
}

func (s *tcpSpy) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &spiedConn{c.(*net.TCPConn), s}, nil
}

func (c *spiedConn) ReadFrom(r io.Reader) (int64, error) {
	under := r
	if l, ok := r.(*io.LimitedReader); ok {
		under = l.R
	}
	c.spy.mu.Lock()
	c.spy.sources = append(c.spy.sources, fmt.Sprintf("%T", under))
	c.spy.mu.Unlock()
	return c.TCPConn.ReadFrom(r)
}

func TestPlainConnectionsKeepSendfile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 3*sendSlice), 0o600); err != nil {
		t.Fatal(err)
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	spy := &tcpSpy{Listener: inner}
	s := serveOn(t, spy, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(path)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		http.ServeContent(w, r, "", time.Time{}, f)
	}), ListenerConfig{})
	for _, scheme := range []string{"http", "https"} {
		resp, err := s.client(t, "HTTP/1.1", nil, true).Get(scheme + "://" + s.addr)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if n != 3*sendSlice || err != nil {
			t.Errorf("%s: %d bytes, %v", scheme, n, err)
		}
	}
	spy.mu.Lock()
	defer spy.mu.Unlock()
	if len(spy.sources) == 0 || strings.Trim(strings.Join(spy.sources, ""), "*os.File") != "" && !strings.Contains(spy.sources[0], "os.fileWithoutWriteTo") {
		t.Errorf("the kernel was given %q, want files", spy.sources)
	}
}

// What is closed is closed at once: also a client that says nothing, and one
// in the middle of its handshake.
func TestCloseEndsThoseWhoHaveNotBegun(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := certificate(t, "127.0.0.1")
	l := NewListener(inner, ListenerConfig{Log: slog.New(slog.DiscardHandler), Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }})
	var clients []net.Conn
	for _, said := range []string{"", "\x16", "\x16\x03\x01"} {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, said)
		clients = append(clients, c)
	}
	eventually(t, "three connections", func() bool {
		l.bounds.mu.Lock()
		defer l.bounds.mu.Unlock()
		return l.bounds.total == 3
	})
	accepted := make(chan error, 1)
	go func() { _, err := l.Accept(); accepted <- err }()
	begin := time.Now()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > headerTimeout*2/3 {
		t.Errorf("Close waited %v for clients", took)
	}
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept ended with %v", err)
	}
	for _, c := range clients {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a connection lives on: %v", err)
		}
	}
	if l.bounds.total != 0 || len(l.bounds.peers) != 0 {
		t.Errorf("%d connections are still counted, of %d peers", l.bounds.total, len(l.bounds.peers))
	}
	if !errors.Is(l.Close(), net.ErrClosed) {
		t.Error("closed twice without an error")
	}
}

// A client that says nothing, or stops within its handshake, is let go; one
// that has begun may then be slow.
func TestPatience(t *testing.T) {
	const patience = 200 * time.Millisecond
	s := serveBoth(t, http.HandlerFunc(say), ListenerConfig{patience: patience})
	for _, said := range []string{"", "\x16", "\x16\x03\x01\x02\x00\x01"} {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, said)
		_ = c.SetReadDeadline(time.Now().Add(headerTimeout / 2))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after %q: %v, want the end", said, err)
		}
	}
	for _, c := range [][2]string{{"http", "HTTP/1.1"}, {"http", "h2c"}, {"https", "HTTP/1.1"}, {"https", "HTTP/2.0"}} {
		body, w := io.Pipe()
		go func() {
			time.Sleep(2 * patience)
			_ = w.Close()
		}()
		resp, err := s.client(t, c[1], nil, true).Post(c[0]+"://"+s.addr, "", body)
		if err != nil {
			t.Errorf("%s: %v", c, err)
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", c, resp.StatusCode)
		}
	}
}

// What Accept gives has no deadline left of the greeting.
func TestAcceptedConnectionsHaveNoDeadline(t *testing.T) {
	const patience = 100 * time.Millisecond
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := NewListener(inner, ListenerConfig{Log: slog.New(slog.DiscardHandler), patience: patience})
	defer l.Close()
	client, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	io.WriteString(client, "G")
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	time.Sleep(2 * patience)
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Error(err)
	}
}

// brokenListener is out of file descriptors for a while.
type brokenListener struct {
	net.Listener
	fail chan error
}

func (l *brokenListener) Accept() (net.Conn, error) {
	select {
	case err := <-l.fail:
		return nil, err
	default:
		return l.Listener.Accept()
	}
}

type outOfFiles struct{}

func (outOfFiles) Error() string   { return "too many open files" }
func (outOfFiles) Temporary() bool { return true }

func TestAcceptGoesOnAfterPassingErrors(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fail := make(chan error, 3)
	for range cap(fail) {
		fail <- outOfFiles{}
	}
	s := serveOn(t, &brokenListener{inner, fail}, http.HandlerFunc(say), ListenerConfig{})
	resp, err := s.client(t, "HTTP/1.1", nil, true).Get("https://" + s.addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if len(fail) > 0 {
		t.Error("no error was met")
	}

	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := NewListener(other, ListenerConfig{Log: slog.New(slog.DiscardHandler)})
	_ = other.Close()
	if _, err := gone.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept on what is gone: %v", err)
	}
}

// Shutdown lets a request end that is under way, over TLS as well.
func TestShutdownFinishesRequests(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		began, end := make(chan struct{}), make(chan struct{})
		s := serveBoth(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(began)
			<-end
			say(w, r)
		}), ListenerConfig{})
		answered := make(chan error, 1)
		go func() {
			resp, err := s.client(t, protocol, nil, false).Get("https://" + s.addr)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			answered <- err
		}()
		<-began
		down := make(chan error, 1)
		go func() { down <- s.http.Shutdown(context.Background()) }()
		eventually(t, "a closed port", func() bool {
			c, err := net.Dial("tcp", s.addr)
			if err == nil {
				_ = c.Close()
			}
			return err != nil
		})
		close(end)
		if err := <-answered; err != nil {
			t.Errorf("%s: the request under way: %v", protocol, err)
		}
		if err := <-down; err != nil {
			t.Errorf("%s: Shutdown: %v", protocol, err)
		}
	}
}

// eventually waits for what another goroutine or machine does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
