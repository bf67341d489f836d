package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"slipway/internal/auth"
	"slipway/internal/httpapi"
	"slipway/internal/oci"
)

// A challenge goes with UNAUTHORIZED, and with nothing else: it makes clients
// try again with a login.
func TestChallenge(t *testing.T) {
	for name, tt := range map[string]struct {
		refusal error
		path    string
		want    string
	}{
		"a login is missing":  {oci.NewError(oci.CodeUnauthorized, "log in"), "/v2/team/app/manifests/1", "Test pull team/app"},
		"ping":                {oci.NewError(oci.CodeUnauthorized, "log in"), "/v2/", "Test ping "},
		"no login helps":      {oci.NewError(oci.CodeDenied, "no"), "/v2/team/app/manifests/1", ""},
		"no such route":       {oci.NewError(oci.CodeUnauthorized, "log in"), "/v2/team/app/nothing", ""},
		"a name that is none": {oci.NewError(oci.CodeUnauthorized, "log in"), "/v2/Team/manifests/1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := httpapi.New(httpapi.Config{
				Authorize: func(*http.Request, auth.Action, string) error { return tt.refusal },
				Challenge: func(_ *http.Request, a auth.Action, repository string) string {
					return "Test " + string(a) + " " + repository
				},
			})
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, tt.path, nil))
			if got := w.Header().Get("WWW-Authenticate"); got != tt.want {
				t.Errorf("status %d, WWW-Authenticate %q, want %q", w.Code, got, tt.want)
			}
		})
	}
}
