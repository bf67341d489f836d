//go:build linux

package daemon_test

import (
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway/internal/buildkit/daemon"
)

func TestExtraCertificates(t *testing.T) {
	cfg := config(t)
	const run = `RUN /bin/busybox env > /env; /bin/busybox cat $SSL_CERT_FILE > /bundle; test "$PIP_CERT" = "$SSL_CERT_FILE"
ENV GIT_SSL_CAINFO=/mine
RUN test "$GIT_SSL_CAINFO" = /mine; test -n "$CURL_CA_BUNDLE"
`
	const plain = "RUN /bin/busybox touch /made\n"

	// First without certificates: nothing is set, and this is what the layer of a
	// step is like that does not look.
	before := func() image {
		d, err := daemon.Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}()
		c := dial(t, d)
		mustBuild(t, c, "RUN test -z \"$SSL_CERT_FILE$CURL_CA_BUNDLE\"; test ! -e /dev/slipway-ca.crt\n", nil)
		return mustBuild(t, c, plain, nil)
	}()

	srv := httptest.NewTLSServer(nil) // for its certificate
	srv.Close()
	own := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	file := filepath.Join(tempDir(t), "own.crt")
	if err := os.WriteFile(file, own, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.CAFiles = []string{file}
	c := dial(t, start(t, cfg))
	mustBuild(t, c, run+fmt.Sprintf("RUN /bin/busybox grep -q %s /bundle\n", strings.Split(string(own), "\n")[3]), nil)

	cached := mustBuild(t, c, plain, nil)
	if cached.cached != 2 || cached.digest != before.digest {
		t.Errorf("with certificates %d of 2 steps came from the cache, digest %s, want %s", cached.cached, cached.digest, before.digest)
	}
	fresh := mustBuild(t, c, plain, map[string]string{"no-cache": ""})
	if fresh.cached != 0 || fresh.digest != before.digest {
		t.Errorf("run again with certificates, %d steps cached: digest %s, want %s; in its last layer: %s", fresh.cached, fresh.digest, before.digest, fresh.top())
	}
	if names := fresh.top(); !strings.Contains(names, "made") || strings.Contains(names, "slipway") {
		t.Errorf("the layer holds %s", names)
	}
}

func TestRunMarker(t *testing.T) {
	d := start(t, config(t))
	c := dial(t, d)
	register := func(token string, r daemon.Run) func() {
		t.Helper()
		release, err := d.Register(token, r)
		if err != nil {
			t.Fatal(err)
		}
		return release
	}
	noProxy := func(value string) map[string]string { return map[string]string{"build-arg:NO_PROXY": value} }

	release := register("a1", daemon.Run{Hosts: []string{"127.0.0.1 db", "127.0.0.1 queue"}})
	const alone = "RUN test -z \"${NO_PROXY-}${no_proxy-}\"; /bin/busybox grep -q '^127.0.0.1 queue$' /etc/hosts; /bin/busybox grep -q localhost /etc/hosts\n"
	mustBuild(t, c, alone, noProxy(daemon.Marker("a1")))
	mustBuild(t, c, "RUN test \"$NO_PROXY$no_proxy\" = .lan,10.0.0.1.lan,10.0.0.1\n", noProxy(".lan,"+daemon.Marker("a1")+",10.0.0.1"))
	mustBuild(t, c, "RUN ! /bin/busybox grep -q queue /etc/hosts\n", nil)

	// Another run: the step is the same to BuildKit.
	other := register("b2", daemon.Run{})
	if img := mustBuild(t, c, alone, noProxy(daemon.Marker("b2"))); img.cached != 2 {
		t.Errorf("under another run's marker %d of 2 steps came from the cache", img.cached)
	}

	for name, markers := range map[string]string{
		"unknown": daemon.Marker("zz"),
		"two":     daemon.Marker("a1") + "," + daemon.Marker("b2"),
		"path":    daemon.Marker("../runs/a1"),
	} {
		img, err := build(deadline(t), t, c, "RUN echo refuse "+name+"\n", noProxy(markers))
		if err == nil {
			t.Errorf("%s: the step ran: %s", name, img.log)
		}
		if want := "the run that this step belongs to has ended"; name == "unknown" && !strings.Contains(fmt.Sprint(err)+img.log, want) {
			t.Errorf("%s: %v does not say that %s", name, err, want)
		}
	}

	// A step may run for two runs under the token of the one that ends first.
	release()
	mustBuild(t, c, "RUN echo still good\n", noProxy(daemon.Marker("a1")))
	other()
	if _, err := build(deadline(t), t, c, "RUN echo ended\n", noProxy(daemon.Marker("a1"))); err == nil {
		t.Error("a step ran for a run that had ended")
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(strings.TrimPrefix(d.Address(), "unix://")), "run", "runs", "*")); len(left) > 0 {
		t.Errorf("left of runs that ended: %v", left)
	}
}
