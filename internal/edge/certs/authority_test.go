package certs

import (
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// lab is a folder with an authority that can be opened again and again.
type lab struct {
	*clock
	*machine
	log    *logBuffer
	config AuthorityConfig
}

func newLab(t *testing.T) *lab {
	l := &lab{&clock{}, &machine{}, &logBuffer{}, AuthorityConfig{Folder: filepath.Join(t.TempDir(), "tls")}}
	l.set("Build1", "build1.corp.test", "127.0.0.1", "::1", "192.168.1.7", "fd00::7", "fe80::1%eth0")
	l.config.Log, l.config.Machine, l.config.Now, l.config.Every = l.log.logger(), l.look, l.now, time.Millisecond
	return l
}

func (l *lab) open(t *testing.T, names ...string) *Authority {
	t.Helper()
	l.config.Names = names
	a, err := OpenAuthority(l.config)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// verify checks what a client checks.
func verify(t *testing.T, a *Authority, now time.Time, names ...string) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.CA())
	leaf := a.current.Load().Leaf
	for _, name := range names {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFirstStart(t *testing.T) {
	l := newLab(t)
	a := l.open(t, "Registry.Example.com", "*.lan", "203.0.113.5")
	verify(t, a, l.now(), "registry.example.com", "any.lan", "203.0.113.5", "build1", "build1.corp.test", "localhost", "127.0.0.1", "::1", "192.168.1.7", "fd00::7")
	want := []string{"registry.example.com", "*.lan", "build1", "build1.corp.test", "localhost", "203.0.113.5", "127.0.0.1", "::1", "192.168.1.7", "fd00::7"}
	if got := a.Names(); !slices.Equal(got, want) {
		t.Errorf("names\n%q, want\n%q", got, want)
	}
	ca, leaf := a.CA(), a.current.Load().Leaf
	if ca.Subject.CommonName != "Slipway CA of Build1" || !ca.MaxPathLenZero || !slices.Equal(ca.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) {
		t.Errorf("CA %v, path length %d, usage %v", ca.Subject, ca.MaxPathLen, ca.ExtKeyUsage)
	}
	if life := ca.NotAfter.Sub(ca.NotBefore); life != 10*365*day {
		t.Errorf("the CA lives for %v", life)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 397*day || life < 396*day {
		t.Errorf("the certificate lives for %v", life)
	}
	for name, mode := range map[string]fs.FileMode{"": 0o700, caFile: 0o644, caKeyFile: 0o600, serverFile: 0o600} {
		info, err := os.Stat(filepath.Join(l.config.Folder, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q: %v, %v; want mode %v", name, info.Mode(), err, mode)
		}
	}
	if entries, _ := os.ReadDir(l.config.Folder); len(entries) != 3 {
		t.Errorf("files: %v", entries)
	}
	if s := l.log.String(); !strings.Contains(s, Fingerprint(ca)) || strings.Contains(s, "PRIVATE") {
		t.Errorf("log:\n%s", s)
	}
}

// What a start finds decides what is made.
func TestLaterStart(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(*lab)
		names    []string
		same     bool // the server certificate is the one before
		err      string
		has      []string
		lacks    []string
		newFirst bool // also the CA is another one
	}{
		"nothing changed":              {func(*lab) {}, []string{"reg.test"}, true, "", nil, nil, false},
		"the names have another order": {func(l *lab) { l.set("Build1", "build1.corp.test", "fd00::7", "192.168.1.7") }, []string{"reg.test"}, true, "", nil, nil, false},
		"a name more":                  {func(*lab) {}, []string{"reg.test", "reg2.test"}, false, "", []string{"reg.test", "reg2.test"}, nil, false},
		"a name less":                  {func(*lab) {}, nil, false, "", nil, []string{"reg.test"}, false},
		"an address more":              {func(l *lab) { l.set("Build1", "build1.corp.test", "192.168.1.8") }, []string{"reg.test"}, false, "", []string{"192.168.1.8"}, []string{"192.168.1.7"}, false},
		"an address less":              {func(l *lab) { l.set("Build1", "build1.corp.test") }, []string{"reg.test"}, true, "", nil, nil, false},
		"another host name":            {func(l *lab) { l.set("build2", "") }, []string{"reg.test"}, false, "", []string{"build2"}, []string{"build1", "build1.corp.test"}, false},
		"no name server":               {func(l *lab) { l.set("Build1", "") }, []string{"reg.test"}, true, "", []string{"build1.corp.test"}, nil, false},
		"no name server, and a name more": {func(l *lab) { l.set("Build1", "") }, []string{"reg2.test"}, false, "",
			[]string{"build1.corp.test", "reg2.test"}, nil, false},
		"two thirds of its life":      {func(l *lab) { l.advance(264 * day) }, []string{"reg.test"}, true, "", nil, nil, false},
		"more than two thirds":        {func(l *lab) { l.advance(266 * day) }, []string{"reg.test"}, false, "", nil, nil, false},
		"a clock that was ahead":      {func(l *lab) { l.advance(-20 * day) }, []string{"reg.test"}, false, "", nil, nil, false},
		"no server certificate":       {func(l *lab) { l.remove(serverFile) }, []string{"reg.test"}, false, "", nil, nil, false},
		"a torn server certificate":   {func(l *lab) { l.cut(serverFile) }, []string{"reg.test"}, false, "", nil, nil, false},
		"the CA's key alone":          {func(l *lab) { l.remove(caFile); l.remove(serverFile) }, []string{"reg.test"}, false, "", nil, nil, true},
		"another CA":                  {func(l *lab) { l.remove(caFile); l.remove(caKeyFile) }, []string{"reg.test"}, false, "", nil, nil, true},
		"a CA without its key":        {func(l *lab) { l.remove(caKeyFile) }, nil, false, "the CA cannot be used", nil, nil, false},
		"a torn CA":                   {func(l *lab) { l.cut(caFile) }, nil, false, "the CA cannot be used", nil, nil, false},
		"a torn key":                  {func(l *lab) { l.cut(caKeyFile) }, nil, false, "the CA cannot be used", nil, nil, false},
		"a CA that is none":           {func(l *lab) { l.copy(serverFile, caFile); l.copy(serverFile, caKeyFile) }, nil, false, "is not the certificate of a CA", nil, nil, false},
		"an end of the CA":            {func(l *lab) { l.advance(11 * 365 * day) }, nil, false, "the CA ended on", nil, nil, false},
		"a name that cannot be one":   {func(*lab) {}, []string{"http://reg.test"}, false, "without scheme", nil, nil, false},
		"a certificate of another CA": {func(l *lab) { l.foreign() }, []string{"reg.test"}, false, "", nil, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			first := l.open(t, "reg.test")
			c.change(l)
			l.config.Names = c.names
			second, err := OpenAuthority(l.config)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if same := first.CA().Equal(second.CA()); same == c.newFirst {
				t.Errorf("the CA is the same: %v", same)
			}
			if same := first.current.Load().Leaf.Equal(second.current.Load().Leaf); same != c.same {
				t.Errorf("the certificate is the same: %v; names %q", same, second.Names())
			}
			verify(t, second, l.now(), append(c.has, "localhost", "127.0.0.1")...)
			for _, name := range c.lacks {
				if slices.Contains(second.Names(), name) {
					t.Errorf("the certificate still has %s", name)
				}
			}
			// And what was made is found by the next one.
			if third := l.open(t, c.names...); !third.current.Load().Leaf.Equal(second.current.Load().Leaf) {
				t.Error("the certificate was not kept")
			}
		})
	}
}

func (l *lab) path(name string) string { return filepath.Join(l.config.Folder, name) }
func (l *lab) remove(name string)      { must(os.Remove(l.path(name))) }
func (l *lab) cut(name string)         { must(os.Truncate(l.path(name), 100)) }
func (l *lab) copy(from, to string) {
	b, err := os.ReadFile(l.path(from))
	must(err)
	must(os.WriteFile(l.path(to), b, 0o600))
}

// foreign puts a certificate there that another CA of the same name signed.
func (l *lab) foreign() {
	ca, err := makeCA("Build1", nil, l.now())
	must(err)
	m, _ := l.look()
	dns, ips := m.names([]string{"reg.test"}, nil)
	p, err := issue(ca, "Build1", dns, ips, l.now())
	must(err)
	must(os.WriteFile(l.path(serverFile), p.pem(), 0o600))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// While it runs, time passes and addresses come and go.
func TestRunRenews(t *testing.T) {
	l := newLab(t)
	a := l.open(t)
	run(t, a)
	last := a.current.Load().Leaf
	renewed := func(what string) {
		t.Helper()
		eventually(t, what, func() bool { return !a.current.Load().Leaf.Equal(last) })
		last = a.current.Load().Leaf
	}
	l.advance(266 * day)
	renewed("a certificate after two thirds of its life")
	verify(t, a, l.now(), "build1", "192.168.1.7")
	l.set("Build1", "build1.corp.test", "192.168.1.7", "10.9.9.9")
	renewed("a certificate for another address")
	verify(t, a, l.now(), "192.168.1.7", "10.9.9.9")
	l.set("build2", "")
	renewed("a certificate for another name")
	verify(t, a, l.now(), "build2")

	// Until the CA's end comes near, of which it warns once a day.
	l.advance(caLife - caBackdate - 266*day - 100*day)
	renewed("the last certificate")
	if !last.NotAfter.Equal(a.CA().NotAfter) {
		t.Errorf("it ends on %v, the CA on %v", last.NotAfter, a.CA().NotAfter)
	}
	warnings := func() int { return strings.Count(l.log.String(), "the CA ends") }
	eventually(t, "a warning", func() bool { return warnings() == 1 })
	l.advance(day + time.Hour)
	eventually(t, "another warning", func() bool { return warnings() == 2 })
	verify(t, a, l.now(), "build2")
}

// localConn is a connection to a local address.
type localConn struct {
	net.Conn
	to string
}

func (c localConn) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.to))
}

