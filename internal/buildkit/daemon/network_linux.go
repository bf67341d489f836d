package daemon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// network joins the daemon's namespace to this machine.
//
//	subnet   10.77.3.0/24
//	host     10.77.3.1   slw0a1b2c3d, on this machine
//	inside   10.77.3.2   up0, in the daemon's namespace
//	containers           10.77.3.128/25, each with a link of its own to the namespace
type network struct {
	link               string // on this machine
	chain              string // of iptables
	subnet, containers netip.Prefix
	host, inside       netip.Addr
	mtu                int
}

const uplink = "up0" // inside

// insideRules holds in the daemon's namespace: its containers reach what is
// beyond the uplink, and neither each other nor the namespace itself, except for
// the DNS relay.
const insideRules = `*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p udp --dport 53 -j ACCEPT
-A INPUT -p tcp --dport 53 -j ACCEPT
-A INPUT -j REJECT
-A FORWARD -i up0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD ! -i up0 -o up0 -j ACCEPT
-A FORWARD -j REJECT
COMMIT
`

// newNetwork chooses the addresses.
func newNetwork(id string, subnet netip.Prefix) (network, error) {
	n := network{link: "slw" + id, chain: "SLIPWAY-" + id, mtu: 1500}
	taken, err := takenPrefixes(n.link)
	if err != nil {
		return n, fmt.Errorf("network of builds: %w", err)
	}
	if !subnet.IsValid() {
		if subnet, err = freeSubnet(id, taken); err != nil {
			return n, err
		}
	}
	subnet = subnet.Masked()
	for _, other := range taken {
		if other.Overlaps(subnet) {
			return n, fmt.Errorf("network of builds: %s overlaps %s, to which this machine has a route; choose another", subnet, other)
		}
	}
	n.subnet = subnet
	n.host = subnet.Addr().Next()
	n.inside = n.host.Next()
	n.containers = upperHalf(subnet)
	if mtu := outerMTU(); mtu > 0 {
		n.mtu = min(n.mtu, mtu) // larger packets would get lost on the way out
	}
	return n, nil
}

// freeSubnet begins at a place that differs by daemon, so that two that start at
// the same moment do not choose the same.
func freeSubnet(id string, taken []netip.Prefix) (netip.Prefix, error) {
	seed, err := strconv.ParseUint(id, 16, 32)
	if err != nil {
		return netip.Prefix{}, err
	}
	const inTen, inSixteen = 128 * 256, 12 * 256 // 10.128.0.0/9, 172.20.0.0 to 172.31.255.255
	for i := range uint64(inTen + inSixteen) {
		at := i
		base := uint32(172<<24 | 20<<16)
		if i < inTen {
			at, base = (i+seed)%inTen, 10<<24|128<<16
		} else {
			at -= inTen
		}
		var raw [4]byte
		binary.BigEndian.PutUint32(raw[:], base+uint32(at)<<8)
		p := netip.PrefixFrom(netip.AddrFrom4(raw), 24)
		if !slices.ContainsFunc(taken, p.Overlaps) {
			return p, nil
		}
	}
	return netip.Prefix{}, errors.New("network of builds: this machine has routes to all of 10.128.0.0/9 and 172.20.0.0/14; name a free prefix")
}

func upperHalf(p netip.Prefix) netip.Prefix {
	raw := p.Addr().As4()
	bits := p.Bits() + 1
	binary.BigEndian.PutUint32(raw[:], binary.BigEndian.Uint32(raw[:])|1<<(32-bits))
	return netip.PrefixFrom(netip.AddrFrom4(raw), bits)
}

