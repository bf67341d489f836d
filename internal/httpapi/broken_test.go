package httpapi_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"slipway/internal/oci"
	"slipway/internal/registry/registrytest"
)

// request is a request as it goes over the wire.
func request(method, path, header, body string) string {
	return method + " " + path + " HTTP/1.1\r\nHost: registry\r\n" + header + "\r\n" + body
}

func (s *server) offset(upload string, want int64) {
	s.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		got := s.do("GET", upload, nil).want(204).header.Get("Range")
		if got == fmt.Sprintf("0-%d", max(want-1, 0)) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("upload stands at %s, want %d bytes", got, want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// What arrived of a chunk before the connection was lost is kept, and the
// upload goes on from there, also after a restart.
func TestTruncatedPatch(t *testing.T) {
	for _, n := range []int{10, 50_000} {
		for _, transfer := range []string{"length", "chunked"} {
			t.Run(fmt.Sprint(n, transfer), func(t *testing.T) {
				s := start(t, options{})
				content := string(pattern(n))
				half := content[:n/2]
				upload := s.open("app")
				header, body := fmt.Sprintf("Content-Length: %d\r\n", n), half
				if transfer == "chunked" {
					header, body = "Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x\r\n%s\r\n", len(half), half) // no end
				}
				if got := s.raw(request("PATCH", upload, header, body)); !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, "BLOB_UPLOAD_INVALID") {
					t.Errorf("answer to a truncated chunk: %.300q", got)
				}
				s.offset(upload, int64(n/2))
				s.restart()
				s.offset(upload, int64(n/2))
				s.do("PATCH", upload, content[n/2:], "Content-Range", fmt.Sprintf("%d-%d", n/2, n-1)).want(202)
				s.do("PUT", upload+"?digest="+sha256Of([]byte(content)).String(), nil).want(201)
			})
		}
	}
}

func TestTruncatedClosingPut(t *testing.T) {
	for _, n := range []int{10, 50_000} {
		s := start(t, options{})
		content := string(pattern(n))
		d := sha256Of([]byte(content)).String()
		upload := s.open("app")
		got := s.raw(request("PUT", upload+"?digest="+d, fmt.Sprintf("Content-Length: %d\r\n", n), content[:n/2]))
		if !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("answer: %.300q", got)
		}
		s.do("GET", "/v2/app/blobs/"+d, nil).want(404)
		s.offset(upload, int64(n/2))
		s.do("PUT", upload+"?digest="+d, content[n/2:]).want(201)
		s.alive()
	}
}

func TestTruncatedPushesLeaveNothing(t *testing.T) {
	s := start(t, options{})
	s.PutBlob("app", imageConfig)
	before := s.Contents()
	content := string(pattern(50_000))
	manifest := string(registrytest.Image(imageConfig))
	for _, r := range []string{
		request("POST", "/v2/app/blobs/uploads/?digest="+sha256Of([]byte(content)).String(), "Content-Length: 50000\r\n", content[:25_000]),
		request("POST", "/v2/app/blobs/uploads/?digest="+sha256Of([]byte("abcdef")).String(), "Content-Length: 6\r\n", "abc"),
		request("PUT", "/v2/app/manifests/v1", fmt.Sprintf("Content-Type: %s\r\nContent-Length: %d\r\n", typeImage, len(manifest)), manifest[:len(manifest)-1]),
		// All of the document, but more was promised.
		request("PUT", "/v2/app/manifests/v1", fmt.Sprintf("Content-Type: %s\r\nContent-Length: %d\r\n", typeImage, len(manifest)+1), manifest),
		request("PUT", "/v2/app/manifests/v1", "Content-Type: "+typeImage+"\r\nTransfer-Encoding: chunked\r\n", fmt.Sprintf("%x\r\n%s\r\n", len(manifest), manifest)),
	} {
		if got := s.raw(r); !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, `"message":"`) {
			t.Errorf("answer to %.60q: %.300q", r, got)
		}
	}
	if now := s.Contents(); !before.Equal(now) {
		t.Errorf("something was written: %+v, before %+v", now, before)
	}
	s.alive()
}