// A client that comes to an address that is new is not sent away first.
func TestConnectionToNewAddress(t *testing.T) {
	for name, c := range map[string]struct {
		to, sni string
		comes   []string // addresses that the machine has got
		want    bool     // of the certificate, to have the address
	}{
		"an address that is there":      {"192.168.1.7:5000", "", nil, true},
		"a new one":                     {"10.9.9.9:5000", "", []string{"10.9.9.9"}, true},
		"a new one, IPv4 in IPv6":       {"[::ffff:10.9.9.9]:5000", "", []string{"10.9.9.9"}, true},
		"one that is not the machine's": {"10.9.9.9:5000", "", nil, false},
		"a client that comes by name":   {"10.9.9.9:5000", "reg.test", []string{"10.9.9.9"}, false},
	} {
		l := newLab(t)
		a := l.open(t)
		l.set("Build1", "build1.corp.test", append(c.comes, "192.168.1.7")...)
		l.advance(2 * lookAgain)
		cert, err := a.Certificate(&tls.ClientHelloInfo{ServerName: c.sni, Conn: localConn{to: c.to}})
		if err != nil {
			t.Fatal(err)
		}
		if got := has(cert.Leaf, netip.MustParseAddrPort(c.to).Addr()); got != c.want {
			t.Errorf("%s: the certificate has the address: %v", name, got)
		}
		if slices.Contains(cert.Leaf.DNSNames, "reg.test") {
			t.Errorf("%s: a client added a name", name)
		}
	}

	// Looking is not done for each connection.
	l := newLab(t)
	a := l.open(t)
	looks := 0
	a.config.Machine = func() (Machine, error) { looks++; return l.look() }
	l.advance(2 * lookAgain)
	for range 1000 {
		_, _ = a.Certificate(&tls.ClientHelloInfo{Conn: localConn{to: "10.9.9.9:5000"}})
	}
	if looks > 10 {
		t.Errorf("looked %d times at the machine", looks)
	}
}

