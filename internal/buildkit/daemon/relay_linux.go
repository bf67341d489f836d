package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netns"
)

// relay answers name queries inside the daemon's namespace by asking a name
// server of this machine that listens on loopback, where builds cannot reach it.
// It looks at no query: bytes go there and come back.
type relay struct {
	log  *slog.Logger
	from func() []netip.AddrPort // the servers to ask
	udp  *net.UDPConn
	tcp  *net.TCPListener
	busy chan struct{} // one entry per query under way
	work sync.WaitGroup
}

const (
	queryTimeout = 5 * time.Second
	queryLimit   = 256
)

// nameservers are those of this machine, read anew each time, as they change.
func nameservers() []netip.Addr {
	raw, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return nil
	}
	return parseNameservers(raw)
}

func parseNameservers(conf []byte) []netip.Addr {
	var servers []netip.Addr
	for line := range bytes.Lines(conf) {
		fields := strings.Fields(string(line))
		if len(fields) >= 2 && fields[0] == "nameserver" {
			if addr, err := netip.ParseAddr(fields[1]); err == nil {
				servers = append(servers, addr)
			}
		}
	}
	return servers
}

// hostServers are the addresses of this machine's name servers.
func hostServers() []netip.AddrPort {
	var servers []netip.AddrPort
	for _, addr := range nameservers() {
		servers = append(servers, netip.AddrPortFrom(addr, 53))
	}
	if len(servers) == 0 { // resolv.conf(5)
		servers = append(servers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53))
	}
	return servers
}

// localResolver tells whether a name server of this machine can only be reached
// on it, and returns a resolv.conf that names the relay in its place. The default
// server of an empty file is loopback, too.
func localResolver(inside netip.Addr) (conf []byte, local bool) {
	raw, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return nil, false // there is no file to put another in the place of
	}
	return relayConf(raw, inside)
}

func relayConf(raw []byte, inside netip.Addr) (conf []byte, local bool) {
	servers := parseNameservers(raw)
	local = len(servers) == 0
	for _, s := range servers {
		local = local || s.IsLoopback() || s.Is6() // builds have no IPv6
	}
	if !local {
		return nil, false
	}
	for line := range bytes.Lines(raw) {
		if fields := bytes.Fields(line); len(fields) > 0 && string(fields[0]) != "nameserver" {
			conf = append(conf, line...)
		}
	}
	if len(conf) > 0 && conf[len(conf)-1] != '\n' {
		conf = append(conf, '\n')
	}
	return fmt.Appendf(conf, "nameserver %s\n", inside), true
}

// startRelay listens in the network namespace of a process.
func startRelay(pid int, addr netip.Addr, from func() []netip.AddrPort, log *slog.Logger) (*relay, error) {
	r := &relay{log: log, from: from, busy: make(chan struct{}, queryLimit)}
	at := netip.AddrPortFrom(addr, 53)
	failed := make(chan error)
	go func() {
		// A socket belongs to the namespace of the thread that makes it. This
		// thread ends with the function, so nothing else ever runs in there.
		runtime.LockOSThread()
		failed <- func() error {
			ns, err := netns.GetFromPid(pid)
			if err != nil {
				return err
			}
			defer func() { _ = ns.Close() }()
			if err := netns.Set(ns); err != nil {
				return err
			}
			if r.udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at)); err != nil {
				return err
			}
			r.tcp, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
			return err
		}()
	}()
	if err := <-failed; err != nil {
		if r.udp != nil {
			_ = r.udp.Close()
		}
		return nil, fmt.Errorf("relaying name queries of builds: %w", err)
	}
	r.work.Go(r.serveUDP)
	r.work.Go(r.serveTCP)
	return r, nil
}

func (r *relay) close() {
	_ = r.udp.Close()
	_ = r.tcp.Close()
	r.work.Wait()
}

func (r *relay) serveUDP() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := r.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of one packet, such as an answer that could not be delivered
		}
		query := bytes.Clone(buf[:n])
		select {
		case r.busy <- struct{}{}:
		default:
			continue // the client asks again
		}
		r.work.Go(func() {
			defer func() { <-r.busy }()
			answer, err := r.ask(query)
			if err == nil {
				_, err = r.udp.WriteToUDPAddrPort(answer, from)
			}
			if err != nil && !errors.Is(err, net.ErrClosed) {
				r.log.Debug("relaying a name query of a build", "err", err)
			}
		})
	}
}

// ask asks the servers, one after the other.
func (r *relay) ask(query []byte) (answer []byte, err error) {
	for _, server := range r.from() {
		if answer, err = askOne(server, query); err == nil {
			return answer, nil
		}
	}
	return nil, err
}

func askOne(server netip.AddrPort, query []byte) ([]byte, error) {
	conn, err := net.DialTimeout("udp", server.String(), queryTimeout)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(queryTimeout)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	buf := make([]byte, 64<<10)
	n, err := conn.Read(buf)
	return buf[:n], err
}

func (r *relay) serveTCP() {
	for {
		conn, err := r.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(queryTimeout / 50) // out of descriptors
			continue
		}
		select {
		case r.busy <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		r.work.Go(func() {
			defer func() { <-r.busy }()
			defer func() { _ = conn.Close() }()
			if err := r.splice(conn); err != nil {
				r.log.Debug("relaying a name query of a build", "err", err)
			}
		})
	}
}

// splice joins a connection to the first name server that accepts one.
func (r *relay) splice(client net.Conn) error {
	var server net.Conn
	var err error
	for _, addr := range r.from() {
		if server, err = net.DialTimeout("tcp", addr.String(), queryTimeout); err == nil {
			break
		}
	}
	if server == nil {
		return err
	}
	defer func() { _ = server.Close() }()
	deadline := time.Now().Add(2 * queryTimeout)
	if err := errors.Join(client.SetDeadline(deadline), server.SetDeadline(deadline)); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(server, client) // its end is seen by the server, which then ends the answer
		if half, ok := server.(*net.TCPConn); ok {
			_ = half.CloseWrite()
		}
	}()
	_, err = io.Copy(client, server)
	return err
}
