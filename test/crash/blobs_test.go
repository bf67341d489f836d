//go:build linux

package crash

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pushBlob makes a repository hold content, by one of the ways that the
// specification knows. ok is false if the server said why it cannot.
func (w *worker) pushBlob(repository string, content []byte) (ok bool, err error) {
	digest := w.ledger.sending(content, nil, nil)
	c := w.ledger.begin(w.id, map[key]string{{aBlob, repository, digest}: there})
	blobs := "/v2/" + repository + "/blobs/"
	way := w.rand.IntN(6)
	if way == 0 || w.rand.IntN(3) == 0 {
		a, err := w.client.do(request{method: http.MethodHead, path: blobs + digest})
		if err != nil {
			return false, err
		}
		if a.status == http.StatusOK {
			c.known(w.ledger.noted(c.started))
			return true, nil
		}
		w.expect(a, http.StatusNotFound)
	}
	location := ""
	switch way {
	case 1: // all in one request
		a, err := w.client.do(request{method: http.MethodPost, path: blobs + "uploads/?digest=" + digest, body: content})
		if err != nil {
			return false, err
		}
		if a.status == http.StatusCreated || len(content) > 0 {
			return w.settle(c, a), nil
		}
		location = a.header.Get("Location")
	case 2, 3: // mount, else upload
		from := sharedRepository
		if w.rand.IntN(2) == 0 {
			from = w.own(w.rand.IntN(3))
		}
		a, err := w.client.do(request{method: http.MethodPost, path: blobs + "uploads/?mount=" + digest + "&from=" + from})
		if err != nil {
			return false, err
		}
		if a.status == http.StatusCreated {
			c.acknowledged()
			return true, nil
		}
		if a.status != http.StatusAccepted {
			return w.settle(c, a), nil
		}
		location = a.header.Get("Location")
	}
	u, err := w.open(repository, location, content)
	if err != nil || u == nil {
		c.refused()
		return false, err
	}
	if way > 3 {
		streamed := way == 4
		if ok, err := w.patch(u, int64(len(content)), streamed); err != nil || !ok {
			c.refused()
			return false, err
		}
	}
	return w.finish(u, c)
}

// open starts an upload, or notes the one that is open at the location.
func (w *worker) open(repository, location string, content []byte) (*upload, error) {
	if location == "" {
		a, err := w.client.do(request{method: http.MethodPost, path: "/v2/" + repository + "/blobs/uploads/"})
		if err != nil || !w.expect(a, http.StatusAccepted) {
			return nil, err
		}
		location = a.header.Get("Location")
	}
	u := &upload{repository: repository, path: location, content: content, owner: w.id}
	w.ledger.mu.Lock()
	w.ledger.uploads[location] = u
	w.ledger.mu.Unlock()
	return u, nil
}

// patch brings an upload to an offset: streamed, or in chunks that say where
// they belong.
func (w *worker) patch(u *upload, to int64, streamed bool) (ok bool, err error) {
	for u.acked < to {
		n := to - u.acked
		header := map[string]string{"Content-Type": "application/octet-stream"}
		if !streamed {
			n = min(n, 1+w.rand.Int64N(300<<10))
			header["Content-Range"] = fmt.Sprintf("%d-%d", u.acked, u.acked+n-1)
		}
		w.ledger.mu.Lock()
		u.sent = max(u.sent, u.acked+n)
		w.ledger.mu.Unlock()
		a, err := w.client.do(request{method: http.MethodPatch, path: u.path, header: header, body: u.content[u.acked : u.acked+n], stream: streamed})
		if err != nil {
			return false, err
		}
		if a.status != http.StatusAccepted {
			return false, w.restate(u, a)
		}
		w.ledger.mu.Lock()
		u.acks = append(u.acks, ack{time.Now(), u.acked})
		u.acked += n
		w.ledger.acknowledged++
		w.ledger.mu.Unlock()
		if end, err := rangeEnd(a); err != nil || end != max(u.acked-1, 0) {
			w.t.Errorf("worker %d: %s: Range %q after %d bytes (%v)", w.id, a, a.header.Get("Range"), u.acked, err)
		}
	}
	return true, nil
}