// A machine with thousands of addresses still has a certificate that fits into
// a handshake, and addresses that clients came to are in it.
func TestManyAddresses(t *testing.T) {
	l := newLab(t)
	var many []string
	for i := range 3000 {
		many = append(many, netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}).String())
	}
	l.set("node", "", many...)
	a := l.open(t, "203.0.113.5")
	l.advance(2 * lookAgain)
	cert, _ := a.Certificate(&tls.ClientHelloInfo{Conn: localConn{to: many[2999] + ":443"}})
	for _, addr := range []string{"203.0.113.5", "127.0.0.1", many[0], many[2999]} {
		if !has(cert.Leaf, netip.MustParseAddr(addr)) {
			t.Errorf("the certificate lacks %s", addr)
		}
	}
	if n := len(cert.Leaf.IPAddresses); n != mostAddresses || len(cert.Leaf.Raw) > 8<<10 {
		t.Errorf("%d addresses, %d bytes", n, len(cert.Leaf.Raw))
	}
}

// A limited CA signs nothing else, and what it signed holds.
func TestLimitedCA(t *testing.T) {
	l := newLab(t)
	l.config.Domains = []string{"corp.test", "build1"}
	l.set("build1", "build1.corp.test", "192.168.1.7", "203.0.113.5")
	a := l.open(t, "reg.corp.test", "reg.example.com", "198.51.100.1")
	verify(t, a, l.now(), "reg.corp.test", "build1", "build1.corp.test", "localhost", "127.0.0.1", "::1", "192.168.1.7")
	for _, name := range []string{"reg.example.com", "198.51.100.1", "203.0.113.5"} {
		if slices.Contains(a.Names(), name) {
			t.Errorf("the certificate has %s", name)
		}
	}
	if s := l.log.String(); !strings.Contains(s, "[reg.example.com 198.51.100.1]") {
		t.Errorf("log:\n%s", s)
	}
	forged, err := issue(a.ca, "x", []string{"bank.example.com"}, nil, l.now())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.CA())
	if _, err := forged.cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: "bank.example.com"}); err == nil {
		t.Error("a stolen key makes certificates for any name")
	}
}

