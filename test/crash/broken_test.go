//go:build linux

package crash

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"slipway/test/check"
	"slipway/test/harness"
)

// everything is one request of each kind, on an image whose manifest, blobs
// and repository are given, with the statuses that are right on a sound disk.
func everything(repository, digest string, layer []byte) []request {
	base := "/v2/" + repository
	return []request{
		{method: http.MethodGet, path: base + "/manifests/1"},
		{method: http.MethodHead, path: base + "/manifests/1"},
		{method: http.MethodGet, path: base + "/blobs/" + digestOf(layer)},
		{method: http.MethodHead, path: base + "/blobs/" + digestOf(layer)},
		{method: http.MethodGet, path: base + "/tags/list"},
		{method: http.MethodGet, path: base + "/referrers/" + digest},
		{method: http.MethodGet, path: "/v2/_catalog"},
		{method: http.MethodGet, path: "/v2/"},
	}
}

// writes are requests that need a disk that can be written.
func writes(repository, digest string, layer []byte) []request {
	base := "/v2/" + repository
	return []request{
		{method: http.MethodPost, path: base + "/blobs/uploads/?digest=" + digestOf([]byte("small")), body: []byte("small")},
		{method: http.MethodPost, path: base + "/blobs/uploads/?digest=" + digestOf(append(layer, 'x')), body: append(layer, 'x')},
		{method: http.MethodPost, path: "/v2/other/blobs/uploads/?mount=" + digestOf(layer) + "&from=" + repository},
		{method: http.MethodPut, path: base + "/manifests/other", header: map[string]string{"Content-Type": imageType}},
		{method: http.MethodDelete, path: base + "/manifests/1"},
		{method: http.MethodDelete, path: base + "/manifests/" + digest},
		{method: http.MethodDelete, path: "/api/v1/repositories/" + strings.ReplaceAll(repository, "/", "%2F")},
		// There is something to free: see image.
		{method: http.MethodPost, path: "/api/v1/gc", header: map[string]string{"Content-Type": "application/json"}, body: []byte(`{"grace_seconds": 0}`)},
	}
}

// image pushes an image for everything and writes, and a blob that nothing needs.
func (w *worker) image(repository string) (digest string, layer, manifest []byte) {
	w.t.Helper()
	stray := []byte("nothing needs this")
	w.must(request{method: http.MethodPost, path: "/v2/" + repository + "/blobs/uploads/?digest=" + digestOf(stray), body: stray}, http.StatusCreated)
	digest, a := w.pushOne(repository, 300<<10, 0)
	if digest == "" {
		w.t.Fatal(a)
	}
	manifest = w.must(request{method: http.MethodGet, path: "/v2/" + repository + "/manifests/1"}, http.StatusOK).body
	_, rest, _ := strings.Cut(string(manifest), `"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"`)
	layer = w.must(request{method: http.MethodGet, path: "/v2/" + repository + "/blobs/" + rest[:71]}, http.StatusOK).body
	return digest, layer, manifest
}

// refuses fails the test unless every write is refused with 503 and a clear
// error.
func (w *worker) refuses(repository, digest string, layer, manifest []byte) {
	w.t.Helper()
	for _, r := range writes(repository, digest, layer) {
		if strings.HasSuffix(r.path, "/manifests/other") {
			r.body = manifest
		}
		a, err := w.client.do(r)
		if err != nil {
			w.t.Fatal(err)
		}
		if a.status != http.StatusServiceUnavailable {
			w.t.Errorf("%s; want 503", a)
			continue
		}
		wantClear(w.t, a)
	}
}

