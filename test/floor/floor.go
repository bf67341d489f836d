// Package floor is the least that a registry can do and still be durable. It
// speaks just enough of the OCI distribution API for internal/bench to run on
// it, and gives other registries something to be measured against: what is
// slower than this is the registry's own cost, what is as fast is the cost of
// the disk, the kernel and HTTP.
//
// What each request does to the disk:
//
//   - POST of an upload: nothing; a random name is made up.
//   - PUT of a blob: the body goes to a new file in uploads/ and is hashed on
//     the way; then fsync of the file, rename to blobs/sha256/ab/…, fsync of
//     that folder. Two syncs.
//   - PUT of a manifest by digest: the same. By tag: the same, unless the bytes
//     are there already, and then a file with the digest is written, synced and
//     renamed to repositories/NAME/TAG, and its folder synced. Four syncs, or
//     two for bytes that are there already.
//   - GET of a blob: open, fstat, sendfile. No bytes are kept in memory.
//   - GET of a manifest: the tag's file is read, then the blob's. Two files are
//     opened by tag, one by digest.
//   - Tags and catalog: sorted slices in memory. They are not read back at
//     start: a floor begins with an empty folder.
//
// Syncs are not shared between requests except as the file system's own journal
// shares them. There is no authentication, no log, no deletion, no chunked
// upload, no mount and no check of what a manifest says.
package floor

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Server is an http.Handler over one folder.
type Server struct {
	dir     string
	buffers sync.Pool
	names   index
}

// New makes the folders that a server needs in dir, which must be empty.
func New(dir string) (*Server, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty", dir)
	}
	s := &Server{dir: dir, names: index{tags: map[string]*sortedNames{}}}
	s.buffers.New = func() any { b := make([]byte, 256<<10); return &b }
	for i := range 256 {
		if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256", fmt.Sprintf("%02x", i)), 0o755); err != nil {
			return nil, err
		}
	}
	for _, sub := range []string{"uploads", "repositories"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	for _, d := range []string{"blobs/sha256", "blobs", ""} {
		if err := syncDir(filepath.Join(dir, d)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// statusError is an answer other than success.
type statusError struct {
	status int
	text   string
}

func (e statusError) Error() string { return e.text }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := s.route(w, r)
	if err == nil {
		return
	}
	status := http.StatusInternalServerError
	var se statusError
	switch {
	case errors.As(err, &se):
		status = se.status
	case errors.Is(err, fs.ErrNotExist):
		status = http.StatusNotFound
	}
	http.Error(w, err.Error(), status)
}

func (s *Server) route(w http.ResponseWriter, r *http.Request) error {
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	if !ok || strings.Contains(path, "..") {
		return statusError{http.StatusNotFound, "not found"}
	}
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case path == "" && read:
		w.WriteHeader(http.StatusOK)
		return nil
	case path == "_catalog" && read:
		return s.catalog(w, r)
	}
	if repo, ok := strings.CutSuffix(path, "/tags/list"); ok && read {
		return s.tags(w, r, repo)
	}
	if repo, ok := strings.CutSuffix(path, "/blobs/uploads/"); ok && r.Method == http.MethodPost {
		w.Header().Set("Location", "/v2/"+repo+"/blobs/uploads/"+rand.Text())
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	if repo, _, ok := strings.Cut(path, "/blobs/uploads/"); ok && r.Method == http.MethodPut {
		return s.putBlob(w, r, repo)
	}
	if _, digest, ok := strings.Cut(path, "/blobs/"); ok && read {
		return s.getBlob(w, digest)
	}
	if repo, reference, ok := strings.Cut(path, "/manifests/"); ok {
		switch {
		case r.Method == http.MethodPut:
			return s.putManifest(w, r, repo, reference)
		case read:
			return s.getManifest(w, repo, reference)
		}
	}
	return statusError{http.StatusMethodNotAllowed, "the floor does not do this"}
}

func (s *Server) putBlob(w http.ResponseWriter, r *http.Request, repo string) error {
	digest := r.URL.Query().Get("digest")
	if err := s.store(r.Body, digest); err != nil {
		return err
	}
	created(w, "/v2/"+repo+"/blobs/"+digest, digest)
	return nil
}

// store returns when the content is durable under its digest.
func (s *Server) store(body io.Reader, digest string) error {
	final, err := s.blobPath(digest)
	if err != nil {
		return err
	}
	h := sha256.New()
	return s.commit(final, func(f *os.File) error {
		buf := s.buffers.Get().(*[]byte)
		defer s.buffers.Put(buf)
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, h)}, struct{ io.Reader }{body}, *buf); err != nil {
			return err
		}
		if got := "sha256:" + hex.EncodeToString(h.Sum(nil)); got != digest {
			return statusError{http.StatusBadRequest, "the content is " + got + ", not " + digest}
		}
		return nil
	})
}

