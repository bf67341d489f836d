//go:build linux

package crash

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Settings of the server that workers count on.
const (
	grace       = 2 * time.Second
	inlineLimit = 16 << 10
)

// serveArgs let collection free things while a test runs.
var serveArgs = []string{"--gc.grace", grace.String(), "--gc.interval", "300ms"}

// quietArgs are for looking: nothing changes by itself.
var quietArgs = []string{"--gc.grace", grace.String(), "--gc.interval", "0"}

// reporter takes what a test finds: the test itself, or a collection of
// findings where finding something is the point.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// A worker does one operation after another, and stops when one has no answer.
// Its repositories are its own; sharedRepository is everybody's.
type worker struct {
	t      reporter
	id     int
	rand   *rand.Rand
	client *client
	ledger *ledger
	layers [][]byte // that all workers push
	// mayFail is set where the disk fails: answers 503 and 507 are then no error.
	mayFail bool
	serial  int
	done    int // operations that had an answer
}

const sharedRepository = "shared/base"

func (w *worker) own(i int) string { return fmt.Sprintf("worker%d/app%d", w.id, i) }

// pick returns one of the worker's repositories.
func (w *worker) pick() string {
	if n := w.rand.IntN(4); n < 3 {
		return w.own(n)
	}
	return sharedRepository
}

// sharedLayers are content that is pushed again and again: empty, inline, on
// both sides of the limit of inline blobs, and files of up to 2 MiB.
func sharedLayers(r *rand.Rand) [][]byte {
	list := [][]byte{}
	for _, size := range []int{0, 1, 100, inlineLimit - 1, inlineLimit, inlineLimit + 1, 20 << 10, 50 << 10, 64 << 10, 100 << 10, 128 << 10, 200 << 10, 256<<10 + 1, 700 << 10, 1 << 20, 2 << 20} {
		list = append(list, randomBytes(r, size))
	}
	return list
}

func randomBytes(r *rand.Rand, size int) []byte {
	b := make([]byte, size+8)
	for i := 0; i < size; i += 8 {
		v := r.Uint64()
		for j := range 8 {
			b[i+j] = byte(v >> (8 * j))
		}
	}
	return b[:size]
}

// run works until an operation has no answer or stop is closed.
func (w *worker) run(stop <-chan struct{}) {
	operations := []struct {
		weight int
		do     func() error
	}{
		{30, w.pushImage}, {6, w.pushIndex}, {10, w.pull}, {8, w.deleteTag}, {8, w.deleteManifest}, {5, w.deleteBlob},
		{2, w.deleteRepository}, {8, w.leaveUpload}, {8, w.resumeUpload}, {3, w.loseUntagged}, {6, w.pushLayers},
	}
	total := 0
	for _, o := range operations {
		total += o.weight
	}
	for {
		select {
		case <-stop:
			return
		default:
		}
		n := w.rand.IntN(total)
		for _, o := range operations {
			if n -= o.weight; n < 0 {
				if err := o.do(); err != nil {
					return // the server is gone
				}
				break
			}
		}
		w.done++
	}
}

// settle ends a change by the answer's status and reports whether it was
// acknowledged. Statuses of refusals that are right are given; any other is a
// failure of the test.
func (w *worker) settle(c *change, a answer, refusals ...int) bool {
	switch {
	case a.status < 300:
		c.acknowledged()
		return true
	case w.failed(a):
		if a.status == http.StatusInsufficientStorage {
			c.refused() // as it says, nothing was kept
		} else {
			c.uncertain()
		}
		return false
	}
	c.refused()
	w.expect(a, refusals...)
	return false
}

// failed reports whether the answer tells of a failing disk, where that is
// expected. Such an answer must say so clearly.
func (w *worker) failed(a answer) bool {
	if !w.mayFail || (a.status != http.StatusServiceUnavailable && a.status != http.StatusInsufficientStorage) {
		return false
	}
	wantClear(w.t, a)
	if a.status == http.StatusServiceUnavailable && w.ledger != nil {
		w.ledger.failing(a.sent)
	}
	return true
}

// wantClear fails the test unless an error says what is wrong.
func wantClear(t reporter, a answer) {
	t.Helper()
	if strings.HasPrefix(a.request, http.MethodHead) {
		return
	}
	want := "UNAVAILABLE"
	if a.status == http.StatusInsufficientStorage {
		want = "INSUFFICIENT_STORAGE"
	}
	if code, message, err := a.code(); err != nil || code != want || !strings.Contains(message, "disk") {
		t.Errorf("%s: the error is not clear: want code %s and a message about the disk (%v)", a, want, err)
	}
}

