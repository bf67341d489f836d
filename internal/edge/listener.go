package edge

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// ListenerConfig is what a Listener is made of.
type ListenerConfig struct {
	// Certificate chooses what a client is shown. Without it, TLS is not
	// spoken.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Protocols are application protocols besides HTTP that end with the
	// handshake, such as acme-tls/1 (RFC 8737).
	Protocols []string
	Log       *slog.Logger
	Refusals  *Refusals // who could not connect. May be nil
	Most      int       // connections at once. Default DefaultMost()
	MostOfOne int       // connections of one address at once. Default DefaultMostOfOne
	// Exempt are addresses to which MostOfOne does not apply, besides loopback:
	// many clients come by a proxy.
	Exempt []netip.Prefix

	patience time.Duration // for a first byte and a handshake. Default headerTimeout
}

// DefaultMostOfOne is how many connections one IPv4 address, or one /64 of
// IPv6, may hold. A busy machine of continuous integration has a few hundred.
const DefaultMostOfOne = 1024

// Listener is one port for two protocols: the first byte of a connection
// decides. Accept gives connections on which something was said: plain ones,
// and a *tls.Conn after its handshake. Nobody waits for a client that says
// nothing, and what such clients can hold is bounded.
//
// An http.Server of NewServer serves both kinds; Request.TLS tells them apart.
// Closing the listener ends the connections that Accept has not given out.
type Listener struct {
	net.Listener
	config  ListenerConfig
	tls     *tls.Config
	bounds  *bounds
	ready   chan net.Conn
	closed  chan struct{}
	once    sync.Once
	failure error // why accepting ended; written before ended is closed
	ended   chan struct{}
	greeted sync.WaitGroup
}

var _ net.Listener = (*Listener)(nil)

// handshakeByte begins every TLS connection: the type of a record that carries
// a handshake (RFC 8446, section 5.1). No HTTP method and no HTTP/2 preface
// begins with it.
const handshakeByte = 0x16

// NewListener takes over a listener. Its connections are accepted from now on.
func NewListener(inner net.Listener, c ListenerConfig) *Listener {
	if c.Most == 0 {
		c.Most = DefaultMost()
	}
	if c.MostOfOne == 0 {
		c.MostOfOne = DefaultMostOfOne
	}
	if c.patience == 0 {
		c.patience = headerTimeout
	}
	l := &Listener{
		Listener: inner, config: c, bounds: newBounds(c),
		ready: make(chan net.Conn), closed: make(chan struct{}), ended: make(chan struct{}),
	}
	if c.Certificate != nil {
		l.tls = &tls.Config{
			MinVersion: tls.VersionTLS12,
			NextProtos: append([]string{"h2", "http/1.1"}, c.Protocols...),
			GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				cert, err := c.Certificate(hello)
				if own, ok := hello.Conn.(*conn); ok {
					own.shown = cert
				}
				return cert, err
			},
			// It is also asked where no certificate is, as when a session is
			// taken up again.
			GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				if own, ok := hello.Conn.(*conn); ok {
					own.name, own.alpn, own.helloed = hello.ServerName, hello.SupportedProtos, true
				}
				return nil, nil
			},
		}
	}
	go l.acceptAll()
	return l
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-l.ended:
		return nil, l.failure
	}
}

// Close implements net.Listener.
func (l *Listener) Close() error {
	err := net.ErrClosed
	l.once.Do(func() {
		close(l.closed)
		err = l.Listener.Close()
		<-l.ended
		l.bounds.closeUngiven()
		l.greeted.Wait()
	})
	return err
}

// acceptAll greets every connection in its own goroutine.
func (l *Listener) acceptAll() {
	defer close(l.ended)
	pause := time.Duration(0)
	for {
		accepted, err := l.Listener.Accept()
		if err == nil {
			pause = 0
			c := &conn{Conn: accepted, bounds: l.bounds}
			if l.bounds.admit(c) {
				l.greeted.Go(func() { l.greet(c) })
			} else {
				_ = accepted.Close() // nothing was said on it
			}
			continue
		}
		var passing interface{ Temporary() bool }
		if !errors.As(err, &passing) || !passing.Temporary() {
			l.failure = err
			return
		}
		// Out of file descriptors, most likely.
		l.bounds.relieve()
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		l.config.Log.Warn("cannot accept connections", "err", err, "again", pause)
		select {
		case <-time.After(pause):
		case <-l.closed:
		}
	}
}

// greet finds out what a client speaks, within the time that it has for its
// headers.
func (l *Listener) greet(c *conn) {
	_ = c.SetDeadline(time.Now().Add(l.config.patience))
	first, err := c.peek()
	if err != nil {
		_ = c.Close()
		return
	}
	if first != handshakeByte || l.tls == nil {
		c.greeted = true
		l.give(c, c)
		return
	}
	secured := tls.Server(c, l.tls)
	err = secured.Handshake()
	select {
	case <-l.closed: // which may be why it failed
		_ = c.Close()
		return
	default:
	}
	if err != nil {
		l.config.Refusals.handshake(c, err)
		l.config.Log.Debug("TLS handshake failed", "remote", c.RemoteAddr(), "err", err)
		_ = c.Close()
		return
	}
	c.greeted = true
	l.config.Refusals.connected(c)
	switch secured.ConnectionState().NegotiatedProtocol {
	case "", "h2", "http/1.1":
		l.give(c, secured)
	default:
		_ = secured.Close()
	}
}

// give hands a connection to Accept.
func (l *Listener) give(c *conn, as net.Conn) {
	_ = c.SetDeadline(time.Time{})
	if !l.bounds.giveOut(c) {
		return // closed to make room
	}
	select {
	case l.ready <- as:
	case <-l.closed:
		_ = c.Close()
	}
}