// commit writes a file and returns when both it and its name are durable.
func (s *Server) commit(final string, write func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Join(s.dir, "uploads"), "")
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), final)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return syncDir(filepath.Dir(final))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (s *Server) blobPath(digest string) (string, error) {
	hexa, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || len(hexa) != 64 {
		return "", statusError{http.StatusBadRequest, "not a sha256 digest: " + digest}
	}
	return filepath.Join(s.dir, "blobs/sha256", hexa[:2], hexa), nil
}

func (s *Server) getBlob(w http.ResponseWriter, digest string) error {
	path, err := s.blobPath(digest)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	h.Set("Docker-Content-Digest", digest)
	_, err = io.Copy(w, f)
	if err != nil {
		panic(http.ErrAbortHandler) // the status is out: only cutting the connection tells the client
	}
	return nil
}

// manifestType is the only media type that is served: the bench pushes no other.
const manifestType = "application/vnd.oci.image.manifest.v1+json"

func (s *Server) putManifest(w http.ResponseWriter, r *http.Request, repo, reference string) error {
	content, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	path, err := s.blobPath(digest)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		if err := s.store(bytes.NewReader(content), digest); err != nil {
			return err
		}
	}
	if !strings.HasPrefix(reference, "sha256:") {
		if err := s.putTag(repo, reference, digest); err != nil {
			return err
		}
	}
	created(w, "/v2/"+repo+"/manifests/"+digest, digest)
	return nil
}

func (s *Server) putTag(repo, tag, digest string) error {
	dir := filepath.Join(s.dir, "repositories", repo)
	if !s.names.knows(repo) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for d := filepath.Dir(dir); len(d) > len(s.dir); d = filepath.Dir(d) {
			if err := syncDir(d); err != nil {
				return err
			}
		}
	}
	err := s.commit(filepath.Join(dir, tag), func(f *os.File) error {
		_, err := f.WriteString(digest)
		return err
	})
	if err != nil {
		return err
	}
	s.names.add(repo, tag)
	return nil
}

func (s *Server) getManifest(w http.ResponseWriter, repo, reference string) error {
	digest := reference
	if !strings.HasPrefix(reference, "sha256:") {
		content, err := os.ReadFile(filepath.Join(s.dir, "repositories", repo, reference))
		if err != nil {
			return err
		}
		digest = string(content)
	}
	path, err := s.blobPath(digest)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", manifestType)
	h.Set("Content-Length", strconv.Itoa(len(content)))
	h.Set("Docker-Content-Digest", digest)
	_, err = w.Write(content)
	return err
}

func created(w http.ResponseWriter, location, digest string) {
	w.Header().Set("Location", location)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}

func (s *Server) tags(w http.ResponseWriter, r *http.Request, repo string) error {
	n, last, err := pageOf(r)
	if err != nil {
		return err
	}
	names, more, ok := s.names.tagsAfter(repo, last, n)
	if !ok {
		return statusError{http.StatusNotFound, "no such repository"}
	}
	return writePage(w, r, struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{repo, names}, names, n, more)
}

func (s *Server) catalog(w http.ResponseWriter, r *http.Request) error {
	n, last, err := pageOf(r)
	if err != nil {
		return err
	}
	names, more := s.names.reposAfter(last, n)
	return writePage(w, r, struct {
		Repositories []string `json:"repositories"`
	}{names}, names, n, more)
}

func pageOf(r *http.Request) (n int, last string, err error) {
	q := r.URL.Query()
	n = 1000
	if q.Has("n") {
		n, err = strconv.Atoi(q.Get("n"))
		if err != nil || n < 0 {
			return 0, "", statusError{http.StatusBadRequest, "n is not a number"}
		}
	}
	return n, q.Get("last"), nil
}

func writePage(w http.ResponseWriter, r *http.Request, page any, names []string, n int, more bool) error {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if more {
		next := url.Values{"n": {strconv.Itoa(n)}, "last": {names[len(names)-1]}}
		h.Set("Link", "<"+r.URL.Path+"?"+next.Encode()+`>; rel="next"`)
	}
	body, err := json.Marshal(page)
	if err != nil {
		return err
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, err = w.Write(body)
	return err
}
