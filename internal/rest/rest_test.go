package rest_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"slipway/internal/auth"
	"slipway/internal/gc"
	"slipway/internal/oci"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
	"slipway/internal/rest"
)

func start(t *testing.T, level auth.Anonymous) (*registrytest.Store, *httptest.Server) {
	t.Helper()
	w := registrytest.Open(t, registry.Config{}, nil)
	srv := httptest.NewServer(rest.New(rest.Config{
		DB: w.DB, Registry: w.Registry, Collector: gc.New(gc.Config{DB: w.DB, Blobs: w.Files}), Log: slog.New(slog.DiscardHandler),
		Authorize: func(_ *http.Request, a auth.Action, repository string) error { return level.Authorize(a, repository) },
		Actor:     func(*http.Request) string { return "test" },
	}))
	t.Cleanup(srv.Close)
	return w, srv
}

func call(t *testing.T, srv *httptest.Server, method, path, body string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

// Whatever is refused is a problem document that says so, and changes nothing.
func TestRefusals(t *testing.T) {
	w, srv := start(t, auth.AnonymousAdmin)
	w.PutImage("team/app", "1", []byte("layer"))
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "/api/v1/gc", `{"dryrun":true}`, 400, "dryrun"},
		{"POST", "/api/v1/gc", `{"dry_run":"yes"}`, 400, "dry_run"},
		{"POST", "/api/v1/gc", `{"dry_run":true}{}`, 400, "more than one"},
		{"POST", "/api/v1/gc", `{"grace_seconds":-1}`, 400, "grace_seconds"},
		{"POST", "/api/v1/gc", `{"grace_seconds":9223372036854775807}`, 400, "grace_seconds"},
		{"PATCH", "/api/v1/repositories/team%2Fapp", `{"nosuch":1}`, 400, "nosuch"},
		{"PATCH", "/api/v1/repositories/team%2Fapp", ``, 400, ""},
		{"PATCH", "/api/v1/repositories/team%2Fapp", `[`, 400, ""},
		{"PATCH", "/api/v1/repositories/team%2Fapp", `{"delete_untagged":"` + strings.Repeat("x", 2<<20) + `"}`, 400, "too large"},
		{"POST", "/api/v1/repositories/team%2Fapp/restore", `{"digest":"sha256:x"}`, 400, "sha256"},
		{"POST", "/api/v1/repositories/team%2Fapp/restore", `{"digest":"` + oci.FromBytes(oci.SHA256, nil).String() + `"}`, 404, "no deleted manifest"},
		{"GET", "/api/v1/repositories/no%2Fsuch", ``, 404, "no/such"},
		{"DELETE", "/api/v1/repositories/no%2Fsuch", ``, 404, "no/such"},
		{"GET", "/api/v1/repositories/..%2F..%2Fetc", ``, 400, "not valid"},
		{"GET", "/api/v1/nosuch", ``, 404, "openapi.yaml"},
		{"PUT", "/api/v1/gc", ``, 405, "GET, POST"},
	} {
		status, body, header := call(t, srv, c.method, c.path, c.body)
		var p rest.Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil || header.Get("Content-Type") != "application/problem+json" || p.Status != status || p.Title == "" {
			t.Errorf("%s %s %.60s: not a problem document: %q", c.method, c.path, c.body, body)
		}
		if status != c.status || !strings.Contains(p.Title, c.says) {
			t.Errorf("%s %s %.60s: %d %q, want %d with %q", c.method, c.path, c.body, status, p.Title, c.status, c.says)
		}
	}
	if status, body, _ := call(t, srv, "GET", "/api/v1/repositories/team%2Fapp", ""); status != 200 || !strings.Contains(body, `"delete_untagged":false`) {
		t.Errorf("a refused change changed something: %d %s", status, body)
	}
}

// Levels below admin may look at a repository and change nothing.
func TestLevels(t *testing.T) {
	w, srv := start(t, auth.AnonymousPush)
	w.PutImage("app", "1", []byte("layer"))
	for path, want := range map[string]int{
		"GET /api/v1/repositories/app": 200, "PATCH /api/v1/repositories/app": 403, "DELETE /api/v1/repositories/app": 403,
		"POST /api/v1/repositories/app/restore": 403, "POST /api/v1/gc": 403, "GET /api/v1/gc": 403, "GET /api/v1/openapi.yaml": 200,
	} {
		method, path, _ := strings.Cut(path, " ")
		body := map[string]string{"PATCH": `{"delete_untagged":true}`, "POST": `{}`}[method]
		if strings.HasSuffix(path, "restore") {
			body = `{"digest":"sha256:x"}`
		}
		if status, answer, _ := call(t, srv, method, path, body); status != want {
			t.Errorf("%s %s: %d %s, want %d", method, path, status, answer, want)
		}
	}
}

// A deletion can be taken back, with its tags, until collection is told that
// the time for that is over.
func TestDeleteRestoreCollect(t *testing.T) {
	w, srv := start(t, auth.AnonymousAdmin)
	d := w.PutImage("team/app", "1", []byte("layer"))
	if status, _, _ := call(t, srv, "GET", "/api/v1/gc", ""); status != 404 {
		t.Errorf("report before any collection: %d", status)
	}
	if status, body, _ := call(t, srv, "DELETE", "/api/v1/repositories/team%2Fapp", ""); status != 204 {
		t.Fatalf("delete: %d %s", status, body)
	}
	restore := func() int {
		status, _, _ := call(t, srv, "POST", "/api/v1/repositories/team%2Fapp/restore", `{"digest":"`+d.String()+`"}`)
		return status
	}
	if status := restore(); status != 204 {
		t.Fatalf("restore: %d", status)
	}
	m, err := w.Registry.StatManifest(t.Context(), "team/app", oci.Reference{Tag: "1"})
	if err != nil || m.Digest != d {
		t.Fatalf("after restore the tag is %s (%v), want %s", m.Digest, err, d)
	}
	call(t, srv, "DELETE", "/api/v1/repositories/team%2Fapp", "")
	var report rest.Collection
	status, body, _ := call(t, srv, "POST", "/api/v1/gc", `{"grace_seconds":0}`)
	if err := json.Unmarshal([]byte(body), &report); status != 200 || err != nil || report.Freed.Blobs == 0 {
		t.Fatalf("collect: %d %s", status, body)
	}
	if status := restore(); status != 404 {
		t.Errorf("restore after collection: %d", status)
	}
	if status, again, _ := call(t, srv, "GET", "/api/v1/gc", ""); status != 200 || again != body {
		t.Errorf("the last report is %d %s, want %s", status, again, body)
	}
}
