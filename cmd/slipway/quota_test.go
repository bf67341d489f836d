//go:build unix

package main

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"slipway/internal/oci"
)

func pushOf(t *testing.T, url, repository string, size int64) error {
	t.Helper()
	image, err := random.Image(size, 1)
	if err != nil {
		t.Fatal(err)
	}
	return pushThis(t, url, repository, image)
}

func pushThis(t *testing.T, url, repository string, image v1.Image) error {
	t.Helper()
	ref, err := name.ParseReference(strings.TrimPrefix(url, "http://")+"/"+repository+":1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return remote.Write(ref, image)
}

// wantRefusal checks what a client is told.
func wantRefusal(t *testing.T, err error, status int, says string) {
	t.Helper()
	var e *transport.Error
	if !errors.As(err, &e) || e.StatusCode != status || !strings.Contains(e.Error(), says) {
		t.Errorf("got %v, want %d with %q", err, status, says)
	}
}

func TestQuotaEndToEnd(t *testing.T) {
	data := t.TempDir()
	c := gcCommandLine(t, data)
	s := serveSettings{store: storeSettings{data: data, quota: &quotaSettings{total: 3 << 20, repository: 1 << 20}}, anonymous: "admin"}
	url, stop := serving(t, s)
	if err := pushOf(t, url, "team/app", 700<<10); err != nil {
		t.Fatal(err)
	}
	more, err := random.Image(700<<10, 1)
	if err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, pushThis(t, url, "team/app", more), http.StatusRequestEntityTooLarge, "DENIED: the quota of repository team/app is 1.0 MiB")
	c.saying("quota --data DIR", "team/app", "69%", "quota.repository", "quota.total")

	c.saying("quota team/app 2MiB --data DIR", "team/app: at most 2.0 MiB")
	if err := pushThis(t, url, "team/app", more); err != nil {
		t.Errorf("after the limit was raised: %v", err)
	}
	c.saying("quota team/app none --data DIR", "no limit")
	c.saying("audit --data DIR --action repository.settings", "quota_bytes: 2097152", "quota_bytes: 0")
	wantRefusal(t, pushOf(t, url, "team/app", 2<<20), http.StatusInsufficientStorage, "the quota of the whole registry is 3.0 MiB")

	// A body without a length is cut off; the rest is not read.
	body := &sent{r: io.LimitReader(zeros{}, 1<<30)}
	r, err := http.NewRequest(http.MethodPost, url+"/v2/other/app/blobs/uploads/?digest="+oci.FromBytes(oci.SHA256, nil).String(), body)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(r); err == nil { // else the connection was closed while it sent
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("a body without a length: %s", resp.Status)
		}
	}
	if n := body.n.Load(); n > 64<<20 {
		t.Errorf("%d bytes were sent", n)
	}
	c.saying("quota team/app default --data DIR", "quota.repository")
	stop()

	// Without a server, a command knows what it was set to.
	c.saying("quota --data DIR", "137%", "3.0 MiB")
	for _, line := range []string{"quota team/app --data DIR", "quota team/app 0 --data DIR", "quota team/app much --data DIR"} {
		if code, _, stderr := c.run(line); code != exitUsage {
			t.Errorf("%s: %d %s", line, code, stderr)
		}
	}
	if code, _, stderr := c.run("quota no/such 1GiB --data DIR"); code != exitFailure || !strings.Contains(stderr, "no/such") {
		t.Errorf("%d %s", code, stderr)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type sent struct {
	r io.Reader
	n atomic.Int64 // the transport may go on reading after the answer
}

func (s *sent) Read(p []byte) (int, error) { n, err := s.r.Read(p); s.n.Add(int64(n)); return n, err }