// TestReadOnly has the kernel remount the disk read-only under the server, as
// it does when it finds damage. Pulls go on. ext4 then needs a new mount, and
// the server, whose files belong to the old one, a restart.
func TestReadOnly(t *testing.T) {
	d := newDisk(t, smallDisk)
	srv := harness.Start(t, harness.Options{Data: d.data(), Args: []string{"--gc.interval", "0"}})
	w := &worker{t: t, rand: newRand(seed(t), 1), client: newClient(srv.URL()), ledger: newLedger()}
	defer w.client.close()
	digest, layer, manifest := w.image("ro/app")
	d.readOnly()
	w.refuses("ro/app", digest, layer, manifest)
	for _, r := range everything("ro/app", digest, layer) {
		a := w.must(r, http.StatusOK)
		if r.method == http.MethodGet && strings.Contains(r.path, "/blobs/") && digestOf(a.body) != digestOf(layer) {
			t.Errorf("%s has other bytes", a.request)
		}
	}
	w.must(request{method: http.MethodGet, path: "/healthz"}, http.StatusOK)
	srv.Kill()
	d.remount()
	check.Folder(t, srv.Data(), check.Options{})
	srv.Restart()
	w.refusedNothing("ro/app", digest, layer, manifest)
}

// refusedNothing fails the test unless the image is as it was and can be
// deleted.
func (w *worker) refusedNothing(repository, digest string, layer, manifest []byte) {
	w.t.Helper()
	for _, r := range everything(repository, digest, layer) {
		w.must(r, http.StatusOK)
	}
	w.must(request{method: http.MethodPut, path: "/v2/" + repository + "/manifests/other", header: map[string]string{"Content-Type": imageType}, body: manifest}, http.StatusCreated)
	w.must(request{method: http.MethodDelete, path: "/v2/" + repository + "/manifests/" + digest}, http.StatusAccepted)
}

// TestIOErrors takes the disk away from under the server: every access fails.
// It cannot serve, but it must say why, and serve nothing wrong.
func TestIOErrors(t *testing.T) {
	d := newDisk(t, smallDisk)
	srv := harness.Start(t, harness.Options{Data: d.data(), Args: []string{"--gc.interval", "0"}})
	w := &worker{t: t, rand: newRand(seed(t), 1), client: newClient(srv.URL()), ledger: newLedger(), mayFail: true}
	defer w.client.close()
	digest, layer, manifest := w.image("io/app")
	d.cut()
	w.refuses("io/app", digest, layer, manifest)
	for _, r := range everything("io/app", digest, layer) {
		a, err := w.client.do(r)
		if err != nil {
			t.Fatal(err)
		}
		if w.expect(a, http.StatusOK) && r.method == http.MethodGet && strings.Contains(r.path, "/blobs/") && digestOf(a.body) != digestOf(layer) {
			t.Errorf("%s has other bytes", a.request)
		}
	}
	w.must(request{method: http.MethodGet, path: "/readyz"}, http.StatusServiceUnavailable)
	srv.Kill()
	d.remount()
	check.Folder(t, srv.Data(), check.Options{})
	srv.Restart()
	w.refusedNothing("io/app", digest, layer, manifest)
}

// TestWriteErrors lets writes to the device fail while the server works, as
// those of a thin volume whose pool has run dry: the kernel has taken the
// bytes, and fsync says that they are lost.
func TestWriteErrors(t *testing.T) {
	s := seed(t)
	r := newRand(s, 0)
	failures := 0
	for i := range rounds(3, 15) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			c := newCrew(t, s+uint64(i))
			c.mayFail = true
			const pool = 24 << 20
			d := newThinDisk(t, normalDisk, pool)
			srv := harness.Start(t, harness.Options{Data: d.data(), Args: serveArgs})
			var died time.Time
			c.work(srv.URL(), r, func() {
				time.Sleep(time.Second + time.Duration(r.IntN(500))*time.Millisecond)
				srv.Kill()
				died = time.Now()
			})
			failures += strings.Count(srv.Log(), "status=503")
			d.grow(4 * pool)
			d.remount()
			check.Folder(t, srv.Data(), check.Options{})
			srv.SetArgs(quietArgs...)
			srv.Restart()
			c.verify(srv.URL(), died, r)
			t.Log(c)
		})
	}
	t.Logf("%d requests met a write error", failures)
	if failures == 0 && !t.Failed() {
		t.Error("no write failed: the test did not test it")
	}
}
