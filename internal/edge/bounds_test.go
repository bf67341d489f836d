//go:build unix

package edge

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"slipway/test/harness"
)

// fakeConn is a connection from an address, which can be closed.
type fakeConn struct {
	net.Conn
	from   string
	closed bool
}

func (c *fakeConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from))
}
func (c *fakeConn) Close() error { c.closed = true; return nil }

func TestWhoMakesRoom(t *testing.T) {
	type step struct {
		do   string // admit, busy, idle, close
		conn string // its name, which begins with its address
		want string // the connection that is closed, or "refused"
	}
	for name, c := range map[string]struct {
		most, mostOfOne int
		exempt          string
		steps           []step
	}{
		"the oldest silent one of the address": {100, 2, "", []step{
			{"admit", "10.0.0.1 a", ""}, {"admit", "10.0.0.2 a", ""}, {"admit", "10.0.0.1 b", ""},
			{"admit", "10.0.0.1 c", "10.0.0.1 a"}, {"admit", "10.0.0.1 d", "10.0.0.1 b"},
		}},
		"not one that works": {100, 2, "", []step{
			{"admit", "10.0.0.1 a", ""}, {"busy", "10.0.0.1 a", ""}, {"admit", "10.0.0.1 b", ""}, {"busy", "10.0.0.1 b", ""},
			{"admit", "10.0.0.1 c", "refused"}, {"admit", "10.0.0.2 c", ""},
			{"idle", "10.0.0.1 b", ""}, {"admit", "10.0.0.1 d", "10.0.0.1 b"},
			{"close", "10.0.0.1 a", ""}, {"admit", "10.0.0.1 e", ""},
		}},
		"whoever has most": {4, 100, "", []step{
			{"admit", "10.0.0.1 a", ""}, {"admit", "10.0.0.2 a", ""}, {"admit", "10.0.0.2 b", ""}, {"admit", "10.0.0.2 c", ""},
			{"admit", "10.0.0.3 a", "10.0.0.2 a"}, {"admit", "10.0.0.3 b", "10.0.0.2 b"},
		}},
		"the only one makes room for itself": {1, 1, "", []step{
			{"admit", "10.0.0.1 a", ""}, {"admit", "10.0.0.1 b", "10.0.0.1 a"}, {"close", "10.0.0.1 b", ""}, {"admit", "10.0.0.1 c", ""},
		}},
		"a network of IPv6 is one client": {100, 2, "", []step{
			{"admit", "[2001:db8::1] a", ""}, {"admit", "[2001:db8::2] a", ""}, {"admit", "[2001:db8::3] a", "[2001:db8::1] a"},
			{"admit", "[2001:db8:0:1::1] a", ""},
		}},
		"an IPv4 address within IPv6 is that address": {100, 1, "", []step{
			{"admit", "[::ffff:10.0.0.1] a", ""}, {"admit", "[::ffff:10.0.0.2] a", ""}, {"admit", "10.0.0.1 b", "[::ffff:10.0.0.1] a"},
		}},
		"a proxy and this machine have many clients": {100, 1, "10.0.0.0/24", []step{
			{"admit", "10.0.0.1 a", ""}, {"admit", "10.0.0.1 b", ""}, {"admit", "127.0.0.1 a", ""}, {"admit", "127.0.0.1 b", ""},
			{"admit", "[::1] a", ""}, {"admit", "[::1] b", ""}, {"admit", "10.0.1.1 a", ""}, {"admit", "10.0.1.1 b", "10.0.1.1 a"},
		}},
	} {
		exempt, err := ParseNetworks(c.exempt)
		if err != nil {
			t.Fatal(err)
		}
		b := newBounds(ListenerConfig{Most: c.most, MostOfOne: c.mostOfOne, Exempt: exempt, Log: slog.New(slog.DiscardHandler)})
		conns := map[string]*conn{}
		for i, s := range c.steps {
			was := map[string]bool{}
			for name, c := range conns {
				was[name] = c.Conn.(*fakeConn).closed
			}
			got := ""
			switch s.do {
			case "admit":
				var address string
				_, _ = fmt.Sscan(s.conn, &address)
				own := &conn{Conn: &fakeConn{from: address + ":1234"}, bounds: b}
				if !b.admit(own) {
					got = "refused"
				} else {
					conns[s.conn] = own
				}
			case "busy":
				b.busy(conns[s.conn])
			case "idle":
				b.idle(conns[s.conn])
			case "close":
				_ = conns[s.conn].Close()
				was[s.conn] = true
			}
			for name, c := range conns {
				if c.Conn.(*fakeConn).closed && !was[name] {
					got += name
				}
			}
			if got != s.want {
				t.Errorf("%s: step %d, %s %s: closed %q, want %q", name, i, s.do, s.conn, got, s.want)
			}
		}
	}
}

