package bench

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"

	"slipway/test/floor"
)

func newFloor(t *testing.T) http.Handler {
	t.Helper()
	s, err := floor.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// open starts a server and opens a bench of few operations on it.
func open(t *testing.T, h http.Handler, change ...func(*Config)) *Bench {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	cfg := Config{URL: srv.URL, Concurrency: 4, Requests: 20, Tags: 250}
	for _, f := range change {
		f(&cfg)
	}
	b, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func TestEveryDefaultWorkloadOnTheFloor(t *testing.T) {
	b := open(t, newFloor(t))
	for _, name := range DefaultWorkloads() {
		t.Run(name, func(t *testing.T) {
			r, err := b.Measure(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if r.Ops != 20 || r.Errors != 0 {
				t.Errorf("%d operations and %d errors, want 20 and 0: %s", r.Ops, r.Errors, r.FirstError)
			}
			if r.Workload != name || r.MBPerSecond <= 0 || r.P50 <= 0 || r.P50 > r.P90 || r.P90 > r.P99 || r.P99 > r.Max {
				t.Errorf("not a sound result: %+v", r)
			}
		})
	}
}

func TestDurationEndsAMeasurement(t *testing.T) {
	b := open(t, newFloor(t), func(c *Config) { c.Requests, c.Duration = 0, 50*time.Millisecond })
	for range 2 { // a workload can be measured again
		r, err := b.Measure(t.Context(), "tag-put")
		if err != nil {
			t.Fatal(err)
		}
		if r.Ops == 0 || r.Errors != 0 || r.Seconds < 0.05 {
			t.Errorf("%+v", r)
		}
	}
}

// liar changes some answers of a registry, once lying is set.
type liar struct {
	http.Handler
	match func(*http.Request) bool
	lie   func(http.ResponseWriter, *httptest.ResponseRecorder)
	lying bool
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !l.lying || !l.match(r) {
		l.Handler.ServeHTTP(w, r)
		return
	}
	rec := httptest.NewRecorder()
	l.Handler.ServeHTTP(rec, r)
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	l.lie(w, rec)
}

func TestLiesAreErrors(t *testing.T) {
	on := func(method, part string) func(*http.Request) bool {
		return func(r *http.Request) bool { return r.Method == method && strings.Contains(r.URL.Path, part) }
	}
	// answer gives the true status with another body.
	answer := func(change func(string) string) func(http.ResponseWriter, *httptest.ResponseRecorder) {
		return func(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
			w.Header().Del("Content-Length")
			w.WriteHeader(rec.Code)
			io.WriteString(w, change(rec.Body.String()))
		}
	}
	status := func(code int) func(http.ResponseWriter, *httptest.ResponseRecorder) {
		return func(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
			w.Header().Del("Content-Length")
			w.WriteHeader(code)
			_, _ = w.Write(rec.Body.Bytes())
		}
	}
	header := func(name, value string) func(http.ResponseWriter, *httptest.ResponseRecorder) {
		return func(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
			w.Header().Set(name, value)
			if value == "" {
				w.Header().Del(name)
			}
			w.WriteHeader(rec.Code)
			_, _ = w.Write(rec.Body.Bytes())
		}
	}
	flipFirst := answer(func(s string) string { return string(s[0]^1) + s[1:] })
	cutOff := func(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
		w.WriteHeader(rec.Code) // with the true Content-Length
		_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	const otherDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	tests := []struct {
		name, workload string
		match          func(*http.Request) bool
		lie            func(http.ResponseWriter, *httptest.ResponseRecorder)
		want           string
	}{
		{"blob with wrong bytes", "pull-10k", on("GET", "/blobs/"), flipFirst, "wrong bytes"},
		{"blob truncated", "pull-10k", on("GET", "/blobs/"), answer(func(s string) string { return s[:len(s)-1] }), "want 10240"},
		{"blob cut off", "pull-10k", on("GET", "/blobs/"), cutOff, "unexpected EOF"},
		{"blob too long", "pull-10k", on("GET", "/blobs/"), answer(func(s string) string { return s + "x" }), "10240"},
		{"blob with status 206", "pull-10k", on("GET", "/blobs/"), status(206), "status 206, want 200"},
		{"blob under another digest", "pull-10k", on("GET", "/blobs/"), header("Docker-Content-Digest", otherDigest), "Docker-Content-Digest"},
		{"upload not accepted", "push-10k", on("POST", "/uploads/"), status(200), "status 200, want 202"},
		{"upload without location", "push-10k", on("POST", "/uploads/"), header("Location", ""), "no upload location"},
		{"blob not created", "push-10k", on("PUT", "/uploads/"), status(202), "status 202, want 201"},
		{"blob created as another", "push-10k", on("PUT", "/uploads/"), header("Docker-Content-Digest", otherDigest), "Docker-Content-Digest"},
		{"manifest not created", "push-10k", on("PUT", "/manifests/"), status(500), "status 500, want 201"},
		{"manifest created as another", "push-10k", on("PUT", "/manifests/"), header("Docker-Content-Digest", otherDigest), "Docker-Content-Digest"},
		{"push kept other bytes", "push-10k", on("GET", "/blobs/"), flipFirst, "read back"},
		{"push kept another manifest", "push-10k", on("GET", "/manifests/"), flipFirst, "read back"},
		{"tag lost", "tag-put", on("GET", "/manifests/"), status(404), "read back"},
		{"tag not put", "tag-put", on("PUT", "/manifests/"), status(200), "status 200, want 201"},
		{"manifest with wrong bytes", "manifest-get", on("GET", "/manifests/"), flipFirst, "not the bytes"},
		{"manifest cut off", "manifest-get", on("GET", "/manifests/"), cutOff, "unexpected EOF"},
		{"manifest of another type", "manifest-get", on("GET", "/manifests/"), header("Content-Type", "text/plain"), "Content-Type"},
		{"manifest by a wrong digest", "manifest-get", on("GET", "/manifests/"), header("Docker-Content-Digest", otherDigest), "Docker-Content-Digest"},
		{"tag missing from its page", "tag-page", on("GET", "/tags/list"), answer(func(s string) string { return strings.Replace(s, `["t`, `["u`, 1) }), "wrong page"},
		{"tags out of order", "tag-page", on("GET", "/tags/list"), answer(swapNames), "wrong page"},
		{"page of another repository", "tag-page", on("GET", "/tags/list"), answer(func(s string) string { return strings.Replace(s, "bench/", "other/", 1) }), "the page is of"},
		{"page that is not JSON", "tag-page", on("GET", "/tags/list"), answer(func(s string) string { return s[:len(s)-2] }), "not JSON"},
		{"page without the next", "tag-page", on("GET", "/tags/list"), header("Link", ""), "no Link"},
		{"catalog that leaves one out", "catalog-page", on("GET", "/_catalog"), answer(dropFirst), "wrong page"},
		{"catalog without the next", "catalog-page", on("GET", "/_catalog"), header("Link", ""), "no Link"},
		{"catalog with status 404", "catalog-page", on("GET", "/_catalog"), status(404), "status 404, want 200"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := &liar{Handler: newFloor(t), match: tt.match, lie: tt.lie}
			b := open(t, l)
			if r, err := b.Measure(t.Context(), tt.workload); err != nil || r.Errors != 0 {
				t.Fatalf("before any lie: %v, %+v", err, r)
			}
			l.lying = true
			r, err := b.Measure(t.Context(), tt.workload)
			if err != nil {
				t.Fatal(err)
			}
			if r.Errors == 0 || !strings.Contains(r.FirstError, tt.want) {
				t.Errorf("%d errors, the first %q, want it to say %q", r.Errors, r.FirstError, tt.want)
			}
		})
	}
}

// swapNames exchanges the first two names of a page.
func swapNames(s string) string {
	i := strings.Index(s, `["`) + len(`["`)
	names := strings.SplitN(s[i:], `","`, 3)
	names[0], names[1] = names[1], names[0]
	return s[:i] + strings.Join(names, `","`)
}

// dropFirst leaves the first name of a page out.
func dropFirst(s string) string {
	i := strings.Index(s, `["`) + 1
	j := strings.Index(s, `",`) + 2
	return s[:i] + s[j:]
}

func TestARegistryThatDoesNotPage(t *testing.T) {
	f := newFloor(t)
	b := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/tags/list") {
			r.URL.RawQuery = ""
		}
		f.ServeHTTP(w, r)
	}))
	r, err := b.Measure(t.Context(), "tag-page")
	if err != nil {
		t.Fatal(err)
	}
	if r.Ops != 0 || !strings.Contains(r.FirstError, "does not page") && !strings.Contains(r.FirstError, "250 names") {
		t.Errorf("%+v", r)
	}
}