// takenPrefixes are those of this machine's routes, addresses and name servers,
// except of the link named, which is about to be replaced.
func takenPrefixes(except string) ([]netip.Prefix, error) {
	ours := -1
	if link, err := netlink.LinkByName(except); err == nil {
		ours = link.Attrs().Index
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	var taken []netip.Prefix
	add := func(n *net.IPNet) {
		if n == nil {
			return
		}
		addr, ok := netip.AddrFromSlice(n.IP.To4())
		if bits, _ := n.Mask.Size(); ok && bits > 0 {
			taken = append(taken, netip.PrefixFrom(addr, bits).Masked())
		}
	}
	for _, r := range routes {
		if r.LinkIndex != ours {
			add(r.Dst)
		}
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	for _, a := range addrs {
		if a.LinkIndex != ours {
			add(a.IPNet)
		}
	}
	for _, server := range nameservers() {
		if server.Is4() {
			taken = append(taken, netip.PrefixFrom(server, 32))
		}
	}
	return taken, nil
}

// outerMTU is that of the link with the default route, 0 if there is none.
func outerMTU() int {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 0
	}
	for _, r := range routes {
		if r.Gw != nil && (r.Dst == nil || r.Dst.IP.IsUnspecified()) {
			if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
				return link.Attrs().MTU
			}
		}
	}
	return 0
}

// attach joins the namespace of a process and sets this machine's rules.
func (n network) attach(pid int, proxy ProxyEnv) error {
	if err := n.wire(pid); err != nil {
		return fmt.Errorf("network of builds: %w", err)
	}
	// Docker and libvirt do the same.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		if v, _ := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); strings.TrimSpace(string(v)) != "1" {
			return fmt.Errorf("network of builds: this machine does not forward packets: %w", err)
		}
	}
	return n.rules(proxy)
}

// wire makes the pair of interfaces and their addresses.
func (n network) wire(pid int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = n.link, n.mtu
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: uplink, PeerMTU: uint32(n.mtu), PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("adding interface %s: %w", n.link, err)
	}
	// Builds have IPv4 only: what is not there needs no rules.
	off := filepath.Join("/proc/sys/net/ipv6/conf", n.link, "disable_ipv6")
	if err := os.WriteFile(off, []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	host, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer host.Close()
	if err := up(host, n.link, netip.PrefixFrom(n.host, 30)); err != nil {
		return err
	}
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("opening the namespace: %w", err)
	}
	defer func() { _ = ns.Close() }()
	inside, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("entering the namespace: %w", err)
	}
	defer inside.Close()
	if err := up(inside, "lo", netip.Prefix{}); err != nil {
		return err
	}
	if err := up(inside, uplink, netip.PrefixFrom(n.inside, 30)); err != nil {
		return err
	}
	if err := inside.RouteAdd(&netlink.Route{Gw: n.host.AsSlice()}); err != nil {
		return fmt.Errorf("adding the default route: %w", err)
	}
	err = host.RouteAdd(&netlink.Route{Dst: ipNet(n.containers), Gw: n.inside.AsSlice()})
	if err != nil {
		return fmt.Errorf("adding the route to %s: %w", n.containers, err)
	}
	return nil
}

