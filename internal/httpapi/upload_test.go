package httpapi_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"slipway/internal/oci"
)

// pushes are the ways in which clients send a blob.
var pushes = []struct {
	name string
	push func(s *server, content []byte, d oci.Digest) *answer
}{
	{"POST with everything", func(s *server, content []byte, d oci.Digest) *answer {
		return s.do("POST", "/v2/app/blobs/uploads/?digest="+d.String(), content, "Content-Type", "application/octet-stream")
	}},
	{"POST with everything, without length", func(s *server, content []byte, d oci.Digest) *answer {
		return s.do("POST", "/v2/app/blobs/uploads/?digest="+d.String(), bytes.NewBuffer(content))
	}},
	{"POST then PUT", func(s *server, content []byte, d oci.Digest) *answer {
		return s.do("PUT", s.open("app")+"?digest="+d.String(), content)
	}},
	{"POST that names the digest, then PUT", func(s *server, content []byte, d oci.Digest) *answer {
		a := s.do("POST", "/v2/app/blobs/uploads/?digest="+d.String(), nil)
		if len(content) == 0 {
			return a // there was nothing more to send
		}
		return s.do("PUT", a.want(202).header.Get("Location")+"?digest="+d.String(), content)
	}},
	{"one streamed PATCH without length", func(s *server, content []byte, d oci.Digest) *answer {
		upload := s.open("app")
		s.do("PATCH", upload, bytes.NewBuffer(content)).want(202, "Range", fmt.Sprintf("0-%d", max(len(content)-1, 0)))
		return s.do("PUT", upload+"?digest="+d.String(), nil)
	}},
	{"chunks", func(s *server, content []byte, d oci.Digest) *answer {
		return s.chunks(s.open("app"), content, d, func() {})
	}},
	{"chunks with the algorithm named at the start", func(s *server, content []byte, d oci.Digest) *answer {
		upload := s.do("POST", "/v2/app/blobs/uploads/?digest-algorithm="+d.Algorithm().String(), nil).want(202).header.Get("Location")
		return s.chunks(upload, content, d, func() {})
	}},
	{"chunks with a restart after each", func(s *server, content []byte, d oci.Digest) *answer {
		return s.chunks(s.open("app"), content, d, s.restart)
	}},
	{"the last chunk in the closing PUT", func(s *server, content []byte, d oci.Digest) *answer {
		upload, half := s.open("app"), len(content)/2
		if half > 0 {
			s.do("PATCH", upload, content[:half], "Content-Range", fmt.Sprintf("0-%d", half-1)).want(202)
		}
		if half == len(content) {
			return s.do("PUT", upload+"?digest="+d.String(), nil)
		}
		return s.do("PUT", upload+"?digest="+d.String(), content[half:], "Content-Range", fmt.Sprintf("%d-%d", half, len(content)-1))
	}},
}

// chunks sends three chunks and closes the upload.
func (s *server) chunks(upload string, content []byte, d oci.Digest, between func()) *answer {
	s.t.Helper()
	at := 0
	for i := range 3 {
		end := len(content) * (i + 1) / 3
		if end == at {
			continue
		}
		a := s.do("PATCH", upload, content[at:end], "Content-Range", fmt.Sprintf("%d-%d", at, end-1), "Content-Type", "application/octet-stream")
		a.want(202, "Range", fmt.Sprintf("0-%d", end-1))
		upload, at = a.header.Get("Location"), end
		between()
		s.do("GET", upload, nil).want(204, "Range", fmt.Sprintf("0-%d", end-1), "Location", upload)
	}
	return s.do("PUT", upload+"?digest="+d.String(), nil)
}

