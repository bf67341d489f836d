package mirror_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway/internal/auth"
	"slipway/internal/httpapi"
	"slipway/internal/mirror"
	"slipway/internal/oci"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
)

// upstream is a real registry on a port, which counts what it is asked and
// misbehaves on demand.
type upstream struct {
	*registrytest.Store
	*httptest.Server

	mu    sync.Mutex
	asked []string // "GET /v2/…"
	with  []http.Header
	// before may answer a request itself, and returns true then.
	before func(w http.ResponseWriter, r *http.Request) bool
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{Store: registrytest.Open(t, registry.Config{Sparse: registry.SparseAll}, nil)}
	api := handler(u.Registry, nil)
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.asked = append(u.asked, r.Method+" "+r.URL.Path)
		u.with = append(u.with, r.Header.Clone())
		before := u.before
		u.mu.Unlock()
		if before == nil || !before(w, r) {
			api.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(u.Server.Close)
	return u
}

func (u *upstream) misbehave(before func(w http.ResponseWriter, r *http.Request) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.before = before
}

// requests returns those since the last call.
func (u *upstream) requests() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	asked := u.asked
	u.asked, u.with = nil, nil
	return asked
}

func handler(r interface {
	httpapi.Reader
	httpapi.Lister
	httpapi.Writer
}, canonical func(string, string) (string, error)) *httpapi.Handler {
	return httpapi.New(httpapi.Config{
		Reader: r, Lister: r, Writer: r, Log: slog.New(slog.DiscardHandler), Canonical: canonical,
		Authorize: func(*http.Request, auth.Action, string) error { return nil },
		Visible:   func(*http.Request) func(string) bool { return func(string) bool { return true } },
		Caller:    func(*http.Request) (string, string) { return "test", "" },
	})
}

// local is the mirror under test, on a port.
type local struct {
	t     *testing.T
	store *registrytest.Store
	clock *registrytest.Clock
	c     mirror.Config
	*mirror.Mirror
	server *httptest.Server
	log    *lines
	spool  string
}

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newLocal(t *testing.T, c mirror.Config) *local {
	l := &local{t: t, clock: registrytest.NewClock(), c: c, log: &lines{}}
	l.store = registrytest.Open(t, registry.Config{}, l.clock)
	l.open()
	t.Cleanup(l.close)
	return l
}

func (l *local) open() {
	l.t.Helper()
	c := l.c
	c.Registry = l.store.Registry
	c.Log = slog.New(slog.NewTextHandler(l.log, nil))
	l.spool = l.t.TempDir()
	c.Spool = l.spool
	if c.Stall == 0 {
		c.Stall = 20 * time.Second
	}
	var err error
	if l.Mirror, err = mirror.Open(c); err != nil {
		l.t.Fatal(err)
	}
	l.server = httptest.NewServer(handler(l.Mirror, l.Canonical))
}

func (l *local) close() {
	l.server.Close()
	l.Mirror.Close()
}

// reopen is a restart.
func (l *local) reopen() {
	l.t.Helper()
	l.close()
	l.store.Reopen()
	l.open()
}

// get pulls an address below /v2/ and returns all of the answer.
func (l *local) get(path string, header ...string) (*http.Response, []byte, error) {
	l.t.Helper()
	req, err := http.NewRequest(http.MethodGet, l.server.URL+"/v2/"+path, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// want pulls and compares.
func (l *local) want(path string, content []byte) *http.Response {
	l.t.Helper()
	resp, body, err := l.get(path)
	if err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(body, content) {
		l.t.Fatalf("GET %s: status %d, %d bytes %.300q, %v; want %d bytes", path, resp.StatusCode, len(body), body, err, len(content))
	}
	return resp
}

// refused pulls what must fail, and returns the message.
func (l *local) refused(path string, status int) string {
	l.t.Helper()
	resp, body, err := l.get(path)
	if err != nil || resp.StatusCode != status {
		l.t.Fatalf("GET %s: status %d, %.300q, %v; want %d", path, resp.StatusCode, body, err, status)
	}
	var e struct{ Errors []oci.Error }
	if err := json.Unmarshal(body, &e); err != nil || len(e.Errors) != 1 {
		l.t.Fatalf("GET %s: %q is no error", path, body)
	}
	return e.Errors[0].Error()
}

func mirrorOf(u *upstream) mirror.Config {
	return mirror.Config{Upstreams: []mirror.Upstream{{Name: "docker.io", URL: u.URL}}, MaxAge: time.Hour}
}

// random is content that no test has seen before.
func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(rand.Uint32())})
	_, _ = r.Read(b)
	return b
}

func digestOf(b []byte) string { return oci.FromBytes(oci.SHA256, b).String() }