// Whatever happens in whatever order, the counts are those of the connections.
func TestCountsOfConnections(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most, mostOfOne = 6, 3
		b := newBounds(ListenerConfig{Most: most, MostOfOne: mostOfOne, Log: slog.New(slog.DiscardHandler)})
		var open []*conn
		pick := func(t *rapid.T) *conn {
			if len(open) == 0 {
				t.Skip("none is open")
			}
			return rapid.SampledFrom(open).Draw(t, "conn")
		}
		t.Repeat(map[string]func(*rapid.T){
			"admit": func(t *rapid.T) {
				c := &conn{Conn: &fakeConn{from: fmt.Sprintf("10.0.0.%d:1", rapid.IntRange(1, 4).Draw(t, "address"))}, bounds: b}
				if b.admit(c) {
					open = append(open, c)
				}
			},
			"busy":    func(t *rapid.T) { b.busy(pick(t)) },
			"idle":    func(t *rapid.T) { b.idle(pick(t)) },
			"close":   func(t *rapid.T) { _ = pick(t).Close() },
			"relieve": func(*rapid.T) { b.relieve() },
			"": func(t *rapid.T) {
				n, of := 0, map[*peer]int{}
				for _, c := range open {
					if closed := c.Conn.(*fakeConn).closed; closed != c.released {
						t.Fatal("closed and released differ")
					} else if !closed {
						n++
						of[c.from]++
					} else if c.waiting != nil {
						t.Fatal("a closed connection waits")
					}
				}
				if b.total != n || n > most || len(b.peers) != len(of) {
					t.Fatalf("counted %d connections of %d addresses, there are %d of %d", b.total, len(b.peers), n, len(of))
				}
				for p, n := range of {
					if b.peers[p.key] != p || p.n != n || n > mostOfOne {
						t.Fatalf("%s: counted %d, there are %d", p.key, p.n, n)
					}
				}
			},
		})
	})
}

// flood opens silent connections of every kind, and closes them at the end.
func flood(t *testing.T, addr string, n int) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, n)
	var running sync.WaitGroup
	t.Cleanup(func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	})
	for worker := range 8 {
		running.Go(func() {
			for i := worker; i < n; i += 8 {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
				conns[i] = c
				_, _ = io.WriteString(c, []string{"", "\x16", "\x16\x03\x01\x02\x00", "GET /v2/ HTTP/1.1\r\nHost:", "PRI * HT"}[i%5])
			}
		})
	}
	running.Wait()
	return conns
}

// Five thousand clients that begin and fall silent neither keep a normal one
// out, nor take more than a bounded part of memory and files.
func TestFloodOfSilentConnections(t *testing.T) {
	const flooding, most = 5000, 500
	if limit := fileLimit(); limit < flooding+2*most {
		harness.Missing(t, "a hard limit of %d open files (ulimit -Hn); it is %d", flooding+2*most, limit)
	}
	s := serveBoth(t, http.HandlerFunc(say), ListenerConfig{Most: most})
	stop, served := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { served <- n }()
		secure, plain := s.client(t, "HTTP/1.1", nil, true), s.client(t, "HTTP/1.1", nil, true)
		// The flood comes from another address, as an attacker's does.
		for _, c := range []*http.Client{secure, plain} {
			c.Transport.(*http.Transport).DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext
		}
		for {
			for _, get := range []func() (*http.Response, error){
				func() (*http.Response, error) { return secure.Get("https://" + s.addr) },
				func() (*http.Response, error) { return plain.Get("http://" + s.addr) },
			} {
				begin := time.Now()
				resp, err := get()
				if err != nil {
					t.Errorf("a normal client in the flood: %v", err)
					return
				}
				_ = resp.Body.Close()
				if took := time.Since(begin); took > 10*time.Second {
					t.Errorf("a normal client waited for %v", took)
				}
				n++
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	flood(t, s.addr, flooding)
	s.l.bounds.mu.Lock()
	if s.l.bounds.total > most {
		t.Errorf("%d connections are open, want at most %d", s.l.bounds.total, most)
	}
	s.l.bounds.mu.Unlock()
	close(stop)
	if n := <-served; n < 2 {
		t.Errorf("%d normal requests", n)
	}
}

// A silent connection costs a goroutine and a few buffers.
func TestMemoryOfSilentConnections(t *testing.T) {
	const n, each = 1000, 64 << 10
	s := serveBoth(t, http.HandlerFunc(say), ListenerConfig{})
	inUse := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := inUse()
	flood(t, s.addr, n)
	eventually(t, "all connections", func() bool {
		s.l.bounds.mu.Lock()
		defer s.l.bounds.mu.Unlock()
		return s.l.bounds.total >= n
	})
	if after := inUse(); after > before+n*each {
		t.Errorf("%d connections take %d bytes each, want at most %d", n, (after-before)/n, each)
	} else {
		t.Logf("%d bytes for each silent connection, both ends", (after-before)/n)
	}
}

// Idle connections of one client make room, and the requests of the others go on.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	const most = 20
	began, end := make(chan struct{}), make(chan struct{})
	s := serveBoth(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			began <- struct{}{}
			<-end
		}
		say(w, r)
	}), ListenerConfig{Most: most})
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0", "h2c"} {
		scheme := "https"
		if protocol == "h2c" {
			scheme = "http"
		}
		long := make(chan error, 1)
		go func() {
			resp, err := s.client(t, protocol, nil, false).Get(scheme + "://" + s.addr + "/long")
			if err == nil {
				_ = resp.Body.Close()
			}
			long <- err
		}()
		<-began
		for i := range 2 * most { // each leaves a connection idle
			resp, err := s.client(t, protocol, nil, false).Get(scheme + "://" + s.addr)
			if err != nil {
				t.Fatalf("%s: request %d: %v", protocol, i, err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		end <- struct{}{}
		if err := <-long; err != nil {
			t.Errorf("%s: the request that was under way: %v", protocol, err)
		}
	}
}

func TestFileLimitIsRaised(t *testing.T) {
	if soft, hard := fileLimits(t); soft != hard {
		t.Errorf("this process may open %s files, it could %s", soft, hard)
	}
	if n := DefaultMost(); n < 64 || n > 10_000 || (n > 64 && n > fileLimit()/2) {
		t.Errorf("%d connections by default", n)
	}
}