func TestManyErrorsEndAMeasurement(t *testing.T) {
	l := &liar{
		Handler: newFloor(t), lying: true,
		match: func(r *http.Request) bool { return r.Method == "POST" },
		lie:   func(w http.ResponseWriter, _ *httptest.ResponseRecorder) { w.WriteHeader(503) },
	}
	b := open(t, l, func(c *Config) { c.Requests = 1_000_000 })
	r, err := b.Measure(t.Context(), "push-10k")
	if err != nil {
		t.Fatal(err)
	}
	if r.Errors < maxErrors || r.Errors >= maxErrors+4 {
		t.Errorf("%d errors, want %d and at most one more for each worker", r.Errors, maxErrors)
	}
}

func TestPrepareFails(t *testing.T) {
	b := open(t, newFloor(t))
	if _, err := b.Measure(t.Context(), "pull-7k"); err == nil || !strings.Contains(err.Error(), "pull-7k") {
		t.Errorf("an unknown workload: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Measure(ctx, "pull-10k"); err == nil {
		t.Error("a context that had ended was ignored")
	}
}

// memoryRegistry is someone else's registry, which can delete.
func memoryRegistry() http.Handler { return registry.New(registry.Logger(log.New(io.Discard, "", 0))) }

func TestCleanup(t *testing.T) {
	b := open(t, memoryRegistry(), func(c *Config) { c.Cleanup = true })
	for _, name := range []string{"push-10k", "manifest-get"} {
		if r, err := b.Measure(t.Context(), name); err != nil || r.Errors != 0 {
			t.Fatalf("%s: %v, %+v", name, err, r)
		}
	}
	removed, err := b.Cleanup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if removed.Manifests != 20+128 || removed.Failed != 0 {
		t.Errorf("%+v, want 148 manifests", removed)
	}
	r, err := b.Measure(t.Context(), "manifest-get")
	if err != nil {
		t.Fatal(err)
	}
	if r.Errors == 0 || !strings.Contains(r.FirstError, "404") {
		t.Errorf("manifests by digest after a cleanup: %+v", r)
	}
}

func TestCleanupWhereNothingCanBeDeleted(t *testing.T) {
	b := open(t, newFloor(t), func(c *Config) { c.Cleanup = true })
	if _, err := b.Measure(t.Context(), "push-10k"); err != nil {
		t.Fatal(err)
	}
	removed, err := b.Cleanup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if removed.Manifests != 0 || removed.Failed != 20 || !strings.Contains(removed.FirstError, "status 405") {
		t.Errorf("%+v", removed)
	}
}

type keychain struct{ auth authn.Authenticator }

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) { return k.auth, nil }