var config = []byte(`{"architecture":"amd64","os":"linux"}`)

func TestPull(t *testing.T) {
	u := newUpstream(t)
	layer, other := random(300_000), random(5)
	u.PutImage("library/debian", "", layer)
	u.PutImage("library/debian", "", other)
	amd64, arm64 := registrytest.Image(config, layer), registrytest.Image(config, other)
	index := registrytest.Index(amd64, arm64)
	u.PutManifest("library/debian", index, "bookworm")
	l := newLocal(t, mirrorOf(u))
	u.requests()

	for i, way := range []struct{ name, ns string }{
		{"docker.io/library/debian", ""},
		{"docker.io/debian", ""},
		{"library/debian", "?ns=docker.io"},
	} {
		for _, content := range [][]byte{index, amd64} {
			l.want(way.name+"/manifests/"+digestOf(content)+way.ns, content)
		}
		resp := l.want(way.name+"/manifests/bookworm"+way.ns, index)
		if got := resp.Header.Get("Docker-Content-Digest"); got != digestOf(index) {
			t.Errorf("%v: digest %s", way, got)
		}
		if w := resp.Header.Get("Warning"); w != "" {
			t.Errorf("%v: warning %s", way, w)
		}
		for _, content := range [][]byte{layer, config} {
			l.want(way.name+"/blobs/"+digestOf(content)+way.ns, content)
		}
		asked := u.requests()
		if want := map[bool]int{true: 5, false: 0}[i == 0]; len(asked) != want {
			t.Errorf("%v: the upstream was asked %d times, not %d: %v", way, len(asked), want, asked)
		}
	}

	// A restart loses nothing; without an upstream a hit is a hit.
	u.Server.Close()
	l.reopen()
	l.want("docker.io/library/debian/manifests/bookworm", index)
	l.want("docker.io/library/debian/manifests/"+digestOf(amd64), amd64)
	l.want("docker.io/library/debian/blobs/"+digestOf(layer), layer)
	l.refused("docker.io/library/debian/manifests/"+digestOf(arm64), http.StatusServiceUnavailable)

	if resp, body, _ := l.get("docker.io/library/debian/tags/list"); !strings.Contains(string(body), `"bookworm"`) {
		t.Errorf("tags: %d %s", resp.StatusCode, body)
	}
}

func TestNames(t *testing.T) {
	u := newUpstream(t)
	u.PutImage("team/app", "1")
	c := mirrorOf(u)
	c.Upstreams = append(c.Upstreams, mirror.Upstream{Name: "ghcr.io", URL: u.URL}, mirror.Upstream{Name: "corp", URL: u.URL + "/team/"})
	l := newLocal(t, c)
	l.store.PutImage("own/app", "1")
	l.store.PutImage("library/debian", "local")
	u.requests()
	tests := []struct {
		path    string
		status  int
		message string
	}{
		{"ghcr.io/team/app/manifests/1", 200, ""},
		{"team/app/manifests/1?ns=ghcr.io", 200, ""},
		{"corp/app/manifests/1", 200, ""},
		{"own/app/manifests/1", 200, ""},
		{"own/app/manifests/2", 404, "repository own/app has no tag 2"},
		{"ghcr.io/team/app/manifests/2", 404, "upstream ghcr.io has nothing of that name in team/app"},
		{"ghcr.io/team/none/manifests/1", 404, "upstream ghcr.io"},
		{"ghcr.io/team/app/blobs/" + digestOf(nil), 404, "neither this registry nor upstream ghcr.io has blob"},
		{"quay.io/team/app/manifests/1", 404, "there is no repository quay.io/team/app"},
		{"team/app/manifests/1?ns=quay.io", 404, `does not mirror "quay.io"`},
		{"own/app/manifests/1?ns=quay.io", 404, `does not mirror "quay.io"`},
		// A local repository is never taken for an upstream's.
		{"library/debian/manifests/local?ns=docker.io", 404, "upstream docker.io has nothing"},
		{"team/app/manifests/1?ns=ghcr.io/x", 404, "does not mirror"},
		{"docker.io/manifests/1", 404, "there is no repository docker.io"},
	}
	for _, tt := range tests {
		if tt.status == 200 {
			if resp, body, err := l.get(tt.path); err != nil || resp.StatusCode != 200 {
				t.Errorf("%s: %d %s %v", tt.path, resp.StatusCode, body, err)
			}
			continue
		}
		if got := l.refused(tt.path, tt.status); !strings.Contains(got, tt.message) {
			t.Errorf("%s: %s", tt.path, got)
		}
	}
	for _, name := range u.requests() {
		if strings.Contains(name, "own/app") {
			t.Errorf("the upstream heard of a local repository: %s", name)
		}
	}
}