func up(h *netlink.Handle, name string, addr netip.Prefix) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	if addr.IsValid() {
		if err := h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(addr)}); err != nil {
			return fmt.Errorf("giving %s the address %s: %w", name, addr, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("starting interface %s: %w", name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

// rules lets builds out through this machine, and not into it. They hold for the
// interface, which a build cannot forge, not for an address. 169.254.0.0/16 is
// where clouds hand a machine its credentials.
func (n network) rules(proxy ProxyEnv) error {
	var b strings.Builder
	b.WriteString("*filter\n")
	fmt.Fprintf(&b, ":%s - [0:0]\n:%s-IN - [0:0]\n", n.chain, n.chain)
	for _, allow := range localProxies(proxy) {
		fmt.Fprintf(&b, "-A %s-IN -p tcp -d %s --dport %d -j ACCEPT\n", n.chain, allow.Addr(), allow.Port())
	}
	fmt.Fprintf(&b, "-A %s-IN -j REJECT\n", n.chain)
	fmt.Fprintf(&b, "-A %s -i %s -d 169.254.0.0/16 -j REJECT\n", n.chain, n.link)
	fmt.Fprintf(&b, "-A %s -i %s -j ACCEPT\n", n.chain, n.link)
	fmt.Fprintf(&b, "-A %s -o %s -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n", n.chain, n.link)
	fmt.Fprintf(&b, "-A %s -o %s -j REJECT\n", n.chain, n.link)
	fmt.Fprintf(&b, "-I INPUT 1 -i %s -j %s-IN\n", n.link, n.chain)
	fmt.Fprintf(&b, "-I FORWARD 1 -j %s\n", n.chain)
	b.WriteString("COMMIT\n*nat\n")
	fmt.Fprintf(&b, ":%s - [0:0]\n", n.chain)
	fmt.Fprintf(&b, "-A %s -s %s ! -o %s -j MASQUERADE\n", n.chain, n.subnet, n.link)
	fmt.Fprintf(&b, "-I POSTROUTING 1 -j %s\n", n.chain)
	b.WriteString("COMMIT\n")

	cmd := exec.Command(program("iptables-restore"), "--noflush", "--wait", "10")
	cmd.Stdin = strings.NewReader(b.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("network of builds: %s: %w: %s", cmd, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// localProxies are the proxies that run on this machine, the only thing on it
// that builds may reach.
func localProxies(p ProxyEnv) []netip.AddrPort {
	var local []netip.AddrPort
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, raw := range []string{p.HTTP, p.HTTPS, p.FTP, p.All} {
		u, err := url.Parse(raw)
		if err != nil || u.Hostname() == "" {
			continue
		}
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil {
			continue
		}
		ips, err := net.LookupIP(u.Hostname())
		if err != nil {
			continue
		}
		for _, ip := range ips {
			mine := slices.ContainsFunc(addrs, func(a net.Addr) bool {
				n, ok := a.(*net.IPNet)
				return ok && n.IP.Equal(ip)
			})
			if addr, ok := netip.AddrFromSlice(ip.To4()); ok && mine && !ip.IsLoopback() {
				local = append(local, netip.AddrPortFrom(addr, uint16(port)))
			}
		}
	}
	slices.SortFunc(local, netip.AddrPort.Compare)
	return slices.Compact(local)
}

// remove takes the rules and the interface away. It is not an error if there are
// none: a killed daemon leaves only rules, a machine that restarted nothing.
func (n network) remove() error {
	iptables := program("iptables")
	save, err := exec.Command(program("iptables-save")).Output()
	if err != nil {
		return fmt.Errorf("listing the rules of the network of builds: %w", err)
	}
	table := ""
	var chains [][]string
	for line := range strings.Lines(string(save)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "*"); ok {
			table = name
			continue
		}
		fields := strings.Fields(line)
		switch {
		case len(fields) > 3 && fields[0] == "-A" && slices.ContainsFunc(fields[3:], n.owns) && !n.owns(fields[1]):
			err = errors.Join(err, run(iptables, append([]string{"-w", "10", "-t", table, "-D"}, fields[1:]...)...))
		case len(fields) > 1 && n.owns(strings.TrimPrefix(fields[0], ":")):
			chains = append(chains, []string{table, strings.TrimPrefix(fields[0], ":")})
		}
	}
	for _, c := range chains {
		err = errors.Join(err, run(iptables, "-w", "10", "-t", c[0], "-F", c[1]))
	}
	for _, c := range chains {
		err = errors.Join(err, run(iptables, "-w", "10", "-t", c[0], "-X", c[1]))
	}
	link, found := netlink.LinkByName(n.link)
	if found == nil {
		var gone netlink.LinkNotFoundError
		if e := netlink.LinkDel(link); e != nil && !errors.As(e, &gone) {
			err = errors.Join(err, fmt.Errorf("removing interface %s: %w", n.link, e))
		}
	}
	return err
}

// owns tells whether a chain is this network's.
func (n network) owns(chain string) bool { return chain == n.chain || chain == n.chain+"-IN" }

func run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, strings.TrimSpace(string(out)))
	}
	return nil
}