func TestBasicLogin(t *testing.T) {
	f := newFloor(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "anna" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		f.ServeHTTP(w, r)
	}))
	defer srv.Close()
	cfg := Config{URL: srv.URL, Concurrency: 2, Requests: 4}
	if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "docker login") {
		t.Errorf("without credentials: %v", err)
	}
	cfg.Keychain = keychain{&authn.Basic{Username: "anna", Password: "secret"}}
	b, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := b.Measure(t.Context(), "push-10k"); err != nil || r.Errors != 0 || r.Ops != 4 {
		t.Errorf("%v, %+v", err, r)
	}
}

func TestRegistryURL(t *testing.T) {
	tests := []struct {
		in        string
		plainHTTP bool
		want      string
	}{
		{"127.0.0.1:5000", false, "http://127.0.0.1:5000"},
		{"localhost:5000", false, "http://localhost:5000"},
		{"[::1]:5000", false, "http://[::1]:5000"},
		{"registry.lan:5000", false, "https://registry.lan:5000"},
		{"registry.lan:5000", true, "http://registry.lan:5000"},
		{"http://registry.lan", false, "http://registry.lan"},
		{"https://127.0.0.1:5000/", false, "https://127.0.0.1:5000"},
		{"https://registry.lan/v2/", false, "https://registry.lan"},
		{"https://registry.lan/team", false, ""},
		{"ftp://registry.lan", false, ""},
		{"https://", false, ""},
		{"", false, ""},
	}
	for _, tt := range tests {
		u, err := registryURL(tt.in, tt.plainHTTP)
		if tt.want == "" {
			if err == nil {
				t.Errorf("%q gave %s, want an error", tt.in, u)
			}
			continue
		}
		if err != nil || u.String() != tt.want {
			t.Errorf("%q: %v, %v, want %s", tt.in, u, err, tt.want)
		}
	}
}

func TestParseWorkloads(t *testing.T) {
	if got, err := ParseWorkloads(" push-1m, tag-page"); err != nil || strings.Join(got, " ") != "push-1m tag-page" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := ParseWorkloads("push-1m,push-2m"); err == nil || !strings.Contains(err.Error(), `"push-2m"`) {
		t.Errorf("an unknown name: %v", err)
	}
	all, err := ParseWorkloads("all")
	if err != nil || len(all) != len(specs) {
		t.Errorf("all: %v, %v, want the %d that exist", all, err, len(specs))
	}
	def, err := ParseWorkloads("")
	if err != nil || len(def) == 0 || strings.Contains(strings.Join(def, " "), "100m") {
		t.Errorf("default: %v, %v", def, err)
	}
}
