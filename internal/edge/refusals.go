package edge

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Reason is why a client could not connect, or will have trouble to.
type Reason string

// The reasons, from the clearest to the vaguest.
const (
	// Untrusted: the client said that it does not trust the certificate. All of
	// Go's clients (docker, podman, skopeo, containerd), those on OpenSSL (curl,
	// Python) and browsers say so, by an alert.
	Untrusted Reason = "untrusted"
	// WrongName: the client asked for a name that is not in the certificate.
	WrongName Reason = "wrong-name"
	// Expired: the certificate's time is over, or the client's clock says so.
	Expired Reason = "expired"
	// SpokeHTTP: the client spoke HTTP without TLS from where that is not served.
	SpokeHTTP Reason = "plain-http"
	// OldTLS: the client knows nothing newer than TLS 1.1, or shares no cipher.
	OldTLS Reason = "old-tls"
	// HungUp: the client closed after it saw the certificate, without a word.
	// Node.js does so if it does not trust it, but a check of health as well, so
	// it is listed but not logged.
	HungUp Reason = "hung-up"
	// Failed: the handshake failed for another reason. Scanners of ports do
	// this, so it is listed but not logged.
	Failed Reason = "failed"
)

// Refusal is what happened with one client for one reason.
type Refusal struct {
	Client      netip.Addr // the last of its network, for IPv6 /64
	Reason      Reason
	Detail      string // an error's text, for Untrusted and Failed
	Name        string // what it asked for: a host without port, "" if it did not say
	ALPN        []string
	Count       int
	First, Last time.Time
	// Connected is when the client's address last completed a handshake, or
	// zero. After Last, the matter is probably settled.
	Connected time.Time
	// Advice is what to do, for a person.
	Advice string
}

const (
	refusalsKept   = 1000             // rows
	refusalSilence = 10 * time.Minute // between two lines of the log about one address
	refusalsAnHour = 100              // lines of the log
	alpnKept       = 8
)

// Refusals remembers clients that could not connect: a bounded number of
// addresses, and for each address one warning in ten minutes. All methods may
// be called at once, and on nil.
type Refusals struct {
	log    *slog.Logger
	public string // host:port by which clients know the server, or ""
	now    func() time.Time

	mu     sync.Mutex
	rows   map[refusalKey]*Refusal
	warned map[netip.Prefix]time.Time
	hour   time.Time // since when lines is counted
	lines  int
}

type refusalKey struct {
	peer   netip.Prefix
	reason Reason
}

// NewRefusals makes an empty record. public is the host:port by which clients
// know the server; without it, advice names the address that they used.
func NewRefusals(log *slog.Logger, public string) *Refusals {
	return &Refusals{log: log, public: public, now: time.Now, rows: map[refusalKey]*Refusal{}, warned: map[netip.Prefix]time.Time{}}
}

// List returns the refusals, the latest first.
func (s *Refusals) List() []Refusal {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Refusal, 0, len(s.rows))
	for _, r := range s.rows {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b Refusal) int {
		return cmp.Or(b.Last.Compare(a.Last), a.Client.Compare(b.Client), cmp.Compare(a.Reason, b.Reason))
	})
	return list
}

// handshake notes a failed handshake, if it tells anything.
func (s *Refusals) handshake(c *conn, err error) {
	if s == nil || !c.helloed {
		return // what came was not TLS, or stopped before it said anything
	}
	if alert, clear := c.clearAlert(); clear {
		err = &net.OpError{Op: "remote error", Err: alert}
	}
	reason := handshakeReason(c, err)
	r := Refusal{Reason: reason, Detail: clip(err.Error()), Name: safeHost(c.name), ALPN: safeALPN(c.alpn)}
	s.note(addrOf(c.RemoteAddr()), r, trustAddress(s.public, r.Name, c.LocalAddr()))
}