// Bytes beyond Content-Length are no part of the blob; HTTP takes them for the
// next request.
func TestBodyLongerThanItsLength(t *testing.T) {
	s := start(t, options{})
	upload := s.open("app")
	got := s.raw(request("PATCH", upload, "Content-Length: 3\r\n", "abcdef"))
	if !strings.HasPrefix(got, "HTTP/1.1 202 ") {
		t.Errorf("answer: %.300q", got)
	}
	s.offset(upload, 3)
	s.do("PUT", upload+"?digest="+sha256Of([]byte("abc")).String(), nil).want(201)
}

// Without a length the body may go on after what Content-Range spans, or end
// before: that is refused, and the upload tells where it stands.
func TestBodyAndContentRangeDiffer(t *testing.T) {
	s := start(t, options{})
	upload := s.open("app")
	s.do("PATCH", upload, strings.NewReader("abcdef"), "Content-Range", "0-2").wantError(400, oci.CodeSizeInvalid)
	s.offset(upload, 3)
	s.do("PATCH", upload, strings.NewReader("d"), "Content-Range", "3-9").wantError(400, oci.CodeSizeInvalid)
	s.offset(upload, 4)
	s.do("PUT", upload+"?digest="+sha256Of([]byte("abcd")).String(), nil).want(201)
}

// What is not HTTP is net/http's affair; afterwards the server goes on.
func TestNotHTTP(t *testing.T) {
	s := start(t, options{})
	for _, r := range []string{
		"\x00\x00\x00\x00", "GET\r\n\r\n", "GET /v2/ HTTP/1.1\r\n\r\n", "GET /v2/\x00 HTTP/1.1\r\nHost: x\r\n\r\n", "GET /v2/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", // TLS
		request("GET", "/v2/", "X: "+strings.Repeat("a", 200_000)+"\r\n", ""),
		request("PATCH", s.open("app"), "Content-Length: -1\r\n", ""),
		request("PATCH", s.open("app"), "Content-Length: 1\r\nContent-Length: 2\r\n", "ab"),
		request("PATCH", s.open("app"), "Transfer-Encoding: chunked\r\n", "zz\r\n"),
	} {
		if got := s.raw(r); got != "" && !strings.HasPrefix(got, "HTTP/1.1 4") {
			t.Errorf("answer to %.60q: %.200q", r, got)
		}
		s.alive()
	}
}

// A client that stands still is let go after the stall time, and does not keep
// others waiting meanwhile.
func TestSlowBodies(t *testing.T) {
	const stall = 300 * time.Millisecond
	s := start(t, options{stall: stall})
	s.PutBlob("app", imageConfig)
	upload := s.open("app")
	begin := time.Now()
	var conns []net.Conn
	for _, r := range []string{
		request("PATCH", upload, "Content-Length: 100\r\n", "abc"),
		request("PUT", "/v2/app/manifests/v1", "Content-Length: 100\r\nContent-Type: "+typeImage+"\r\n", "{"),
		request("POST", "/v2/app/blobs/uploads/?digest="+absent, "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n"),
	} {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte(r)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	s.alive()
	if took := time.Since(begin); took > stall {
		t.Logf("others were answered after %s", took)
	}
	for _, conn := range conns {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		b := make([]byte, 100)
		n, err := conn.Read(b)
		if !strings.HasPrefix(string(b[:n]), "HTTP/1.1 400 ") {
			t.Errorf("answer to a stalled request: %q, %v", b[:n], err)
		}
		if took := time.Since(begin); took < stall {
			t.Errorf("ended after %s, before the stall time", took)
		}
	}
	s.offset(upload, 3) // and what arrived is kept
}

// Slow is not the same as standing still: as long as bytes come a request may
// take many times the stall time.
func TestSlowButSteadyBody(t *testing.T) {
	const stall = 400 * time.Millisecond
	s := start(t, options{stall: stall})
	upload := s.open("app")
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(request("PATCH", upload, "Content-Length: 12\r\n", ""))); err != nil {
		t.Fatal(err)
	}
	for range 12 {
		time.Sleep(stall / 4)
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 100)
	if n, err := conn.Read(b); !strings.HasPrefix(string(b[:n]), "HTTP/1.1 202 ") {
		t.Errorf("answer: %q, %v", b[:n], err)
	}
}
