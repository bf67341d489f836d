//go:build linux

package trust

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"slipway/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.IsolateBuilder(m)) }

// The addresses of the two hosts, which are nobody's elsewhere.
const (
	serverIP = "198.51.100.2"
	clientIP = "198.51.100.1"
)

// server is the host of the registry. The test's own is the clients'.
type server struct{ ns netns.NsHandle }

var hosts = sync.OnceValues(func() (*server, error) {
	s := &server{}
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // it is in the other namespace, and ends with this function
		failed <- s.make()
	}()
	return s, <-failed
})

// newServer makes the two hosts, once for all tests.
func newServer(t *testing.T) *server {
	t.Helper()
	harness.Isolated(t)
	s, err := hosts()
	if err != nil {
		t.Fatalf("making a second host: %v", err)
	}
	return s
}

func (s *server) make() error {
	here, err := netns.Get()
	if err != nil {
		return err
	}
	if s.ns, err = netns.New(); err != nil { // this thread is there now
		return err
	}
	client, err := netlink.NewHandleAt(here)
	if err != nil {
		return err
	}
	there, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lan"}, PeerName: "lan", PeerNamespace: netlink.NsFd(s.ns)}
	if err := client.LinkAdd(veth); err != nil {
		return err
	}
	return errors.Join(up(client, "lan", clientIP+"/24"), up(there, "lan", serverIP+"/24"), up(there, "lo", ""))
}

func up(h *netlink.Handle, name, address string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	if address != "" {
		addr, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		if err := h.AddrAdd(link, addr); err != nil {
			return err
		}
	}
	return h.LinkSetUp(link)
}

// do runs f on a thread of the server's host: what it listens on and what it
// starts is there.
func (s *server) do(t *testing.T, f func() error) {
	t.Helper()
	here, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	runtime.LockOSThread()
	defer func() {
		if err := netns.Set(here); err != nil {
			panic(err) // other tests would run on the wrong host
		}
		runtime.UnlockOSThread()
	}()
	if err := netns.Set(s.ns); err != nil {
		t.Fatal(err)
	}
	if err := f(); err != nil {
		t.Fatal(err)
	}
}

func (s *server) listen(t *testing.T, port string) net.Listener {
	t.Helper()
	var l net.Listener
	s.do(t, func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(serverIP, port))
		return err
	})
	return l
}

// private lays a file system of the test's own over folders of the machine. It
// goes away with the test's mount namespace.
var private = sync.OnceValue(func() error {
	dir, err := os.MkdirTemp("", "private-")
	if err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		return err
	}
	for i, folder := range []string{"/etc", "/usr/local/share"} {
		upper, work := filepath.Join(dir, fmt.Sprint(i)), filepath.Join(dir, fmt.Sprint(i, "-work"))
		if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)); err != nil {
			return err
		}
		if err := unix.Mount("overlay", folder, "overlay", 0, "lowerdir="+folder+",upperdir="+upper+",workdir="+work); err != nil {
			return fmt.Errorf("over %s: %w", folder, err)
		}
	}
	return nil
})

// cleanEtc gives the test an /etc in which no client is told anything, and which
// is nobody else's.
func cleanEtc(t *testing.T) {
	t.Helper()
	harness.Isolated(t)
	if err := private(); err != nil {
		t.Fatalf("an /etc of the test's own: %v", err)
	}
	for _, name := range []string{"docker/certs.d", "docker/daemon.json", "containers/certs.d", "containerd/certs.d", "buildkit", "rancher"} {
		if err := os.RemoveAll(filepath.Join("/etc", name)); err != nil {
			t.Fatal(err)
		}
	}
}