func (w *worker) expect(a answer, statuses ...int) bool {
	for _, s := range statuses {
		if a.status == s {
			return true
		}
	}
	if !w.failed(a) {
		w.t.Errorf("worker %d: %s; want one of %v", w.id, a, statuses)
	}
	return false
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int    `json:"size"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        *descriptor       `json:"config,omitempty"`
	Layers        []descriptor      `json:"layers,omitempty"`
	Manifests     []descriptor      `json:"manifests,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

const (
	imageType = "application/vnd.oci.image.manifest.v1+json"
	indexType = "application/vnd.oci.image.index.v1+json"
)

// fresh is content that nobody else has.
func (w *worker) fresh(size int) []byte {
	w.serial++
	b := fmt.Appendf(nil, `{"worker":%d,"serial":%d,"pad":"`, w.id, w.serial)
	for len(b) < size-2 {
		b = append(b, "abcdefghijklmnopqrstuvwxyz"[w.rand.IntN(26)])
	}
	return append(b, `"}`...)
}

// pushImage pushes blobs and a manifest that tags them.
func (w *worker) pushImage() error {
	repository := w.pick()
	return w.push(repository, fmt.Sprintf("w%d-t%d", w.id, w.rand.IntN(6)))
}

func (w *worker) push(repository, tag string) error {
	size := 60
	if w.rand.IntN(8) == 0 {
		size = inlineLimit + w.rand.IntN(4<<10)
	}
	contents := [][]byte{w.fresh(size)}
	for range w.rand.IntN(4) {
		contents = append(contents, w.layers[w.rand.IntN(len(w.layers))])
	}
	if w.rand.IntN(4) == 0 {
		contents = append(contents, w.fresh(w.rand.IntN(40<<10)))
	}
	var list []descriptor
	var blobs []string
	for _, c := range contents {
		ok, err := w.pushBlob(repository, c)
		if err != nil || !ok {
			return err
		}
		list = append(list, descriptor{"application/vnd.oci.image.layer.v1.tar", digestOf(c), len(c)})
		blobs = append(blobs, digestOf(c))
	}
	list[0].MediaType = "application/vnd.oci.image.config.v1+json"
	return w.putManifest(repository, tag, manifest{SchemaVersion: 2, MediaType: imageType, Config: &list[0], Layers: list[1:]}, blobs, nil)
}

// pushIndex pushes an index of images that the repository has.
func (w *worker) pushIndex() error {
	repository := w.pick()
	var list []descriptor
	var children []string
	for _, k := range w.ledger.list(aManifest, w.id, repository) {
		if v, known := w.ledger.is(k); known && v == there && len(list) < 2 && w.rand.IntN(3) == 0 {
			list = append(list, descriptor{imageType, k.name, len(w.ledger.bytes(k.name))})
			children = append(children, k.name)
			w.ledger.mu.Lock()
			if w.ledger.children[k.name] != nil {
				list[len(list)-1].MediaType = indexType
			}
			w.ledger.mu.Unlock()
		}
	}
	if len(list) == 0 {
		return nil
	}
	w.serial++
	m := manifest{SchemaVersion: 2, MediaType: indexType, Manifests: list, Annotations: map[string]string{"serial": fmt.Sprint(w.id, "-", w.serial)}}
	return w.putManifest(repository, fmt.Sprintf("w%d-index", w.id), m, nil, children)
}

func (w *worker) putManifest(repository, tag string, m manifest, blobs, children []string) error {
	content, err := json.Marshal(m)
	if err != nil {
		return err
	}
	digest := w.ledger.sending(content, blobs, children)
	path := "/v2/" + repository + "/manifests/" + tag
	if w.rand.IntN(4) == 0 {
		path = "/v2/" + repository + "/manifests/" + digest + "?tag=" + tag
	}
	c := w.ledger.begin(w.id, map[key]string{{aTag, repository, tag}: digest, {aManifest, repository, digest}: there})
	a, err := w.client.do(request{method: http.MethodPut, path: path, header: map[string]string{"Content-Type": m.MediaType}, body: content})
	if err != nil {
		return err
	}
	if a.status != http.StatusNotFound {
		w.settle(c, a)
		return nil
	}
	// Refused since content is missing: right only if collection was allowed
	// to free it, which it is after the grace time.
	c.refused()
	if code, _, _ := a.code(); code != "MANIFEST_BLOB_UNKNOWN" {
		w.t.Errorf("worker %d: %s", w.id, a)
		return nil
	}
	for _, d := range blobs {
		if strings.Contains(string(a.body), d) && time.Since(w.ledger.touched(repository, d)) < grace {
			w.t.Errorf("worker %d: %s, though the blob was acknowledged within the grace time", w.id, a)
		}
	}
	w.ledger.mu.Lock()
	untagged := w.ledger.losesUntagged[repository]
	w.ledger.mu.Unlock()
	if children != nil && !untagged {
		w.t.Errorf("worker %d: %s, though the manifests were acknowledged", w.id, a)
	}
	return nil
}

// pull reads one of the worker's images back while everything goes on.
func (w *worker) pull() error {
	tags := w.ledger.list(aTag, w.id, "")
	if len(tags) == 0 {
		return nil
	}
	k := tags[w.rand.IntN(len(tags))]
	digest, known := w.ledger.is(k)
	if !known || digest == gone {
		return nil
	}
	a, err := w.client.get("/v2/" + k.repository + "/manifests/" + k.name)
	if err != nil || !w.expect(a, http.StatusOK) {
		return err
	}
	if got := digestOf(a.body); got != digest || a.header.Get("Docker-Content-Digest") != digest {
		w.t.Errorf("worker %d: %s:%s is %s (header %s), but %s was acknowledged", w.id, k.repository, k.name, got, a.header.Get("Docker-Content-Digest"), digest)
	}
	w.ledger.mu.Lock()
	blobs := w.ledger.blobs[digest]
	w.ledger.mu.Unlock()
	for _, d := range blobs {
		b, err := w.client.get("/v2/" + k.repository + "/blobs/" + d)
		if err != nil {
			return err
		}
		if w.expect(b, http.StatusOK) && digestOf(b.body) != d {
			w.t.Errorf("worker %d: blob %s of %s:%s has digest %s", w.id, d, k.repository, k.name, digestOf(b.body))
		}
	}
	return nil
}

func (w *worker) deleteTag() error {
	k, ok := w.choose(aTag)
	if !ok {
		return nil
	}
	c := w.ledger.begin(w.id, map[key]string{k: gone})
	a, err := w.client.do(request{method: http.MethodDelete, path: "/v2/" + k.repository + "/manifests/" + k.name})
	if err == nil {
		w.settle(c, a)
	}
	return err
}

func (w *worker) deleteManifest() error {
	k, ok := w.choose(aManifest)
	if !ok {
		return nil
	}
	to := map[key]string{k: gone}
	for _, tag := range w.ledger.tagsOf(k.repository, k.name) {
		if _, known := w.ledger.is(tag); !known {
			return nil
		}
		to[tag] = gone
	}
	c := w.ledger.begin(w.id, to)
	a, err := w.client.do(request{method: http.MethodDelete, path: "/v2/" + k.repository + "/manifests/" + k.name})
	if err != nil {
		return err
	}
	if a.status == http.StatusNotFound && w.mayBeCollected(k, len(to) > 1) {
		c.acknowledged()
		return nil
	}
	w.settle(c, a)
	return nil
}

// mayBeCollected reports whether collection may have deleted a manifest.
func (w *worker) mayBeCollected(k key, tagged bool) bool {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	return w.ledger.losesUntagged[k.repository] && !tagged
}

func (w *worker) deleteBlob() error {
	k, ok := w.choose(aBlob)
	if !ok || k.repository == sharedRepository {
		return nil
	}
	c := w.ledger.begin(w.id, map[key]string{k: gone})
	a, err := w.client.do(request{method: http.MethodDelete, path: "/v2/" + k.repository + "/blobs/" + k.name})
	if err != nil {
		return err
	}
	if a.status == http.StatusNotFound && time.Since(w.ledger.touched(k.repository, k.name)) >= grace {
		c.acknowledged() // collected before
		return nil
	}
	w.settle(c, a, http.StatusConflict) // in use
	return nil
}

// choose picks something of the worker's that is known to be there.
func (w *worker) choose(of kind) (key, bool) {
	list := w.ledger.list(of, w.id, "")
	if len(list) == 0 {
		return key{}, false
	}
	k := list[w.rand.IntN(len(list))]
	v, known := w.ledger.is(k)
	return k, known && v != gone
}

func (w *worker) deleteRepository() error {
	repository := w.own(w.rand.IntN(3))
	c := w.ledger.begin(w.id, w.ledger.of(repository))
	a, err := w.client.do(request{method: http.MethodDelete, path: "/api/v1/repositories/" + url.PathEscape(repository)})
	if err != nil {
		return err
	}
	if a.status == http.StatusNotFound && len(w.ledger.list(aTag, w.id, repository)) == 0 {
		c.refused() // there is none
		return nil
	}
	w.settle(c, a)
	return nil
}

// loseUntagged makes collection delete untagged manifests of one repository.
func (w *worker) loseUntagged() error {
	repository := w.own(0)
	w.ledger.mu.Lock()
	w.ledger.losesUntagged[repository] = true
	w.ledger.mu.Unlock()
	a, err := w.client.do(request{method: http.MethodPatch, path: "/api/v1/repositories/" + url.PathEscape(repository),
		header: map[string]string{"Content-Type": "application/json"}, body: []byte(`{"delete_untagged": true}`)})
	if err == nil && a.status != http.StatusNotFound {
		w.expect(a, http.StatusOK)
	}
	return err
}

// collect runs collections until stop is closed or one has no answer, and
// returns how many blobs they freed.
func collect(t reporter, c *client, r *rand.Rand, mayFail bool, stop <-chan struct{}) (freed int) {
	w := &worker{t: t, mayFail: mayFail}
	for {
		select {
		case <-stop:
			return freed
		case <-time.After(time.Duration(20+r.IntN(100)) * time.Millisecond):
		}
		a, err := c.do(request{method: http.MethodPost, path: "/api/v1/gc"})
		if err != nil {
			return freed
		}
		if w.expect(a, http.StatusOK) {
			var report struct{ Freed struct{ Blobs int } }
			if err := json.Unmarshal(a.body, &report); err != nil {
				t.Errorf("%s: %v", a, err)
			}
			freed += report.Freed.Blobs
		}
	}
}