func TestPush(t *testing.T) {
	s := start(t, options{})
	// 16 KiB is the border between the database and files.
	for _, size := range []int{0, 1, 16<<10 - 1, 16 << 10, 16<<10 + 1, 1 << 20} {
		for _, algorithm := range []oci.Algorithm{oci.SHA256, oci.SHA512} {
			for i, p := range pushes {
				t.Run(fmt.Sprintf("%d/%s/%s", size, algorithm, p.name), func(t *testing.T) {
					here := *s
					here.t = t
					content := pattern(size)
					if size > 2 {
						content[0], content[1] = byte(i), byte(len(algorithm)) // every push brings bytes of its own
					}
					d := oci.FromBytes(algorithm, content)
					path := "/v2/app/blobs/" + d.String()
					p.push(&here, content, d).want(201, "Location", path, "Docker-Content-Digest", d.String())
					s.api.Store(here.api.Load())
					s.Store = here.Store
					a := here.do("GET", path, nil).want(200, "Docker-Content-Digest", d.String(), "Content-Length", fmt.Sprint(size), "Content-Type", "application/octet-stream")
					if !bytes.Equal(a.body, content) {
						t.Errorf("pulled %d bytes, want %d, or they differ", len(a.body), size)
					}
					here.do("HEAD", path, nil).want(200, "Docker-Content-Digest", d.String(), "Content-Length", fmt.Sprint(size))
				})
			}
		}
	}
	if c := s.Contents(); c.Rows["uploads"] != 0 {
		t.Errorf("%d rows of uploads are left", c.Rows["uploads"])
	}
	for file := range s.Contents().Files {
		if strings.HasPrefix(file, "uploads/") {
			t.Errorf("left behind: %s", file)
		}
	}
}

func TestLocationIsAPathWithoutHost(t *testing.T) {
	s := start(t, options{})
	for _, header := range [][]string{nil, {"X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil.example"}, {"Forwarded", "host=evil.example;proto=https"}} {
		a := s.do("POST", "/v2/app/blobs/uploads/", nil, header...).want(202, "Range", "0-0")
		if l := a.header.Get("Location"); !strings.HasPrefix(l, "/v2/app/blobs/uploads/") {
			t.Errorf("Location %q with %v", l, header)
		}
	}
	s.do("POST", "/v2/app/blobs/uploads", nil).want(202) // without the last slash too
}

// "Range: 0-0" means both no byte and one; only the server knows which.
func TestRangeOfAnEmptyUploadAndOfOneByte(t *testing.T) {
	s := start(t, options{})
	upload := s.open("app")
	s.do("GET", upload, nil).want(204, "Range", "0-0")
	s.do("PATCH", upload, "a", "Content-Range", "0-0").want(202, "Range", "0-0")
	s.do("PATCH", upload, "b", "Content-Range", "0-0").wantError(416, oci.CodeRangeInvalid).want(416, "Range", "0-0", "Location", upload)
	s.do("PATCH", upload, "b", "Content-Range", "1-1").want(202, "Range", "0-1")
	s.do("PUT", upload+"?digest="+sha256Of([]byte("ab")).String(), nil).want(201)
}

func TestCancel(t *testing.T) {
	s := start(t, options{})
	for _, content := range [][]byte{nil, []byte("small"), pattern(100_000)} {
		upload := s.open("app")
		if content != nil {
			s.do("PATCH", upload, content).want(202)
		}
		s.do("DELETE", upload, nil).want(204)
		for _, method := range []string{"GET", "PATCH", "DELETE"} {
			s.do(method, upload, nil).wantError(404, oci.CodeBlobUploadUnknown)
		}
		s.do("PUT", upload+"?digest="+sha256Of(content).String(), nil).wantError(404, oci.CodeBlobUploadUnknown)
	}
	if c := s.Contents(); len(c.Files) != 0 || c.Rows["blobs"] != 0 {
		t.Errorf("left behind: %+v", c)
	}
}

func TestWrongDigestLeavesTheUpload(t *testing.T) {
	s := start(t, options{})
	for _, n := range []int{5, 100_000} {
		upload, content := s.open("app"), pattern(n)
		s.do("PATCH", upload, content).want(202)
		s.do("PUT", upload+"?digest="+absent, nil).wantError(400, oci.CodeDigestInvalid)
		s.do("PUT", upload+"?digest="+absent, "more").wantError(400, oci.CodeDigestInvalid)
		s.do("PUT", upload+"?digest="+absent, pattern(20_000)).wantError(400, oci.CodeDigestInvalid)
		s.do("GET", upload, nil).want(204, "Range", fmt.Sprintf("0-%d", n-1))
		s.do("PATCH", upload, "end", "Content-Range", fmt.Sprintf("%d-%d", n, n+2)).want(202)
		s.do("PUT", upload+"?digest="+sha256Of(append(content, "end"...)).String(), nil).want(201)
	}
}

