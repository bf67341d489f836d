//go:build linux

package crash

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"slipway/test/check"
	"slipway/test/harness"
)

// patience is how long a test waits for what has to come, however slow the
// machine is.
const patience = 30 * time.Second

// TestDiskFullReserve fills the disk up to the space that the server keeps for
// itself, and shows that this is enough to get out again by the API alone.
func TestDiskFullReserve(t *testing.T) {
	d := newDisk(t, smallDisk)
	srv := harness.Start(t, harness.Options{Data: d.data(), Args: []string{"--gc.grace", "1s", "--gc.interval", "0"}})
	s := seed(t)
	w := &worker{t: t, rand: newRand(s, 1), client: newClient(srv.URL()), ledger: newLedger()}
	defer w.client.close()

	var images []string
	for i := 0; ; i++ {
		if i > 200 {
			t.Fatal("the disk never filled up")
		}
		digest, a := w.pushOne(fmt.Sprintf("full/app%d", i), 1<<20, i)
		if digest == "" {
			if a.status != http.StatusInsufficientStorage {
				t.Fatalf("%s; want 507 for a full disk", a)
			}
			wantClear(t, a)
			break
		}
		images = append(images, digest)
	}
	t.Logf("the disk took %d images", len(images))
	if len(images) < 40 {
		t.Errorf("a disk of %d MiB took only %d images of 1 MiB", smallDisk>>20, len(images))
	}

	// What a person does to get out of this needs no upload.
	last := fmt.Sprintf("full/app%d", len(images)-1)
	a := w.must(request{method: http.MethodGet, path: "/v2/" + last + "/manifests/1"}, http.StatusOK)
	w.must(request{method: http.MethodPut, path: "/v2/" + last + "/manifests/2", header: map[string]string{"Content-Type": imageType}, body: a.body}, http.StatusCreated)
	w.must(request{method: http.MethodDelete, path: "/v2/" + last + "/manifests/2"}, http.StatusAccepted)
	w.must(request{method: http.MethodPost, path: "/api/v1/gc"}, http.StatusOK)
	for i, digest := range images {
		w.must(request{method: http.MethodDelete, path: fmt.Sprintf("/v2/full/app%d/manifests/%s", i, digest)}, http.StatusAccepted)
	}

	// A deletion can be undone for the grace time, then its space comes back.
	deadline := time.Now().Add(patience)
	for i := len(images); ; i++ {
		w.must(request{method: http.MethodPost, path: "/api/v1/gc", header: map[string]string{"Content-Type": "application/json"}, body: []byte(`{"grace_seconds": 0}`)}, http.StatusOK)
		digest, a := w.pushOne(fmt.Sprintf("full/app%d", i), 1<<20, i)
		if digest != "" {
			break
		}
		if a.status != http.StatusInsufficientStorage {
			t.Fatal(a)
		}
		if time.Now().After(deadline) {
			t.Fatalf("after everything was deleted and collected: %s", a)
		}
	}
	srv.Stop()
	t.Log(check.Folder(t, srv.Data(), check.Options{}))
}

// must sends a request and ends the test unless it is answered by the status.
func (w *worker) must(r request, status int) answer {
	w.t.Helper()
	a, err := w.client.do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	if a.status != status {
		w.t.Fatalf("%s; want %d", a, status)
	}
	return a
}

// pushOne pushes an image of one layer as tag 1, by one of four ways to upload,
// and returns its digest, or the first answer that refused something.
func (w *worker) pushOne(repository string, size, way int) (digest string, refusal answer) {
	w.t.Helper()
	config, layer := w.fresh(60), randomBytes(w.rand, size)
	for _, content := range [][]byte{config, layer} {
		if a := w.upload(repository, content, way); a.status != http.StatusCreated {
			return "", a
		}
	}
	manifest, err := json.Marshal(manifest{
		SchemaVersion: 2, MediaType: imageType,
		Config: &descriptor{"application/vnd.oci.image.config.v1+json", digestOf(config), len(config)},
		Layers: []descriptor{{"application/vnd.oci.image.layer.v1.tar", digestOf(layer), len(layer)}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := w.client.do(request{method: http.MethodPut, path: "/v2/" + repository + "/manifests/1", header: map[string]string{"Content-Type": imageType}, body: manifest})
	if err != nil {
		w.t.Fatal(err)
	}
	if a.status != http.StatusCreated {
		return "", a
	}
	return digestOf(manifest), a
}

func (w *worker) upload(repository string, content []byte, way int) answer {
	w.t.Helper()
	do := func(r request) answer {
		a, err := w.client.do(r)
		if err != nil {
			w.t.Fatal(err)
		}
		return a
	}
	uploads, query := "/v2/"+repository+"/blobs/uploads/", "?digest="+digestOf(content)
	if way%4 == 0 {
		return do(request{method: http.MethodPost, path: uploads + query, body: content})
	}
	a := do(request{method: http.MethodPost, path: uploads})
	if a.status != http.StatusAccepted {
		return a
	}
	location := a.header.Get("Location")
	if way%4 == 1 {
		return do(request{method: http.MethodPut, path: location + query, body: content})
	}
	if a = do(request{method: http.MethodPatch, path: location, body: content, stream: way%4 == 2}); a.status != http.StatusAccepted {
		return a
	}
	return do(request{method: http.MethodPut, path: location + query})
}

// TestDiskFull takes the last byte from under a busy server, so that the
// database itself has no room, several times. The server has to say so, keep
// what it acknowledged, and go on by itself once there is room.
func TestDiskFull(t *testing.T) {
	s := seed(t)
	r := newRand(s, 0)
	c := newCrew(t, s)
	c.mayFail = true
	d := newDisk(t, smallDisk)
	srv := harness.Start(t, harness.Options{Data: d.data(), Args: append([]string{"--storage.reserve", "1B"}, serveArgs...)})
	for i := range rounds(4, 20) {
		c.work(srv.URL(), r, func() {
			for range 3 {
				free := d.fill()
				time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
				free()
				time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
			}
		})
		w := &worker{t: t, rand: newRand(s, 1000+i), client: newClient(srv.URL()), ledger: c.ledger, id: workers + 1}
		w.recovers(fmt.Sprintf("recovered/app%d", i), i)
		w.client.close()
	}
	if t.Failed() {
		return
	}
	srv.Stop()
	died := time.Now()
	t.Log(check.Folder(t, srv.Data(), check.Options{}))
	t.Logf("%d answers of 507", strings.Count(srv.Log(), "status=507"))
	if strings.Contains(srv.Log(), "status=503") {
		t.Error("a full disk was called a broken one")
	}
	if !strings.Contains(srv.Log(), "INSUFFICIENT_STORAGE") {
		t.Error("the server never met a full disk: the test did not test it")
	}
	srv.SetArgs(quietArgs...)
	srv.Restart()
	c.verify(srv.URL(), died, r)
	t.Log(c)
}

// recovers fails the test unless pushes succeed again, without a restart.
func (w *worker) recovers(repository string, way int) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		digest, a := w.pushOne(repository, 100<<10, way)
		if digest != "" {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the disk has room again, but: %s", a)
		}
	}
}