func TestResolve(t *testing.T) {
	u := newUpstream(t)
	d := u.PutImage("library/debian", "bookworm", []byte("a"))
	l := newLocal(t, mirrorOf(u))
	own := l.store.PutImage("own", "1", []byte("b"))
	imported := l.store.PutImage("docker.io/library/alpine", "3", []byte("c"))
	ctx := context.Background()
	check := func(name, reference string, want mirror.Resolution) {
		t.Helper()
		ref, err := oci.ParseReference(reference)
		if err != nil {
			t.Fatal(err)
		}
		got, err := l.Resolve(ctx, name, ref)
		want.MediaType, want.Size = oci.MediaTypeImageManifest, got.Size
		if err != nil || got != want || got.Size == 0 {
			t.Errorf("%s:%s: got %+v, %v; want %+v", name, reference, got, err, want)
		}
	}
	check("docker.io/debian", "bookworm", mirror.Resolution{Digest: d, From: mirror.FromUpstream})
	check("docker.io/library/debian", "bookworm", mirror.Resolution{Digest: d, From: mirror.FromCache})
	check("docker.io/library/debian", d.String(), mirror.Resolution{Digest: d, From: mirror.FromCache})
	check("own", "1", mirror.Resolution{Digest: own, From: mirror.FromRegistry})
	check("docker.io/library/alpine", "3", mirror.Resolution{Digest: imported, From: mirror.FromImport})
	u.Server.Close()
	l.clock.Advance(2 * time.Hour)
	check("docker.io/library/debian", "bookworm", mirror.Resolution{Digest: d, From: mirror.FromCache, Stale: true})
	check("docker.io/library/alpine", "3", mirror.Resolution{Digest: imported, From: mirror.FromImport})
	if _, err := l.Resolve(ctx, "docker.io/library/debian", oci.Reference{Tag: "trixie"}); !oci.HasCode(err, oci.CodeUpstreamDown) {
		t.Errorf("without an upstream: %v", err)
	}
}

func TestOffline(t *testing.T) {
	u := newUpstream(t)
	layer := random(20_000)
	u.PutImage("library/debian", "bookworm", layer)
	image := registrytest.Image(config, layer)
	l := newLocal(t, mirrorOf(u))
	l.want("docker.io/library/debian/manifests/bookworm", image)
	l.c.Offline = true
	l.reopen()
	u.requests()
	l.clock.Advance(1000 * time.Hour)
	resp := l.want("docker.io/library/debian/manifests/bookworm", image)
	if w := resp.Header.Get("Warning"); !strings.HasPrefix(w, `110 slipway "last confirmed`) {
		t.Errorf("Warning is %q", w)
	}
	for path, name := range map[string]string{
		"docker.io/library/debian/manifests/trixie":                "docker.io/library/debian:trixie",
		"docker.io/library/debian/manifests/" + digestOf(nil):      digestOf(nil),
		"docker.io/library/debian/blobs/" + digestOf(layer):        digestOf(layer),
		"docker.io/never/heard/manifests/1":                        "docker.io/never/heard:1",
		"docker.io/never/heard/blobs/" + digestOf([]byte("never")): digestOf([]byte("never")),
	} {
		if got := l.refused(path, http.StatusNotFound); !strings.Contains(got, name) || !strings.Contains(got, "mirror.offline") {
			t.Errorf("%s: %s", path, got)
		}
	}
	if asked := u.requests(); len(asked) > 0 {
		t.Errorf("offline, the upstream was asked %v", asked)
	}
}

func TestBadConfiguration(t *testing.T) {
	s := registrytest.Open(t, registry.Config{}, nil)
	for want, u := range map[string]mirror.Upstream{
		"first part of a repository's name": {Name: "host:5000"},
		"must be like https://host":         {Name: "a.example", URL: "ftp://a.example"},
		"without credentials":               {Name: "a.example", URL: "https://user:secret@a.example"},
		"without /v2":                       {Name: "a.example", URL: "https://a.example/v2"},
		"names begin with there":            {Name: "a.example", URL: "https://a.example/A"},
		"belong together":                   {Name: "a.example", Username: "me"},
	} {
		_, err := mirror.Open(mirror.Config{Registry: s.Registry, Upstreams: []mirror.Upstream{u}})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", u, err)
		}
	}
	if _, err := mirror.Open(mirror.Config{Registry: s.Registry, Upstreams: []mirror.Upstream{{Name: "a.example"}, {Name: "a.example"}}}); err == nil {
		t.Error("an upstream twice is accepted")
	}
}

// fail answers with a status.
func fail(status int, header ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = fmt.Fprintln(w, "not today")
		return true
	}
}
