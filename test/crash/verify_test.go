//go:build linux

package crash

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// verification compares what a server says after a crash with the ledger.
type verification struct {
	t      reporter
	client *client
	ledger *ledger
	died   time.Time // not before the old server's end
	rand   *rand.Rand

	mu     sync.Mutex
	blobs  map[key]int  // status of blobs that were read and had the right bytes
	needed map[key]bool // manifests that a tag or an index needs
	checks int
}

// verify asks the server about every fact, and takes its answers, where they
// are right, for the truth from now on. It returns the number of facts.
// Nothing may change meanwhile: no other clients, no collection.
func verify(t reporter, c *client, l *ledger, died time.Time, r *rand.Rand) int {
	t.Helper()
	l.crash()
	v := &verification{t: t, client: c, ledger: l, died: died, rand: r, blobs: map[key]int{}, needed: map[key]bool{}}
	for _, step := range []struct {
		of kind
		do func(key, *fact) (observed string, err error)
	}{{aTag, v.tag}, {aManifest, v.manifest}, {aBlob, v.blob}} {
		v.all(step.of, step.do)
	}
	v.uploads()
	return v.checks
}

// all asks about all facts of a kind and keeps what was observed.
func (v *verification) all(of kind, ask func(key, *fact) (string, error)) {
	var keys []key
	for k := range v.ledger.facts {
		if k.kind == of {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, compareKeys)
	observed := make([]string, len(keys))
	work := make(chan int)
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for i := range work {
				k, f := keys[i], v.ledger.facts[keys[i]]
				value, err := ask(k, f)
				if err != nil {
					v.t.Errorf("after the crash, %s %s of %s (expected one of %q): %v", k.kind, k.name, k.repository, f.possible, err)
				}
				observed[i] = value
			}
		})
	}
	for i := range keys {
		work <- i
	}
	close(work)
	running.Wait()
	for i, k := range keys {
		v.ledger.facts[k].possible = []string{observed[i]}
		if observed[i] == gone && of != aTag {
			delete(v.ledger.facts, k)
		}
	}
	v.checks += len(keys)
}

func (v *verification) tag(k key, f *fact) (string, error) {
	digest, err := v.getManifest(k.repository, k.name)
	if err == nil && !slices.Contains(f.possible, digest) {
		err = fmt.Errorf("it points at %q", digest)
	}
	if digest != gone {
		v.need(k.repository, digest)
	}
	return digest, err
}

func (v *verification) need(repository, digest string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.needAll(repository, digest)
}

func (v *verification) needAll(repository, digest string) {
	v.needed[key{aManifest, repository, digest}] = true
	for _, child := range v.ledger.children[digest] {
		// One that was deleted by name needs its own children no more.
		f := v.ledger.facts[key{aManifest, repository, child}]
		if f != nil && !slices.Contains(f.possible, gone) {
			v.needAll(repository, child)
		}
	}
}

func (v *verification) manifest(k key, f *fact) (string, error) {
	digest, err := v.getManifest(k.repository, k.name)
	if err != nil {
		return gone, err
	}
	if digest == gone {
		free := v.ledger.losesUntagged[k.repository] && !v.needed[k]
		if !free && !slices.Contains(f.possible, gone) {
			return gone, fmt.Errorf("it is lost")
		}
		return gone, nil
	}
	if !slices.Contains(f.possible, there) {
		return there, fmt.Errorf("it was deleted and is back")
	}
	for _, d := range v.ledger.blobs[digest] {
		status, err := v.getBlob(k.repository, d)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		if err != nil {
			return there, fmt.Errorf("its blob %s: %w", d, err)
		}
	}
	return there, nil
}

// getManifest returns the digest of the bytes that are served, gone for 404.
func (v *verification) getManifest(repository, reference string) (string, error) {
	a, err := v.client.get("/v2/" + repository + "/manifests/" + reference)
	if err != nil {
		return gone, err
	}
	if a.status == http.StatusNotFound {
		return gone, nil
	}
	if a.status != http.StatusOK {
		return gone, fmt.Errorf("%s", a)
	}
	digest := a.header.Get("Docker-Content-Digest")
	if got := digestOf(a.body); got != digest {
		return gone, fmt.Errorf("served as %s, the bytes are %s", digest, got)
	}
	if !bytes.Equal(a.body, v.ledger.content[digest]) {
		return gone, fmt.Errorf("%s was never pushed like this", digest)
	}
	return digest, nil
}

func (v *verification) blob(k key, f *fact) (string, error) {
	status, err := v.getBlob(k.repository, k.name)
	if err != nil {
		return gone, err
	}
	if status == http.StatusOK {
		if !slices.Contains(f.possible, there) {
			return there, fmt.Errorf("it was deleted and is back")
		}
		return there, nil
	}
	if !slices.Contains(f.possible, gone) && within(f.touched, v.died) {
		return gone, fmt.Errorf("it is lost, though used %v before the crash", v.died.Sub(f.touched))
	}
	return gone, nil
}