// connected notes a completed handshake, also if with a name that the
// certificate lacks: that client does not verify, the next one will.
func (s *Refusals) connected(c *conn) {
	if s == nil {
		return
	}
	addr := addrOf(c.RemoteAddr())
	if c.name != "" && c.shown != nil && !covers(c.shown, c.name) {
		s.note(addr, Refusal{Reason: WrongName, Name: safeHost(c.name), ALPN: safeALPN(c.alpn)}, "")
		return
	}
	key := peerKey(addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, reason := range []Reason{Untrusted, WrongName, Expired, SpokeHTTP, OldTLS, HungUp, Failed} {
		if r := s.rows[refusalKey{key, reason}]; r != nil {
			r.Connected = s.now()
		}
	}
}

func (s *Refusals) note(addr netip.Addr, r Refusal, trust string) {
	if s == nil {
		return
	}
	r.Client, r.Advice = addr, advice(addr, r, trust)
	key := refusalKey{peerKey(addr), r.Reason}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Last = s.now()
	r.First, r.Count = r.Last, 1
	if old := s.rows[key]; old != nil {
		r.First, r.Count, r.Connected = old.First, old.Count+1, old.Connected
	} else if len(s.rows) >= refusalsKept {
		s.forgetOldest()
	}
	s.rows[key] = &r
	if s.mayWarn(key, r.Last) {
		s.log.Warn("a client could not connect", "remote", addr, "reason", string(r.Reason), "name", r.Name, "advice", r.Advice)
	}
}

// mayWarn limits lines by address and in all.
func (s *Refusals) mayWarn(key refusalKey, now time.Time) bool {
	if key.reason == HungUp || key.reason == Failed {
		return false
	}
	if last, ok := s.warned[key.peer]; ok && now.Sub(last) < refusalSilence {
		return false
	}
	if now.Sub(s.hour) >= time.Hour {
		s.hour, s.lines = now, 0
		for peer, last := range s.warned {
			if now.Sub(last) >= refusalSilence {
				delete(s.warned, peer)
			}
		}
	}
	if s.lines++; s.lines > refusalsAnHour {
		return false
	}
	s.warned[key.peer] = now
	return true
}

func (s *Refusals) forgetOldest() {
	var oldest refusalKey
	var last time.Time
	for key, r := range s.rows {
		if last.IsZero() || r.Last.Before(last) {
			oldest, last = key, r.Last
		}
	}
	delete(s.rows, oldest)
}

// advice is what to do about it. trust is the host:port for `slipway trust`.
func advice(addr netip.Addr, r Refusal, trust string) string {
	run := "on " + addr.String() + " run: slipway trust " + trust
	switch r.Reason {
	case Untrusted:
		return run
	case SpokeHTTP:
		return "let it use https; " + run
	case WrongName:
		if r.Name == "" {
			return "it asked for a name that no certificate can have"
		}
		return "add " + r.Name + " to tls.names, or let it use a name that is there"
	case Expired:
		return "renew the server's certificate if it has ended; else set the clock of " + addr.String()
	case OldTLS:
		return "it needs TLS 1.2 or newer: update that client"
	case HungUp:
		return "if it is a client, " + run
	default:
		return "see detail"
	}
}

// alerts by which a client says that it does not accept the certificate, as
// crypto/tls words them (RFC 8446, section 6.2): bad_certificate (Go),
// unknown_ca (OpenSSL), certificate_unknown (browsers, Java),
// certificate_expired, unsupported_certificate.
var certificateAlerts = []string{
	"tls: bad certificate",
	"tls: unknown certificate authority",
	"tls: unknown certificate",
	"tls: expired certificate",
	"tls: unsupported certificate",
}

func handshakeReason(c *conn, err error) Reason {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "remote error":
		if !slices.Contains(certificateAlerts, op.Err.Error()) {
			return Failed
		}
		// Go says bad_certificate of all that follows.
		switch {
		case op.Err.Error() == "tls: expired certificate" || c.shown != nil && leafOf(c.shown).NotAfter.Before(time.Now()):
			return Expired
		case c.name != "" && c.shown != nil && !covers(c.shown, c.name):
			return WrongName
		}
		return Untrusted
	case c.shown == nil:
		// crypto/tls has no error values for these.
		if text := err.Error(); strings.Contains(text, "unsupported versions") || strings.Contains(text, "no cipher suite supported") {
			return OldTLS
		}
		return Failed
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return HungUp
	}
	return Failed
}

// covers tells whether a certificate is good for a name.
func covers(cert *tls.Certificate, name string) bool {
	return leafOf(cert).VerifyHostname(name) == nil
}

// leafOf is the server's own certificate of a chain.
func leafOf(cert *tls.Certificate) *x509.Certificate {
	if cert.Leaf != nil {
		return cert.Leaf
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return &x509.Certificate{} // crypto/tls has refused it before
	}
	return leaf
}

func safeALPN(list []string) []string {
	safe := make([]string, 0, min(len(list), alpnKept))
	for _, p := range list[:min(len(list), alpnKept)] {
		safe = append(safe, clip(p))
	}
	return safe
}

// clip bounds what is kept of a text that a stranger may have influenced.
func clip(s string) string { return s[:min(len(s), 200)] }