// A certificate that cannot be kept is used all the same.
func TestFolderThatCannotBeWritten(t *testing.T) {
	l := newLab(t)
	a := l.open(t)
	must(os.RemoveAll(l.config.Folder))
	l.set("build2", "")
	m, _ := l.look()
	if err := a.look(m); err != nil {
		t.Fatal(err)
	}
	verify(t, a, l.now(), "build2")
	if !strings.Contains(l.log.String(), "not kept") {
		t.Errorf("log:\n%s", l.log.String())
	}
}

// Boards without a battery begin in 1970.
func TestClockThatWasNotSet(t *testing.T) {
	l := newLab(t)
	l.config.Now = func() time.Time { return time.Unix(1000, 0) }
	if _, err := OpenAuthority(l.config); err == nil || !strings.Contains(err.Error(), "clock says 1970") {
		t.Errorf("error %v", err)
	}
}

func TestThisMachine(t *testing.T) {
	m, err := ThisMachine()()
	if err != nil || m.Hostname == "" || !slices.Contains(m.Addresses, netip.MustParseAddr("127.0.0.1")) {
		t.Errorf("%+v, %v", m, err)
	}
}

// Half a key that a crash left behind does not stay for ever.
func TestLeftovers(t *testing.T) {
	l := newLab(t)
	l.open(t)
	must(os.WriteFile(l.path("."+caKeyFile+".1234"), []byte("half a key"), 0o600))
	l.open(t)
	if entries, err := os.ReadDir(l.config.Folder); err != nil || len(entries) != 3 {
		t.Errorf("files: %v, %v", entries, err)
	}
}

func TestReadableKeyIsWarnedOf(t *testing.T) {
	l := newLab(t)
	l.open(t)
	if strings.Contains(l.log.String(), "chmod") {
		t.Error("a key that is not readable was warned of")
	}
	must(os.Chmod(l.path(caKeyFile), 0o644))
	l.open(t)
	if !strings.Contains(l.log.String(), "chmod 600") {
		t.Errorf("log:\n%s", l.log.String())
	}
}
