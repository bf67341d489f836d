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
	return c.Conn.Read(p)
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
		case interface{ UnencryptedNetConn() net.Conn }: // HTTP/2 without TLS
			nc = c.UnencryptedNetConn()
		default:
			return nil
		}
	}
}
