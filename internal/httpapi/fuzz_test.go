package httpapi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"slipway/internal/httpapi"
	"slipway/internal/registry/registrytest"
)

// FuzzRoute sends any request to the handler: it never panics, never fails
// with 500, and answers in the specification's form.
func FuzzRoute(f *testing.F) {
	for _, rt := range httpapi.Routes() {
		for _, fill := range [][2]string{{"app", absent}, {"app", "v1"}, {"a/b", "UPLOAD"}, {"app", "UPLOAD"}, {"../x", ".."}, {"", ""}, {"blobs/uploads", "x"}} {
			f.Add(rt.Method, strings.NewReplacer("{name}", fill[0], "{last}", fill[1]).Replace(rt.Pattern), "", "", "", []byte("{}"))
		}
	}
	f.Add("GET", "/v2/app/blobs/BLOB", "", "Range", "bytes=0-0,-1,5-", []byte(nil))
	f.Add("GET", "/v2/app/blobs/BLOB", "", "If-Range", "x", []byte(nil))
	f.Add("GET", "/v2/app/manifests/v1", "", "If-None-Match", `W/"x", *`, []byte(nil))
	f.Add("PATCH", "/v2/app/blobs/uploads/UPLOAD", "", "Content-Range", "0-1", []byte("ab"))
	f.Add("PUT", "/v2/app/blobs/uploads/UPLOAD", "digest="+absent, "Content-Range", "0-1", []byte("ab"))
	f.Add("POST", "/v2/app/blobs/uploads/", "mount="+absent+"&from=app", "", "", []byte(nil))
	f.Add("POST", "/v2/app/blobs/uploads/", "digest="+sha256Of([]byte("ab")).String(), "", "", []byte("ab"))
	f.Add("GET", "/v2/_catalog", "n=1&last=a", "", "", []byte(nil))
	f.Add("GET", "/v2/app/tags/list", "n=%zz;&last", "", "", []byte(nil))
	f.Add("PUT", "/v2/app/manifests/v1", "tag=a&tag=b&digest="+absent, "Content-Type", typeImage, registrytest.Image(imageConfig))
	f.Add("PUT", "/v2/app/manifests/v1", "", "Content-Type", typeIndex+"; charset=utf-8", []byte(`{"schemaVersion":2,"manifests":[]}`))

	s := start(f, options{})
	layer := pattern(100)
	s.PutImage("app", "v1", layer)
	upload := s.open("app")
	fill := strings.NewReplacer("UPLOAD", upload[strings.LastIndexByte(upload, '/')+1:], "BLOB", sha256Of(layer).String())
	allowed := []int{200, 201, 202, 204, 206, 304, 400, 404, 405, 409, 412, 413, 416}

	f.Fuzz(func(t *testing.T, method, path, query, name, value string, body []byte) {
		r := &http.Request{
			Method: method, URL: &url.URL{Path: fill.Replace(path), RawQuery: query}, Header: http.Header{}, ContentLength: int64(len(body)),
			Body: io.NopCloser(bytes.NewReader(body)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: "registry",
		}
		if name != "" {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		s.api.Load().ServeHTTP(w, r.WithContext(t.Context()))
		if !slices.Contains(allowed, w.Code) {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		if w.Code >= 400 && w.Code != http.StatusPreconditionFailed && method != http.MethodHead {
			var doc struct {
				Errors []struct{ Code, Message string }
			}
			if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || len(doc.Errors) != 1 || doc.Errors[0].Code == "" || doc.Errors[0].Message == "" {
				t.Errorf("status %d without an error document: %s", w.Code, w.Body)
			}
		}
		for _, name := range []string{"Location", "Link"} {
			if v := w.Header().Get(name); strings.ContainsAny(v, "\r\n\x00") || strings.Contains(v, "//") {
				t.Errorf("%s: %q", name, v)
			}
		}
	})
}