// A client whose answer was lost sends the same again.
func TestPushingTwice(t *testing.T) {
	s := start(t, options{})
	for _, content := range [][]byte{[]byte("x"), pattern(100_000)} {
		d := sha256Of(content)
		for range 2 {
			s.do("PUT", s.open("app")+"?digest="+d.String(), content).want(201)
		}
		upload := s.open("app")
		s.do("PATCH", upload, content).want(202)
		s.do("PUT", upload+"?digest="+d.String(), nil).want(201)
	}
	if c := s.Contents(); len(c.Files) != 1 || c.Rows["blobs"] != 2 || c.Rows["members"] != 2 || c.Rows["uploads"] != 0 {
		t.Errorf("%+v", c)
	}
}

// Opening an upload writes nothing, so that whoever opens them by the thousand
// costs nothing.
func TestThousandsOfOpenUploads(t *testing.T) {
	s := start(t, options{})
	before, size := s.Contents(), s.DB.Size()
	ids := sync.Map{}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for range 500 {
				a, err := s.try(client, "POST", "/v2/app/blobs/uploads/", nil)
				if err != nil || a.status != 202 {
					t.Errorf("POST: %v, %v", a, err)
					return
				}
				if _, twice := ids.LoadOrStore(a.header.Get("Location"), true); twice {
					t.Error("an upload's address was given out twice")
				}
			}
		})
	}
	wg.Wait()
	if !before.Equal(s.Contents()) || s.DB.Size() != size {
		t.Errorf("something was written: %+v, %d bytes, before %d", s.Contents(), s.DB.Size(), size)
	}
	ids.Range(func(l, _ any) bool {
		s.do("PUT", l.(string)+"?digest="+sha256Of([]byte("x")).String(), "x").want(201)
		return false // one is enough
	})
}

// Requests for one upload take turns; whatever comes of them, its digest is
// that of the bytes that were accepted, in order.
func TestConcurrentChunks(t *testing.T) {
	s := start(t, options{})
	upload := s.open("app")
	const n = 20_000
	var mu sync.Mutex
	var accepted []byte
	var wg sync.WaitGroup
	for i := range 8 {
		chunk := bytes.Repeat([]byte{byte('a' + i)}, n)
		wg.Go(func() {
			for at := range 8 {
				a, err := s.try(http.DefaultClient, "PATCH", upload, chunk, "Content-Range", fmt.Sprintf("%d-%d", at*n, (at+1)*n-1))
				switch {
				case err != nil:
					t.Error(err)
				case a.status == 202:
					mu.Lock()
					accepted = append(accepted, chunk...)
					mu.Unlock()
				case a.status != 416 && a.status != 409:
					t.Errorf("status %d: %s", a.status, a.body)
				}
			}
		})
	}
	wg.Wait()
	if len(accepted) == 0 {
		t.Fatal("no chunk was accepted")
	}
	s.do("GET", upload, nil).want(204, "Range", fmt.Sprintf("0-%d", len(accepted)-1))
	// The order of the answers may differ from that of the chunks.
	wrong := s.do("PUT", upload+"?digest="+absent, nil).wantError(400, oci.CodeDigestInvalid)
	var doc struct {
		Errors []struct{ Detail struct{ Received string } }
	}
	wrong.json(&doc)
	d := doc.Errors[0].Detail.Received
	s.do("PUT", upload+"?digest="+d, nil).want(201)
	content := s.do("GET", "/v2/app/blobs/"+d, nil).want(200).body
	if sha256Of(content).String() != d || len(content) != len(accepted) {
		t.Errorf("the blob has %d bytes and digest %s", len(content), sha256Of(content))
	}
	for at := 0; at < len(content); at += n {
		if chunk := content[at : at+n]; !bytes.Equal(chunk, bytes.Repeat(chunk[:1], n)) {
			t.Errorf("the chunk at %d is mixed from several", at)
		}
	}
}
