package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/jackc/pgx/v5/pgxpool"

	document "cool-app/api"
	"cool-app/internal/api"
	"cool-app/internal/dbtest"
	"cool-app/internal/rest"
	"cool-app/internal/task"
)

// instance is a server of the test's own, every answer of which is compared with
// openapi.yaml.
type instance struct {
	t      *testing.T
	url    string
	router routers.Router
	log    *bytes.Buffer
	state  *state
}

type state struct {
	unstarted atomic.Bool
	unready   atomic.Bool
}

func start(t *testing.T, pool *pgxpool.Pool) *instance {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(document.YAML)
	if err != nil {
		t.Fatal(err)
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	in := &instance{t: t, router: router, log: &bytes.Buffer{}, state: &state{}}
	handler := rest.New(task.NewStore(pool), rest.State{
		Instance: "one",
		Started:  func() bool { return !in.state.unstarted.Load() },
		Ready: func(ctx context.Context) error {
			if in.state.unready.Load() {
				return errors.New("not now")
			}
			return pool.Ping(ctx)
		},
	}, slog.New(slog.NewJSONHandler(in.log, nil)))
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	in.url = server.URL
	return in
}

type reply struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request; headers are name, value, name, value.
func (in *instance) do(method, path, body string, headers ...string) reply {
	in.t.Helper()
	request, err := http.NewRequest(method, in.url+path, strings.NewReader(body))
	if err != nil {
		in.t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		in.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		in.t.Fatal(err)
	}
	if response.Header.Get("Instance") != "one" {
		in.t.Errorf("%s %s: header Instance is %q", method, path, response.Header.Get("Instance"))
	}
	in.checkDocument(request, response, content)
	return reply{response.StatusCode, response.Header, content}
}

func (in *instance) checkDocument(request *http.Request, response *http.Response, content []byte) {
	in.t.Helper()
	if response.StatusCode >= 400 && response.Header.Get("Content-Type") != "application/problem+json" {
		in.t.Errorf("%s %s: an error of type %q", request.Method, request.URL.Path, response.Header.Get("Content-Type"))
	}
	bare := request.Clone(context.Background())
	bare.URL.Scheme, bare.URL.Host = "", "" // the document's server is /
	route, params, err := in.router.FindRoute(bare)
	if err != nil {
		if response.StatusCode != http.StatusNotFound && response.StatusCode != http.StatusMethodNotAllowed {
			in.t.Errorf("%s %s answers %d and is not in openapi.yaml: %v", request.Method, request.URL.Path, response.StatusCode, err)
		}
		return
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: bare, PathParams: params, Route: route},
		Status:                 response.StatusCode,
		Header:                 response.Header,
		Options:                &openapi3filter.Options{IncludeResponseStatus: true},
	}
	input.SetBodyBytes(content)
	if err := openapi3filter.ValidateResponse(context.Background(), input); err != nil {
		in.t.Errorf("%s %s: the answer is not what openapi.yaml says: %v", request.Method, request.URL.Path, err)
	}
}