// getBlob returns 200 for right bytes, or 404. Anything else is an error.
func (v *verification) getBlob(repository, digest string) (status int, err error) {
	k := key{aBlob, repository, digest}
	v.mu.Lock()
	status, known := v.blobs[k]
	v.mu.Unlock()
	if known {
		return status, nil
	}
	a, err := v.client.get("/v2/" + repository + "/blobs/" + digest)
	if err != nil {
		return 0, err
	}
	switch a.status {
	case http.StatusOK:
		if got := digestOf(a.body); got != digest {
			return 0, fmt.Errorf("served %d bytes of digest %s", len(a.body), got)
		}
	case http.StatusNotFound:
	default:
		return 0, fmt.Errorf("%s", a)
	}
	v.mu.Lock()
	v.blobs[k] = a.status
	v.mu.Unlock()
	return a.status, nil
}

// uploads asks each open upload for its offset. Half of them are finished.
func (v *verification) uploads() {
	for path, u := range v.ledger.uploads {
		v.checks++
		open, err := v.upload(u)
		if err != nil {
			v.t.Errorf("after the crash, upload %s of %d bytes (acknowledged %d, sent %d, closing %v): %v", path, len(u.content), u.acked, u.sent, u.finishing, err)
		}
		if !open {
			delete(v.ledger.uploads, path)
		}
	}
}

func (v *verification) upload(u *upload) (open bool, err error) {
	digest := digestOf(u.content)
	a, err := v.client.get(u.path)
	if err != nil {
		return false, err
	}
	if a.status == http.StatusNotFound && u.finishing {
		// Cut off between the bytes and the row: the client starts again.
		return false, nil
	}
	if a.status != http.StatusNoContent {
		return false, fmt.Errorf("%s", a)
	}
	end, err := rangeEnd(a)
	if err != nil {
		return false, err
	}
	size := end + 1
	if end == 0 && u.acked == 0 {
		size = 0 // or 1: the specification cannot say it
	}
	if u.finishing && (size < u.acked || end == 0) {
		// If the closing request went through, the id stands for an upload
		// without bytes again.
		status, err := v.getBlob(u.repository, digest)
		if err == nil && status != http.StatusOK && size < u.acked {
			err = fmt.Errorf("the upload is over but its blob answers %d", status)
		}
		if err != nil || status == http.StatusOK {
			return false, err
		}
	}
	if size < u.acked || size > u.sent {
		return false, fmt.Errorf("it has %d bytes", size)
	}
	u.acked = size
	if v.rand.IntN(2) == 0 && !u.finishing && size > 0 {
		return true, nil
	}
	if err := v.finishUpload(u, digest); err != nil {
		return false, err
	}
	delete(v.blobs, key{aBlob, u.repository, digest})
	status, err := v.getBlob(u.repository, digest)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("finished, and its blob answers %d", status)
	}
	return false, err
}

func (v *verification) finishUpload(u *upload, digest string) error {
	v.ledger.content[digest] = u.content
	c := v.ledger.begin(u.owner, map[key]string{{aBlob, u.repository, digest}: there})
	if rest := u.content[u.acked:]; len(rest) > 1 {
		a, err := v.client.do(request{method: http.MethodPatch, path: u.path, body: rest, header: map[string]string{"Content-Range": fmt.Sprintf("%d-%d", u.acked, len(u.content)-1)}})
		if err != nil {
			return err
		}
		if a.status == http.StatusRequestedRangeNotSatisfiable && u.acked == 0 {
			u.acked = 1 // that was it
			c.refused()
			return v.finishUpload(u, digest)
		}
		if a.status != http.StatusAccepted {
			return fmt.Errorf("resuming at %d: %s", u.acked, a)
		}
	} else if len(rest) == 1 {
		// Whether that byte is there cannot be asked: try without, then with.
		if a, err := v.client.do(request{method: http.MethodPut, path: u.path + "?digest=" + digest}); err == nil && a.status == http.StatusCreated {
			c.acknowledged()
			return nil
		}
		if a, err := v.client.do(request{method: http.MethodPatch, path: u.path, body: rest}); err != nil || a.status != http.StatusAccepted {
			return fmt.Errorf("the last byte: %s: %w", a, err)
		}
	}
	a, err := v.client.do(request{method: http.MethodPut, path: u.path + "?digest=" + digest})
	if err != nil {
		return err
	}
	if a.status != http.StatusCreated {
		return fmt.Errorf("closing: %s", a)
	}
	c.acknowledged()
	return nil
}
