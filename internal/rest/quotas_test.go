package rest_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"slipway/internal/auth"
	"slipway/internal/db"
	"slipway/internal/meta"
	"slipway/internal/oci"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
	"slipway/internal/rest"
)

func TestQuotas(t *testing.T) {
	w := registrytest.Open(t, registry.Config{Quota: registry.Quota{Total: 5000, Repository: 1000}}, nil)
	server := true // whether the caller administers the server, or team/** only
	srv := httptest.NewServer(rest.New(rest.Config{
		DB: w.DB, Registry: w.Registry, Log: slog.New(slog.DiscardHandler), Actor: func(*http.Request) string { return "user:anna" },
		Authorize: func(_ *http.Request, _ auth.Action, repository string) error {
			if server || strings.HasPrefix(repository, "team/") {
				return nil
			}
			return oci.NewError(oci.CodeDenied, "no")
		},
	}))
	t.Cleanup(srv.Close)
	w.PutBlob("team/app", []byte(strings.Repeat("a", 900)))
	w.PutBlob("team/copy", []byte(strings.Repeat("a", 900)))
	w.PutBlob("_builds", []byte(strings.Repeat("b", 1500)))

	list := func() (q rest.Quotas) {
		t.Helper()
		status, body, _ := call(t, srv, "GET", "/api/v1/quotas", "")
		if err := json.Unmarshal([]byte(body), &q); err != nil || status != 200 {
			t.Fatalf("%d %s: %v", status, body, err)
		}
		return q
	}
	want := rest.Quotas{Total: rest.Use{Bytes: 2400, QuotaBytes: 5000}, Repositories: []rest.RepositoryUse{
		{Name: "_builds", Bytes: 1500}, {Name: "team/app", Bytes: 900, QuotaBytes: 1000}, {Name: "team/copy", Bytes: 900, QuotaBytes: 1000},
	}}
	if got := list(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if status, body, _ := call(t, srv, "GET", "/api/v1/quotas?n=1", ""); status != 200 || !strings.Contains(body, `"more":true`) || strings.Contains(body, "team") {
		t.Errorf("%d %s", status, body)
	}

	for _, c := range []struct {
		server bool
		body   string
		status int
		says   string
		quota  int64
		own    bool
	}{
		{true, `{"quota_bytes":2000}`, 200, `"quota_bytes":2000`, 2000, true},
		{true, `{"quota_bytes":0}`, 200, `"quota_bytes":0`, 0, true},
		{true, `{"quota_bytes":-2}`, 400, "quota_bytes", 0, true},
		{false, `{"quota_bytes":9000}`, 403, "", 0, true},
		{false, `{"delete_untagged":true}`, 200, "", 0, true},
		{true, `{"quota_bytes":-1}`, 200, `"delete_untagged":true`, 1000, false},
	} {
		server = c.server
		status, body, _ := call(t, srv, "PATCH", "/api/v1/repositories/team%2Fapp", c.body)
		if status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s", c.body, status, body)
		}
		server = true
		if got, want := list().Repositories[1], (rest.RepositoryUse{Name: "team/app", Bytes: 900, QuotaBytes: c.quota, Own: c.own}); got != want {
			t.Errorf("after %s: %+v, want %+v", c.body, got, want)
		}
	}
	server = false
	if status, _, _ := call(t, srv, "GET", "/api/v1/quotas", ""); status != 403 {
		t.Errorf("somebody who does not administer the server sees all: %d", status)
	}

	// A quota outlives its repository, so that deleting is no way around it.
	server = true
	call(t, srv, "PATCH", "/api/v1/repositories/team%2Fapp", `{"quota_bytes":2000}`)
	call(t, srv, "DELETE", "/api/v1/repositories/team%2Fapp", "")
	if err := w.DB.View(t.Context(), func(tx *db.Tx) error {
		quota, own, err := meta.QuotaOf(tx, "team/app")
		if quota != 2000 || !own {
			t.Errorf("%d %v", quota, own)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