func (r reply) task(t *testing.T) api.Task {
	t.Helper()
	var out api.Task
	if err := json.Unmarshal(r.body, &out); err != nil {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	return out
}

func TestLifeOfATask(t *testing.T) {
	in := start(t, dbtest.Migrated(t))
	made := in.do("POST", "/api/v1/tasks", `{"title": "Buy milk", "due": "2026-03-01"}`)
	it := made.task(t)
	if made.status != 201 || made.header.Get("Etag") != `"1"` || it.Status != api.Open || it.Notes != "" || it.Due.String() != "2026-03-01" {
		t.Fatalf("made %d %s", made.status, made.body)
	}
	path := made.header.Get("Location")
	if got := in.do("GET", path, ""); got.status != 200 || !bytes.Equal(got.body, made.body) || got.header.Get("Etag") != `"1"` {
		t.Errorf("read %d %s", got.status, got.body)
	}
	for _, tag := range []string{`"1"`, `W/"1"`, `"7", "1"`, "*"} {
		if got := in.do("GET", path, "", "If-None-Match", tag); got.status != 304 || len(got.body) != 0 {
			t.Errorf("If-None-Match %s: %d", tag, got.status)
		}
	}
	changed := in.do("PUT", path, `{"title": "Buy oat milk", "status": "doing"}`, "If-Match", `"1"`)
	if it := changed.task(t); changed.status != 200 || changed.header.Get("Etag") != `"2"` || it.Title != "Buy oat milk" || it.Status != api.Doing || it.Due != nil {
		t.Errorf("changed %d %s", changed.status, changed.body)
	}
	if got := in.do("GET", path, "", "If-None-Match", `"1"`); got.status != 200 {
		t.Errorf("after a change If-None-Match with the old version: %d", got.status)
	}
	for _, test := range []struct {
		ifMatch string
		want    int
	}{{`"1"`, 412}, {`W/"2"`, 412}, {"2", 412}, {`"02"`, 412}, {"", 412}, {`"9", "2"`, 200}, {"*", 200}} {
		if got := in.do("PUT", path, `{"title": "a"}`, "If-Match", test.ifMatch); got.status != test.want {
			t.Errorf("If-Match %s: %d, want %d: %s", test.ifMatch, got.status, test.want, got.body)
		}
	}
	if got := in.do("DELETE", path, "", "If-Match", `"1"`); got.status != 412 {
		t.Errorf("deleting an old version: %d", got.status)
	}
	if got := in.do("DELETE", path, "", "If-Match", `"4"`); got.status != 204 {
		t.Errorf("deleting: %d %s", got.status, got.body)
	}
	if got := in.do("GET", path, ""); got.status != 404 {
		t.Errorf("after deleting: %d", got.status)
	}
}

func TestListAndIdempotency(t *testing.T) {
	in := start(t, dbtest.Migrated(t))
	for i := range 5 {
		body := fmt.Sprintf(`{"title": "%d", "status": "done"}`, i)
		first := in.do("POST", "/api/v1/tasks", body, "Idempotency-Key", fmt.Sprint("key-", i))
		again := in.do("POST", "/api/v1/tasks", body, "Idempotency-Key", fmt.Sprint("key-", i))
		if first.status != 201 || again.status != 201 || !bytes.Equal(first.body, again.body) {
			t.Fatalf("first %d %s, again %d %s", first.status, first.body, again.status, again.body)
		}
	}
	if got := in.do("POST", "/api/v1/tasks", `{"title": "other"}`, "Idempotency-Key", "key-0"); got.status != 409 {
		t.Errorf("another task under a used key: %d", got.status)
	}
	var titles []string
	for path := "/api/v1/tasks?limit=2&status=done"; path != ""; {
		got := in.do("GET", path, "")
		var page api.TaskPage
		if err := json.Unmarshal(got.body, &page); err != nil || got.status != 200 {
			t.Fatalf("%d %s: %v", got.status, got.body, err)
		}
		for _, it := range page.Items {
			titles = append(titles, it.Title)
		}
		path = ""
		if page.Next != nil {
			path = "/api/v1/tasks?limit=2&status=done&cursor=" + *page.Next
		}
	}
	if fmt.Sprint(titles) != "[4 3 2 1 0]" {
		t.Errorf("listed %v", titles)
	}
	if got := in.do("GET", "/api/v1/tasks?status=open", ""); string(got.body) != `{"items":[]}`+"\n" {
		t.Errorf("an empty list is %s", got.body)
	}
}

func TestRefusals(t *testing.T) {
	in := start(t, dbtest.Migrated(t))
	path := in.do("POST", "/api/v1/tasks", `{"title": "a"}`).header.Get("Location")
	const nobody = "/api/v1/tasks/00000000-0000-0000-0000-000000000000"
	for _, test := range []struct {
		method, path, body string
		headers            []string
		status             int
		detail             string
	}{
		{"POST", "/api/v1/tasks", `{"title": ""}`, nil, 422, "title is empty"},
		{"POST", "/api/v1/tasks", `{}`, nil, 422, "title is empty"},
		{"POST", "/api/v1/tasks", `{"title": "a", "status": "lost"}`, nil, 422, "open, doing or done"},
		{"POST", "/api/v1/tasks", `{"title": "a\u0000"}`, nil, 422, "U+0000"},
		{"POST", "/api/v1/tasks", `{"title": 1}`, nil, 400, "JSON"},
		{"POST", "/api/v1/tasks", `{"title": "a", "due": "soon"}`, nil, 400, "JSON"},
		{"POST", "/api/v1/tasks", `{`, nil, 400, "JSON"},
		{"POST", "/api/v1/tasks", `{"title": "` + strings.Repeat("a", 1<<20) + `"}`, nil, 413, "1 MiB"},
		{"POST", "/api/v1/tasks", `{"title": "a"}`, []string{"Idempotency-Key", "a b"}, 422, "Idempotency-Key"},
		{"GET", "/api/v1/tasks?limit=0", "", nil, 400, "limit"},
		{"GET", "/api/v1/tasks?limit=101", "", nil, 400, "limit"},
		{"GET", "/api/v1/tasks?limit=many", "", nil, 400, "limit"},
		{"GET", "/api/v1/tasks?status=lost", "", nil, 400, "status"},
		{"GET", "/api/v1/tasks?cursor=x", "", nil, 400, "cursor"},
		{"GET", "/api/v1/tasks/1", "", nil, 400, "id"},
		{"GET", nobody, "", nil, 404, "no such task"},
		{"PUT", nobody, `{"title": "a"}`, []string{"If-Match", "*"}, 404, "no such task"},
		{"DELETE", nobody, "", []string{"If-Match", "*"}, 404, "no such task"},
		{"PUT", path, `{"title": "a"}`, nil, 428, "If-Match"},
		{"PUT", path, `{"title": ""}`, []string{"If-Match", "*"}, 422, "title"},
		{"DELETE", path, "", nil, 428, "If-Match"},
		{"PATCH", path, "", nil, 405, "GET"},
		{"POST", "/healthz", "", nil, 405, "GET"},
		{"GET", "/nowhere", "", nil, 404, "openapi.yaml"},
	} {
		got := in.do(test.method, test.path, test.body, test.headers...)
		var problem api.Problem
		if err := json.Unmarshal(got.body, &problem); err != nil {
			t.Errorf("%s %s: %s: %v", test.method, test.path, got.body, err)
			continue
		}
		if got.status != test.status || problem.Status != test.status || problem.Title != http.StatusText(test.status) ||
			problem.Detail == nil || !strings.Contains(*problem.Detail, test.detail) {
			t.Errorf("%s %s %.60s: got %d %s, want %d with %q", test.method, test.path, test.body, got.status, got.body, test.status, test.detail)
		}
	}
}

func TestHealth(t *testing.T) {
	pool := dbtest.Migrated(t)
	in := start(t, pool)
	expect := func(path string, want int) {
		t.Helper()
		if got := in.do("GET", path, ""); got.status != want {
			t.Errorf("%s answers %d %s, want %d", path, got.status, got.body, want)
		}
	}
	expect("/readyz", 200)
	in.state.unready.Store(true)
	expect("/readyz", 503)
	expect("/api/v1/tasks", 200) // who is still here is served
	in.state.unready.Store(false)
	in.state.unstarted.Store(true)
	expect("/api/v1/tasks", 503)
	expect("/healthz", 200)
	in.state.unstarted.Store(false)

	if got := in.do("GET", "/openapi.yaml", ""); !bytes.Equal(got.body, document.YAML) {
		t.Errorf("/openapi.yaml answers %d %s", got.status, got.body)
	}

	if strings.Contains(in.log.String(), "/healthz") {
		t.Error("probes that succeed fill the log")
	}
	// Without tables nothing can work, which is no client's business.
	if _, err := pool.Exec(context.Background(), "DROP TABLE tasks"); err != nil {
		t.Fatal(err)
	}
	got := in.do("GET", "/api/v1/tasks", "")
	if got.status != 500 || strings.Contains(string(got.body), "relation") || !strings.Contains(in.log.String(), `relation \"tasks\" does not exist`) {
		t.Errorf("answers %d %s and logs %s", got.status, got.body, in.log)
	}
	pool.Close()
	expect("/readyz", 503)
	expect("/healthz", 200)
}
