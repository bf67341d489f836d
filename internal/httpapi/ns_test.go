package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestNamespaceOfNobody: a server that mirrors nothing never serves a
// repository of its own for one of another registry.
func TestNamespaceOfNobody(t *testing.T) {
	s := start(t, options{})
	s.PutImage("library/debian", "1")
	for path, want := range map[string]int{
		"/v2/library/debian/manifests/1":                 http.StatusOK,
		"/v2/library/debian/manifests/1?ns=":             http.StatusOK,
		"/v2/library/debian/manifests/1?ns=docker.io":    http.StatusNotFound,
		"/v2/library/debian/tags/list?ns=docker.io":      http.StatusNotFound,
		"/v2/library/debian/blobs/uploads/?ns=docker.io": http.StatusMethodNotAllowed,
		"/v2/?ns=docker.io":                              http.StatusOK,
	} {
		resp, err := http.Get("http://" + s.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
	if resp, err := http.Post("http://"+s.addr+"/v2/library/debian/blobs/uploads/?ns=docker.io", "", strings.NewReader("")); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("a push to another registry's namespace: %v, %v", resp.Status, err)
	}
}
