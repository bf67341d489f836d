package workload_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"slipway/internal/auth/workload"
	"slipway/internal/oci"
)

// TestASlowIssuerBlocksNobodyElse: jobs of another system do not wait for it.
func TestASlowIssuerBlocksNobodyElse(t *testing.T) {
	slow, quick := newSystem(t), newSystem(t)
	release, asked := make(chan struct{}), make(chan struct{}, 10)
	slow.answer = func(http.ResponseWriter, *http.Request) bool {
		asked <- struct{}{}
		<-release
		return false
	}
	both := quick.Client().Transport.(*http.Transport).Clone()
	both.TLSClientConfig.RootCAs.AddCert(slow.Certificate())
	w, err := workload.New(workload.Config{
		Issuers:   []workload.Issuer{{Name: "slow", URL: slow.URL, Audience: "https://registry.test"}, {Name: "quick", URL: quick.URL, Audience: "https://registry.test"}},
		Transport: both, Now: func() time.Time { return slow.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	raw := slow.sign(t, jwt.SigningMethodRS256, "one", slow.keys["one"], slow.claims())
	waited := make(chan error, 1)
	go func() {
		_, err := w.Verify(ctx, raw)
		waited <- err
	}()
	<-asked
	if _, err := w.Verify(ctx, quick.sign(t, jwt.SigningMethodRS256, "one", quick.keys["one"], quick.claims())); err != nil {
		t.Errorf("the other issuer: %v", err)
	}
	select {
	case err := <-waited:
		t.Errorf("the slow issuer has answered: %v", err)
	default:
	}
	close(release)
	if err := <-waited; err != nil {
		t.Errorf("the slow issuer, once it answers: %v", err)
	}
}

// TestADeadIssuer: jobs whose key is known get in while it is gone, and others
// do not.
func TestADeadIssuer(t *testing.T) {
	s := newSystem(t)
	w := s.workloads(t)
	token := func() string { return s.sign(t, jwt.SigningMethodRS256, "one", s.keys["one"], s.claims()) }
	if _, err := w.Verify(ctx, token()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.now = s.now.Add(time.Hour)
	if _, err := w.Verify(ctx, token()); err != nil {
		t.Errorf("a key that is known: %v", err)
	}
	s.addKey(t, "two")
	if i, err := w.Verify(ctx, s.sign(t, jwt.SigningMethodRS256, "two", s.keys["two"], s.claims())); !oci.HasCode(err, oci.CodeUnauthorized) && !oci.HasCode(err, oci.CodeUnavailable) {
		t.Errorf("a key that is not known: %+v, %v", i, err)
	}
	if i, err := s.workloads(t).Verify(ctx, token()); !oci.HasCode(err, oci.CodeUnavailable) {
		t.Errorf("a server that was started meanwhile: %+v, %v", i, err)
	}
}
