package edge

import (
	"container/list"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
)

// conn is an accepted connection whose first byte can be looked at, and which
// is counted until it is closed.
type conn struct {
	net.Conn
	first  [1]byte
	peeked bool // first has yet to be read

	// What the client said in its handshake, and what it was shown.
	name    string
	alpn    []string
	helloed bool
	shown   *tls.Certificate

	// last is the end of what was read in the handshake: OpenSSL sends its alert
	// in the clear where TLS 1.3 wants it encrypted, and crypto/tls cannot tell.
	last    [alertRecord]byte
	greeted bool // the handshake is over

	bounds *bounds
	once   sync.Once

	// The rest belongs to bounds.
	from     *peer
	waiting  *list.Element // in bounds.peer.waiting while nothing is asked for
	given    bool          // Accept has given it out
	released bool
}

// peek waits for the first byte. It must not run along with Read.
func (c *conn) peek() (byte, error) {
	_, err := io.ReadFull(c.Conn, c.first[:])
	c.peeked = err == nil
	return c.first[0], err
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	if c.peeked && len(p) > 0 {
		c.peeked = false
		p[0] = c.first[0]
		return 1, nil
	}
	n, err := c.Conn.Read(p)
	if !c.greeted && n > 0 {
		tail := append(c.last[:], p[max(0, n-alertRecord):n]...)
		copy(c.last[:], tail[len(tail)-alertRecord:])
	}
	return n, err
}

// alertRecord is the length of an alert in the clear: type, version, length,
// level, description (RFC 8446, sections 5.1 and 6).
const alertRecord = 7

// clearAlert is the alert in the clear that was read last, if that was one.
func (c *conn) clearAlert() (tls.AlertError, bool) {
	const alertType, fatal = 0x15, 2
	r := c.last
	return tls.AlertError(r[6]), r[0] == alertType && r[1] == 3 && r[3] == 0 && r[4] == 2 && r[5] == fatal
}

// ReadFrom lets the kernel send files.
func (c *conn) ReadFrom(src io.Reader) (int64, error) {
	if to, ok := c.Conn.(io.ReaderFrom); ok {
		return to.ReadFrom(src)
	}
	return io.Copy(struct{ io.Writer }{c.Conn}, src)
}

// CloseWrite lets net/http end an answer without a reset.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.once.Do(func() { c.bounds.release(c) })
	return c.Conn.Close()
}

// noteState is the http.Server's ConnState: a connection on which nothing is
// asked for may be closed to make room.
func noteState(nc net.Conn, state http.ConnState) {
	c := ownConn(nc)
	if c == nil {
		return
	}
	switch state {
	case http.StateActive, http.StateHijacked:
		c.bounds.busy(c)
	case http.StateIdle:
		c.bounds.idle(c)
	}
}

// ownConn finds the Listener's connection in what net/http made of it.
func ownConn(nc net.Conn) *conn {
	for {
		switch c := nc.(type) {
		case *conn:
			return c
		case *tls.Conn:
			nc = c.NetConn()
		default:
			return nil
		}
	}
}
