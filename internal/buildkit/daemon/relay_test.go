//go:build linux

package daemon

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"slipway/test/harness"
)

func TestRelayConf(t *testing.T) {
	inside := netip.MustParseAddr("10.1.2.2")
	for _, test := range []struct {
		name, conf, want string
		local            bool
	}{
		{"a server of the network", "nameserver 192.0.2.53\nsearch lan\n", "", false},
		{"systemd-resolved", "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n", "options edns0 trust-ad\nsearch lan\nnameserver 10.1.2.2\n", true},
		{"one of two on loopback", "nameserver 192.0.2.53\nnameserver 127.0.0.1\n", "nameserver 10.1.2.2\n", true},
		{"IPv6 only", "nameserver fd00::53\nsearch lan", "search lan\nnameserver 10.1.2.2\n", true},
		{"empty", "", "nameserver 10.1.2.2\n", true},
		{"comments and rubbish", "# nameserver 192.0.2.1\nnameserver\nnameserver x\n", "# nameserver 192.0.2.1\nnameserver 10.1.2.2\n", true},
	} {
		conf, local := relayConf([]byte(test.conf), inside)
		if string(conf) != test.want || local != test.local {
			t.Errorf("%s: %q, %v; want %q, %v", test.name, conf, local, test.want, test.local)
		}
	}
}

// TestRelay asks from a network namespace for what a server of this one knows.
func TestRelay(t *testing.T) {
	if os.Geteuid() != 0 {
		harness.Missing(t, "root")
	}
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	pid := cmd.Process.Pid
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ns.Close() }()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	lo := netip.MustParseAddr("127.0.0.1")
	if err := up(h, "lo", netip.Prefix{}); err != nil {
		t.Fatal(err)
	}

	server := nameServer(t)
	dead := netip.AddrPortFrom(lo, 9) // nothing listens there
	r, err := startRelay(pid, lo, func() []netip.AddrPort { return []netip.AddrPort{dead, server} }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()

	for _, proto := range []string{"udp", "tcp"} {
		for _, query := range []string{"a.example", "b.example"} {
			answer, err := askInside(ns, proto, query)
			if err != nil || answer != "answer to "+query {
				t.Errorf("%s: %q, %v", proto, answer, err)
			}
		}
	}
}

// nameServer answers on loopback, by UDP and TCP, with the query after some words.
func nameServer(t *testing.T) netip.AddrPort {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(tcp.Addr().String())
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = tcp.Close(), udp.Close() })
	go func() {
		buf := make([]byte, 1000)
		for {
			n, from, err := udp.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = udp.WriteToUDPAddrPort(append([]byte("answer to "), buf[:n]...), from)
		}
	}()
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			query, _ := io.ReadAll(c)
			_, _ = c.Write(append([]byte("answer to "), query...))
			_ = c.Close()
		}
	}()
	return addr
}

func askInside(ns netns.NsHandle, proto, query string) (string, error) {
	var answer []byte
	failed := make(chan error)
	go func() {
		runtime.LockOSThread()
		failed <- func() error {
			if err := netns.Set(ns); err != nil {
				return err
			}
			c, err := net.Dial(proto, "127.0.0.1:53")
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			if _, err := io.Copy(c, bytes.NewReader([]byte(query))); err != nil {
				return err
			}
			if half, ok := c.(*net.TCPConn); ok {
				_ = half.CloseWrite()
				answer, err = io.ReadAll(c)
				return err
			}
			answer = make([]byte, 1000)
			n, err := c.Read(answer)
			answer = answer[:n]
			return err
		}()
	}()
	err := <-failed
	return string(answer), err
}

func TestFreeSubnet(t *testing.T) {
	all := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, test := range []struct {
		name  string
		id    string
		taken []netip.Prefix
		want  string
	}{
		{"by id", "00000107", nil, "10.129.7.0/24"},
		{"the next", "00000107", []netip.Prefix{netip.MustParsePrefix("10.129.7.128/25")}, "10.129.8.0/24"},
		{"around", "00007fff", []netip.Prefix{netip.MustParsePrefix("10.255.255.255/32")}, "10.128.0.0/24"},
		{"the other range", "00000107", all, "172.20.0.0/24"},
		{"none", "00000107", append(all, netip.MustParsePrefix("172.16.0.0/12")), ""},
	} {
		got, err := freeSubnet(test.id, test.taken)
		if (test.want == "") != (err != nil) || test.want != "" && got.String() != test.want {
			t.Errorf("%s: %s, %v; want %s", test.name, got, err, test.want)
		}
	}
	if got := upperHalf(netip.MustParsePrefix("10.1.2.0/23")).String(); got != "10.1.3.0/24" {
		t.Errorf("the upper half is %s", got)
	}
}
