package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"slipway/internal/auth"
	"slipway/internal/edge"
	"slipway/internal/httpapi"
	"slipway/internal/oci"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
)

// server is the API on a port of its own, over a real registry.
type server struct {
	*registrytest.Store
	t    testing.TB
	addr string
	api  *atomic.Pointer[httpapi.Handler]
	o    options
}

type options struct {
	registry  registry.Config
	stall     time.Duration
	hidden    string // prefix of repositories that the caller may not see
	anonymous auth.Anonymous
	log       io.Writer
}

func start(t testing.TB, o options) *server {
	if o.stall == 0 {
		o.stall = time.Minute
	}
	if o.anonymous == 0 {
		o.anonymous = auth.AnonymousAdmin
	}
	if o.log == nil {
		o.log = io.Discard
	}
	s := &server{t: t, o: o, api: new(atomic.Pointer[httpapi.Handler])}
	// Before the store, so that the port closes first.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.Store = registrytest.Open(t, o.registry, nil)
	s.serveStore()
	h := edge.NewServer(edge.Config{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.api.Load().ServeHTTP(w, r) }),
		Log:     slog.New(slog.NewTextHandler(o.log, nil)), Stall: o.stall,
	})
	go h.Serve(l) //nolint:errcheck // ends with Close
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Errorf("requests still run at the end of the test: %v", err)
			_ = h.Close()
		}
	})
	return s
}

func (s *server) serveStore() {
	authorize := func(_ *http.Request, a auth.Action, repository string) error {
		if s.o.hidden != "" && strings.HasPrefix(repository, s.o.hidden) {
			return oci.NewError(oci.CodeDenied, "not for you")
		}
		return s.o.anonymous.Authorize(a, repository)
	}
	s.api.Store(httpapi.New(httpapi.Config{
		Reader: s.Registry, Lister: s.Registry, Writer: s.Registry, Log: slog.New(slog.NewTextHandler(s.o.log, nil)),
		Authorize: authorize,
		Visible: func(r *http.Request) func(string) bool {
			return func(repository string) bool { return authorize(r, auth.Pull, repository) == nil }
		},
		Challenge: func(_ *http.Request, a auth.Action, repository string) string {
			return "Test " + string(a) + " " + repository
		},
		Caller: func(r *http.Request) (string, string) { return "anonymous", r.RemoteAddr },
	}))
}

// restart closes the data and opens it again.
func (s *server) restart() {
	s.Reopen()
	s.serveStore()
}

// answer is a response that was read to its end.
type answer struct {
	t      testing.TB
	asked  string
	status int
	header http.Header
	body   []byte
}

// do sends a request whose path is not cleaned or escaped. A body is nil,
// []byte, string or io.Reader; a reader is sent without a length.
func (s *server) do(method, path string, body any, header ...string) *answer {
	s.t.Helper()
	a, err := s.try(http.DefaultClient, method, path, body, header...)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (s *server) try(client *http.Client, method, path string, body any, header ...string) (*answer, error) {
	var r io.Reader
	switch b := body.(type) {
	case []byte:
		r = bytes.NewReader(b)
	case string:
		r = strings.NewReader(b)
	case io.Reader:
		r = io.MultiReader(b) // of unknown length
	}
	req, err := http.NewRequest(method, "http://"+s.addr+"/", r)
	if err != nil {
		return nil, err
	}
	path, query, _ := strings.Cut(path, "?")
	req.URL = &url.URL{Scheme: "http", Host: s.addr, Opaque: path, RawQuery: query}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return &answer{s.t, method + " " + path, resp.StatusCode, resp.Header, b}, nil
}

func (a *answer) want(status int, header ...string) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Errorf("%s: status %d, want %d\n%.300s", a.asked, a.status, status, a.body)
	}
	for i := 0; i < len(header); i += 2 {
		if got := a.header.Get(header[i]); got != header[i+1] {
			a.t.Errorf("%s: %s is %q, want %q", a.asked, header[i], got, header[i+1])
		}
	}
	return a
}

// wantError wants the specification's error with a message for people. HEAD
// has no body to look at.
func (a *answer) wantError(status int, code oci.Code) *answer {
	a.t.Helper()
	a.want(status)
	if strings.HasPrefix(a.asked, "HEAD ") {
		return a
	}
	var doc struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(a.body, &doc); err != nil || len(doc.Errors) != 1 {
		a.t.Errorf("%s: not an error document: %.300q", a.asked, a.body)
		return a
	}
	if doc.Errors[0].Code != string(code) || doc.Errors[0].Message == "" {
		a.t.Errorf("%s: error %+v, want %s with a message", a.asked, doc.Errors[0], code)
	}
	if !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		a.t.Errorf("%s: error with Content-Type %q", a.asked, a.header.Get("Content-Type"))
	}
	return a
}

func (a *answer) json(v any) {
	a.t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		a.t.Errorf("%s: %v: %.300q", a.asked, err, a.body)
	}
}

// alive wants the server to answer as if nothing had been.
func (s *server) alive() {
	s.t.Helper()
	s.do("GET", "/v2/", nil).want(200, "Docker-Distribution-Api-Version", "registry/2.0")
}

// raw sends bytes as they are, closes the sending half, and returns all that
// comes back.
func (s *server) raw(request string) string {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		s.t.Fatal(err)
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	b, _ := io.ReadAll(conn) // a reset ends it too
	return string(b)
}

// open starts an upload and returns the path of its Location.
func (s *server) open(repository string) string {
	s.t.Helper()
	return s.do("POST", "/v2/"+repository+"/blobs/uploads/", nil).want(202).header.Get("Location")
}

func sha256Of(b []byte) oci.Digest { return oci.FromBytes(oci.SHA256, b) }

const (
	typeImage = oci.MediaTypeImageManifest
	typeIndex = oci.MediaTypeImageIndex
)

var imageConfig = []byte(`{"architecture":"amd64","os":"linux"}`)

// putManifest pushes by the API.
func (s *server) putManifest(repository, reference, mediaType string, content []byte) *answer {
	s.t.Helper()
	return s.do("PUT", fmt.Sprintf("/v2/%s/manifests/%s", repository, reference), content, "Content-Type", mediaType)
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}
