package acme

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"slipway/test/harness"
)

// pebble is Let's Encrypt's ACME server for tests.
type pebble struct {
	directory  string
	roots      *x509.CertPool // that verify pebble itself
	management string
}

// startPebble runs one that looks for names at a name server and connects to
// the ports on this machine.
func startPebble(t *testing.T, nameserver, port string, life time.Duration) *pebble {
	t.Helper()
	program := harness.Tool(t, "pebble")
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pebble"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	certPath, keyPath := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	check(t, os.WriteFile(certPath, certPEM, 0o600))
	check(t, os.WriteFile(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)

	api, management := freePort(t), freePort(t)
	config := map[string]any{"pebble": map[string]any{
		"listenAddress": api, "managementListenAddress": management, "certificate": certPath, "privateKey": keyPath,
		"httpPort": json.Number(port), "tlsPort": json.Number(port), "keyAlgorithm": "ecdsa",
		"profiles":   map[string]any{"default": map[string]any{"description": "for tests", "validityPeriod": int(life.Seconds())}},
		"retryAfter": map[string]any{"authz": 1, "order": 1},
	}}
	b, err := json.Marshal(config)
	check(t, err)
	configPath := filepath.Join(dir, "config.json")
	check(t, os.WriteFile(configPath, b, 0o600))

	var out lockedBuffer
	cmd := exec.Command(program, "-config", configPath, "-dnsserver", nameserver)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=5")
	cmd.Stdout, cmd.Stderr = &out, &out
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("pebble:\n%s", out.String())
		}
	})
	p := &pebble{"https://" + api + "/dir", roots, "https://" + management}
	eventually(t, "pebble", func() bool { _, err := p.get(p.directory); return err == nil })
	return p
}

func (p *pebble) get(url string) ([]byte, error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.roots}, DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// issued are the roots of the certificates that pebble gives.
func (p *pebble) issued(t *testing.T) *x509.CertPool {
	t.Helper()
	b, err := p.get(p.management + "/roots/0")
	check(t, err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		t.Fatalf("no root: %s", b)
	}
	return pool
}

// nameserver knows every name below test. as this machine, and takes updates.
type nameserver struct {
	addr string

	mu      sync.Mutex
	texts   map[string][]string // by name
	updates int
	refused int
}

const (
	tsigName = "slipway."
	tsigKey  = "c2xpcHdheS10ZXN0LWtleQ=="
)

func startNameserver(t *testing.T) *nameserver {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	check(t, err)
	tcp, err := net.Listen("tcp", udp.LocalAddr().String())
	check(t, err)
	n := &nameserver{addr: udp.LocalAddr().String(), texts: map[string][]string{}}
	accept := func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept } // updates, too
	for _, s := range []*dns.Server{{PacketConn: udp}, {Listener: tcp}} {
		s.Handler, s.TsigSecret, s.MsgAcceptFunc = n, map[string]string{tsigName: tsigKey}, accept
		go func() { _ = s.ActivateAndServe() }()
		t.Cleanup(func() { _ = s.ShutdownContext(context.Background()) })
	}
	return n
}

// ServeDNS implements dns.Handler.
func (n *nameserver) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(r)
	m.Authoritative = true
	if r.Opcode == dns.OpcodeUpdate {
		if r.IsTsig() == nil || w.TsigStatus() != nil {
			n.refused++
			m.Rcode = dns.RcodeRefused
		} else {
			n.updates++
			n.update(r.Ns)
			m.SetTsig(tsigName, dns.HmacSHA256, 300, time.Now().Unix())
		}
		_ = w.WriteMsg(m)
		return
	}
	q := r.Question[0]
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 1}
	zone := dns.RR_Header{Name: "test.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 1}
	soa := &dns.SOA{Hdr: zone, Ns: "ns.test.", Mbox: "x.test.", Serial: 1, Refresh: 1, Retry: 1, Expire: 1, Minttl: 1}
	switch {
	case q.Qtype == dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)})
	case q.Qtype == dns.TypeTXT && len(n.texts[q.Name]) > 0:
		for _, text := range n.texts[q.Name] {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: header, Txt: []string{text}})
		}
	case q.Qtype == dns.TypeSOA && q.Name == "test.":
		m.Answer = append(m.Answer, soa)
	case q.Qtype == dns.TypeNS && q.Name == "test.":
		m.Answer = append(m.Answer, &dns.NS{Hdr: header, Ns: "ns.test."})
	default:
		m.Ns = append(m.Ns, soa)
	}
	_ = w.WriteMsg(m)
}

func (n *nameserver) update(records []dns.RR) {
	for _, rr := range records {
		name := rr.Header().Name
		txt, ok := rr.(*dns.TXT)
		switch {
		case rr.Header().Class == dns.ClassINET && ok:
			n.texts[name] = append(n.texts[name], txt.Txt...)
		case rr.Header().Class == dns.ClassNONE || rr.Header().Class == dns.ClassANY:
			delete(n.texts, name)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().String()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(fmt.Sprint("waited in vain for ", what))
		}
	}
}
