package httpapi_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"

	"slipway/internal/oci"
)

func TestRanges(t *testing.T) {
	s := start(t, options{})
	for _, n := range []int{10_000, 20_000} { // in the database, in a file
		content := pattern(n)
		path := "/v2/app/blobs/" + s.PutBlob("app", content).String()
		etag := s.do("GET", path, nil).want(200, "Accept-Ranges", "bytes").header.Get("ETag")
		for _, c := range []struct {
			header     string
			from, to   int // the part that is served
			status     int
			conditions []string
		}{
			{"bytes=0-0", 0, 1, 206, nil},
			{"bytes=5-9", 5, 10, 206, nil},
			{"bytes=5-", 5, n, 206, nil},
			{"bytes=-3", n - 3, n, 206, nil},
			{"bytes=5-99999999", 5, n, 206, nil},
			{"bytes=-99999999", 0, n, 206, nil},
			{fmt.Sprintf("bytes=%d-", n-1), n - 1, n, 206, nil},
			{"bytes=5-9", 5, 10, 206, []string{"If-Range", etag}},
			{"bytes=5-9", 0, n, 200, []string{"If-Range", `"another"`}},
			{fmt.Sprintf("bytes=%d-", n), 0, n, 200, []string{"If-Range", `"another"`}},
			{"bytes=5-9", 0, 0, 304, []string{"If-None-Match", etag}},
			{"bytes=99999999-,5-9", 5, 10, 206, nil},
			// What is malformed does not count.
			{"bytes", 0, n, 200, nil},
			{"bytes=", 0, n, 200, nil},
			{"bytes=x-y", 0, n, 200, nil},
			{"bytes=-", 0, n, 200, nil},
			{"bytes=--5", 0, n, 200, nil},
			{"bytes=+5-9", 0, n, 200, nil},
			{"bytes=99999999999999999999-", 0, n, 200, nil},
			{"lines=5-9", 0, n, 200, nil},
		} {
			a := s.do("GET", path, nil, append([]string{"Range", c.header}, c.conditions...)...).want(c.status)
			if !bytes.Equal(a.body, content[c.from:c.to]) {
				t.Errorf("Range %s %v: %d bytes, want %d", c.header, c.conditions, len(a.body), c.to-c.from)
			}
			if c.status == 206 {
				a.want(206, "Content-Range", fmt.Sprintf("bytes %d-%d/%d", c.from, c.to-1, n), "Content-Length", fmt.Sprint(c.to-c.from), "ETag", etag)
			}
		}
		for _, header := range []string{fmt.Sprintf("bytes=%d-", n), "bytes=99999999-99999999", "bytes=-0", "bytes=20000-,30000-40000", "bytes=9-5", "bytes=5-9,9-5"} {
			s.do("GET", path, nil, "Range", header).wantError(416, oci.CodeRangeInvalid).want(416, "Content-Range", fmt.Sprintf("bytes */%d", n))
		}
	}
	// Some clients ask for a range of everything; of nothing that is nothing.
	s.do("GET", "/v2/app/blobs/"+s.PutBlob("app", nil).String(), nil, "Range", "bytes=0-").want(200, "Content-Length", "0")
}

// Clients fetch one large blob over several connections.
func TestParallelRanges(t *testing.T) {
	s := start(t, options{})
	content := make([]byte, 3<<20)
	rnd := rand.NewChaCha8([32]byte{})
	_, _ = rnd.Read(content)
	path := "/v2/app/blobs/" + s.PutBlob("app", content).String()
	got := make([]byte, len(content))
	const part = 200_000
	var wg sync.WaitGroup
	for at := 0; at < len(content); at += part {
		wg.Go(func() {
			end := min(at+part, len(content))
			a, err := s.try(http.DefaultClient, "GET", path, nil, "Range", fmt.Sprintf("bytes=%d-%d", at, end-1))
			if err != nil || a.status != 206 {
				t.Error(a, err)
				return
			}
			copy(got[at:end], a.body)
		})
	}
	wg.Wait()
	if !bytes.Equal(got, content) {
		t.Error("the parts do not make the whole")
	}
}

func TestBlobsAreNeverEncoded(t *testing.T) {
	s := start(t, options{})
	content := bytes.Repeat([]byte("<html>"), 10_000)
	path := "/v2/app/blobs/" + s.PutBlob("app", content).String()
	a := s.do("GET", path, nil, "Accept-Encoding", "gzip, zstd, br").want(200, "Content-Encoding", "", "Content-Type", "application/octet-stream", "X-Content-Type-Options", "nosniff")
	if !bytes.Equal(a.body, content) {
		t.Error("the bytes differ")
	}
}
