//go:build linux

package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// accept lists every manifest type, so that a registry serves what it stored.
var accept = []string{
	"application/vnd.oci.image.index.v1+json",
	"application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
	"application/vnd.docker.distribution.manifest.v2+json",
}

// RandomImage makes an image of random layers, each of the given size in bytes.
func RandomImage(tb testing.TB, size int64, layers int) v1.Image {
	tb.Helper()
	img, err := random.Image(size, int64(layers))
	if err != nil {
		tb.Fatal(err)
	}
	return img
}

// Push sends an image to ref, host:port/repository:tag, and returns its digest.
func Push(tb testing.TB, img v1.Image, ref string) string {
	tb.Helper()
	r, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		tb.Fatal(err)
	}
	if err := remote.Write(r, img); err != nil {
		tb.Fatalf("pushing %s: %v", ref, err)
	}
	d, err := img.Digest()
	if err != nil {
		tb.Fatal(err)
	}
	return d.String()
}

// Digest returns the digest that the server gives for a manifest, reference
// being a tag or a digest. It also checks that digest against the bytes that
// are served, by GET and by HEAD.
func (s *Server) Digest(repo, reference string) string {
	s.tb.Helper()
	url := fmt.Sprintf("%s/v2/%s/manifests/%s", s.URL(), repo, reference)
	body, header := s.request(http.MethodGet, url)
	sum := sha256.Sum256(body)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	if got := header.Get("Docker-Content-Digest"); got != digest {
		s.tb.Errorf("GET %s: Docker-Content-Digest is %q, the bytes are %s", url, got, digest)
	}
	_, header = s.request(http.MethodHead, url)
	if got := header.Get("Docker-Content-Digest"); got != digest {
		s.tb.Errorf("HEAD %s: Docker-Content-Digest is %q, the bytes are %s", url, got, digest)
	}
	if got, want := header.Get("Content-Length"), fmt.Sprint(len(body)); got != want {
		s.tb.Errorf("HEAD %s: Content-Length is %s, the body has %s bytes", url, got, want)
	}
	return digest
}

// Status returns the status code of a GET of path, with every manifest type
// accepted.
func (s *Server) Status(path string) int {
	s.tb.Helper()
	resp, err := s.do(http.MethodGet, s.URL()+path)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func (s *Server) request(method, url string) ([]byte, http.Header) {
	s.tb.Helper()
	resp, err := s.do(method, url)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.tb.Fatalf("%s %s: %v", method, url, err)
	}
	if resp.StatusCode != http.StatusOK {
		s.tb.Fatalf("%s %s: %s: %s", method, url, resp.Status, body)
	}
	return body, resp.Header
}

func (s *Server) do(method, url string) (*http.Response, error) {
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header["Accept"] = accept
	return http.DefaultClient.Do(req)
}
