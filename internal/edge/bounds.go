package edge

import (
	"container/list"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// bounds limits connections. One on which nothing is asked for, because it
// has yet to begin or because it is idle, is waiting: where there are too many,
// the oldest waiting one of whoever has most is closed. So a flood of silent
// connections pushes out itself, and clients that ask get through.
type bounds struct {
	most, mostOfOne int
	exempt          []netip.Prefix
	log             *slog.Logger

	mu     sync.Mutex
	total  int
	peers  map[netip.Prefix]*peer
	warned time.Time
}

// peer is an IPv4 address, or the network of an IPv6 address, within which a
// client has as many addresses as it wants.
type peer struct {
	key     netip.Prefix
	n       int
	exempt  bool
	waiting list.List // of *conn, oldest first
}

func newBounds(c ListenerConfig) *bounds {
	return &bounds{most: c.Most, mostOfOne: c.MostOfOne, exempt: c.Exempt, log: c.Log, peers: map[netip.Prefix]*peer{}}
}

// DefaultMost is how many connections a server may have at once: a half of the
// files that this process may open, since serving one takes a second file, and
// at most 10,000. (Go raises the soft limit of files to the hard one.)
func DefaultMost() int {
	return min(max(fileLimit()/2, 64), 10_000)
}

// admit counts a new connection, if there is room or room can be made.
func (b *bounds) admit(c *conn) bool {
	addr := addrOf(c.RemoteAddr())
	key := peerKey(addr)
	b.mu.Lock()
	p := b.peers[key]
	if p == nil {
		p = &peer{key: key, exempt: addr.IsLoopback() || contains(b.exempt, addr)}
	}
	var victim *conn
	ok := true
	switch {
	case !p.exempt && p.n >= b.mostOfOne:
		victim, ok = b.takeWaiting(p)
		b.warn("an address has too many connections", slog.String("remote", addr.String()), slog.Int("most", b.mostOfOne))
	case b.total >= b.most:
		victim, ok = b.takeWaiting(b.greediest())
		b.warn("there are too many connections", slog.String("remote", addr.String()), slog.Int("most", b.most))
	}
	if ok {
		b.peers[key] = p // its last connection may just have made room
		c.from = p
		p.n++
		b.total++
		c.waiting = p.waiting.PushBack(c)
	}
	b.mu.Unlock()
	if victim != nil {
		_ = victim.Conn.Close() // it has been released; its user sees the end
	}
	return ok
}

// relieve closes a waiting connection.
func (b *bounds) relieve() {
	b.mu.Lock()
	victim, _ := b.takeWaiting(b.greediest())
	b.mu.Unlock()
	if victim != nil {
		_ = victim.Conn.Close()
	}
}

// greediest is the peer with most connections that has a waiting one.
func (b *bounds) greediest() *peer {
	var most *peer
	for _, p := range b.peers {
		if p.waiting.Len() > 0 && (most == nil || p.n > most.n) {
			most = p
		}
	}
	return most
}

// takeWaiting releases the oldest waiting connection of a peer.
func (b *bounds) takeWaiting(p *peer) (*conn, bool) {
	if p == nil || p.waiting.Len() == 0 {
		return nil, false
	}
	c := p.waiting.Front().Value.(*conn)
	b.releaseLocked(c)
	return c, true
}

func (b *bounds) release(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.releaseLocked(c)
}

func (b *bounds) releaseLocked(c *conn) {
	if c.released || c.from == nil {
		return
	}
	c.released = true
	b.stopWaiting(c)
	b.total--
	if c.from.n--; c.from.n == 0 {
		delete(b.peers, c.from.key)
	}
}

func (b *bounds) stopWaiting(c *conn) {
	if c.waiting != nil {
		c.from.waiting.Remove(c.waiting)
		c.waiting = nil
	}
}

// busy is told when a request begins.
func (b *bounds) busy(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopWaiting(c)
}

// idle is told when requests have ended.
func (b *bounds) idle(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !c.released && c.waiting == nil {
		c.waiting = c.from.waiting.PushBack(c)
	}
}

// giveOut notes that a connection is the server's now. It is false for one
// that was closed to make room.
func (b *bounds) giveOut(c *conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.given = true
	return !c.released
}

// closeUngiven ends the connections that the server does not know.
func (b *bounds) closeUngiven() {
	b.mu.Lock()
	var ungiven []*conn
	for _, p := range b.peers {
		for e := p.waiting.Front(); e != nil; e = e.Next() {
			if c := e.Value.(*conn); !c.given {
				ungiven = append(ungiven, c)
			}
		}
	}
	b.mu.Unlock()
	for _, c := range ungiven {
		_ = c.Close()
	}
}

// warn logs at most once a minute.
func (b *bounds) warn(msg string, attrs ...any) {
	if now := time.Now(); now.Sub(b.warned) >= time.Minute {
		b.warned = now
		b.log.Warn(msg+": waiting ones are closed, oldest first", attrs...)
	}
}

func contains(networks []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// peerKey is what stands for one client.
func peerKey(addr netip.Addr) netip.Prefix {
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.WithZone("").Prefix(bits) // the zero address has the zero prefix
	return p
}
