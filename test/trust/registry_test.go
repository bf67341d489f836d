//go:build linux

package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"regexp"
	"testing"
	"time"

	"slipway/internal/trust"
	"slipway/test/harness"
)

// registry is a slipway on the server's host, on an address of the network, with
// a certificate of the authority that it made when it started.
type registry struct {
	*harness.Server
	on *server
}

// newRegistry starts one with an image, team/app:1.
func newRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{on: newServer(t)}
	const address = serverIP + ":5000"
	r.on.do(t, func() error {
		// The test itself, which is on the clients' host, pushes and looks at the
		// server by plain HTTP. No client here would try that.
		r.Server = harness.Start(t, harness.Options{Addr: address, Args: []string{"--external-url", "https://" + address, "--http", clientIP + "/32", "--anonymous", "push"}})
		return nil
	})
	harness.Push(t, harness.RandomImage(t, 1<<16, 2), address+"/team/app:1")
	return r
}

// announced is what the server printed when it started: the authority's
// fingerprint, and the line to paste.
func (r *registry) announced(t *testing.T) (fingerprint, line string) {
	t.Helper()
	found := regexp.MustCompile(`(?m)^ +slipway trust \S+ --fingerprint (\S+)$`).FindStringSubmatch(r.Log())
	pasted := regexp.MustCompile(`(?m)^ +(sh -c '.*')$`).FindStringSubmatch(r.Log())
	if found == nil || pasted == nil {
		t.Fatalf("the server did not print how to trust it:\n%s", r.Log())
	}
	return found[1], pasted[1]
}

// replace stops the server and runs f while somebody else answers on its
// address, with an authority of his own.
func (r *registry) replace(t *testing.T, fingerprint string, f func()) {
	t.Helper()
	r.Stop()
	authority, cert := certificates(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /trust/ca.crt", func(w http.ResponseWriter, _ *http.Request) {
		_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: authority}) // the client says so
	})
	// He knows the script: it is public.
	mux.HandleFunc("GET /trust/install.sh", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(trust.Script(r.Host(), fingerprint)) // the client says so
	})
	other := &http.Server{
		Handler: mux, ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}},
		ErrorLog: log.New(io.Discard, "", 0), // clients that refuse it are the point
	}
	l := r.on.listen(t, "5000")
	done := make(chan struct{})
	go func() {
		_ = other.ServeTLS(l, "", "") // it ends with Close
		close(done)
	}()
	f()
	_ = other.Close()
	<-done
	r.on.do(t, func() error { r.Restart(); return nil })
}

// certificates makes an authority and a certificate for the server's address.
func certificates(t *testing.T) (authority []byte, cert tls.Certificate) {
	t.Helper()
	sign := func(template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) []byte {
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	keys := [2]*ecdsa.PrivateKey{}
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	ca := &x509.Certificate{Subject: pkix.Name{CommonName: "Somebody's CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	authority = sign(ca, ca, keys[0], keys[0])
	leaf := &x509.Certificate{Subject: pkix.Name{CommonName: "registry"}, IPAddresses: []net.IP{net.ParseIP(serverIP)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	return authority, tls.Certificate{Certificate: [][]byte{sign(leaf, ca, keys[1], keys[0])}, PrivateKey: keys[1]}
}