// restate drops an upload after a failed request; where the disk may fail that
// is no error.
func (w *worker) restate(u *upload, a answer) error {
	if w.failed(a) {
		w.forget(u)
		return nil
	}
	w.t.Errorf("worker %d: %s: upload with %d acknowledged bytes", w.id, a, u.acked)
	w.forget(u)
	return nil
}

func (w *worker) forget(u *upload) {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	delete(w.ledger.uploads, u.path)
}

// finish closes an upload with what is missing.
func (w *worker) finish(u *upload, c *change) (ok bool, err error) {
	w.ledger.mu.Lock()
	u.finishing, u.sent = true, int64(len(u.content))
	w.ledger.mu.Unlock()
	r := request{method: http.MethodPut, path: u.path + "?digest=" + digestOf(u.content)}
	if rest := u.content[u.acked:]; len(rest) > 0 {
		r.body, r.header = rest, map[string]string{"Content-Type": "application/octet-stream"}
		if u.acked > 0 {
			r.header["Content-Range"] = fmt.Sprintf("%d-%d", u.acked, len(u.content)-1)
		}
	}
	a, err := w.client.do(r)
	if err != nil {
		return false, err
	}
	ok = w.settle(c, a)
	w.forget(u)
	return ok, nil
}

// leaveUpload begins an upload for later.
func (w *worker) leaveUpload() error {
	if len(w.openUploads()) > 4 {
		return nil
	}
	u, err := w.open(w.pick(), "", w.fresh(1+w.rand.IntN(200<<10)))
	if err != nil || u == nil {
		return err
	}
	_, err = w.patch(u, w.rand.Int64N(int64(len(u.content)+1)), w.rand.IntN(2) == 0)
	return err
}

// resumeUpload goes on with an open upload, and often ends it.
func (w *worker) resumeUpload() error {
	list := w.openUploads()
	if len(list) == 0 {
		return nil
	}
	u := list[w.rand.IntN(len(list))]
	if ok, err := w.patch(u, u.acked+w.rand.Int64N(int64(len(u.content))-u.acked+1), false); err != nil || !ok {
		return err
	}
	if w.rand.IntN(2) == 0 {
		return nil
	}
	digest := w.ledger.sending(u.content, nil, nil)
	_, err := w.finish(u, w.ledger.begin(w.id, map[key]string{{aBlob, u.repository, digest}: there}))
	return err
}

func (w *worker) openUploads() []*upload {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	var list []*upload
	for _, u := range w.ledger.uploads {
		if u.owner == w.id {
			list = append(list, u)
		}
	}
	slices.SortFunc(list, func(a, b *upload) int { return strings.Compare(a.path, b.path) })
	return list
}

// pushLayers pushes shared layers that no manifest will use: collection frees
// them while others push them again.
func (w *worker) pushLayers() error {
	repository := w.own(w.rand.IntN(3))
	for range 3 {
		if _, err := w.pushBlob(repository, w.layers[w.rand.IntN(len(w.layers))]); err != nil {
			return err
		}
	}
	return nil
}

// rangeEnd is the offset of the last byte that an upload has, by its Range
// header; the specification gives 0 for none too.
func rangeEnd(a answer) (int64, error) {
	first, last, ok := strings.Cut(a.header.Get("Range"), "-")
	if !ok || first != "0" {
		return 0, fmt.Errorf("%s: Range %q", a, a.header.Get("Range"))
	}
	return strconv.ParseInt(last, 10, 64)
}

// within reports whether a blob that was used at a time must still be there.
func within(used, now time.Time) bool { return now.Sub(used) < grace }
