package httpapi_test

import (
	"fmt"
	"strings"
	"testing"

	"slipway/internal/httpapi"
	"slipway/internal/oci"
	"slipway/internal/registry/registrytest"
)

// names that no repository may have, as they stand in a path.
var badNames = []string{
	"..", "%2e%2e", "a/..", "../a", "a/%2e%2e/b", "a/../../b", ".", "a/./b", "A", "Repo/app", "a//b", "a%2F%2Fb", "/a", "a/",
	"-a", "a-", "_a", "a_", ".a", "a.", "a..b", "a___b", "a._b", "a%00b", "%00", "a%0ab", "a%20b", "a%5Cb", "a:b", "a@b", "a%3Fb", "a%25b",
	"%C3%BC", "%ff", "%E2%80%AE", strings.Repeat("a", 256), strings.Repeat("a/", 130) + "a",
}

// digests that are none.
var badDigests = []string{
	"sha256:", ":", "sha256:abc", "sha256:" + strings.Repeat("g", 64), "sha256:" + strings.Repeat("A", 64), "sha256:" + strings.Repeat("a", 63),
	"sha256:" + strings.Repeat("a", 65), "sha512:" + strings.Repeat("a", 64), "sha384:" + strings.Repeat("a", 96), "md5:" + strings.Repeat("a", 32),
	"SHA256:" + strings.Repeat("a", 64), "sha256:" + strings.Repeat("%2e", 64), "sha256:" + strings.Repeat("a", 62) + "%00%00", strings.Repeat("a", 5000) + ":b",
	"sha256+b64:" + strings.Repeat("a", 43), "sha256:%C3%BC",
}

var badTags = []string{".v1", "-v1", "v%201", "v%001", "%C3%BC", "v1%0a", strings.Repeat("a", 129), "v1%3Fx", "v1%25"}

const absent = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// bad is a request that must be refused without a trace. UPLOAD in a path is an
// upload with 5 bytes, MANIFEST a stored manifest, BLOB a stored blob.
type bad struct {
	route  string
	name   string
	path   string
	body   any
	header []string
	status int
	code   oci.Code
}

func badInputs() (list []bad) {
	add := func(route, name, path string, body any, status int, code oci.Code, header ...string) {
		list = append(list, bad{route, name, path, body, header, status, code})
	}
	for _, rt := range httpapi.Routes() {
		route := rt.Method + " " + rt.Pattern
		if strings.Contains(rt.Pattern, "{name}") {
			last := map[bool]string{true: absent, false: "UPLOAD"}[!strings.Contains(rt.Pattern, "/uploads/")]
			for _, name := range badNames {
				add(route, "name", strings.NewReplacer("{name}", name, "{last}", last).Replace(rt.Pattern), nil, 400, oci.CodeNameInvalid)
			}
			add(route, "empty name", strings.NewReplacer("{name}", "", "{last}", last).Replace(rt.Pattern), nil, 404, oci.CodeNameUnknown)
		}
		digests, code := strings.HasSuffix(rt.Pattern, "/blobs/{last}") || strings.HasSuffix(rt.Pattern, "/referrers/{last}"), oci.CodeDigestInvalid
		if digests || strings.HasSuffix(rt.Pattern, "/manifests/{last}") {
			for _, d := range badDigests {
				add(route, "digest", strings.NewReplacer("{name}", "app", "{last}", d).Replace(rt.Pattern), nil, 400, code)
			}
		}
		if strings.HasSuffix(rt.Pattern, "/manifests/{last}") {
			for _, tag := range badTags {
				add(route, "tag", strings.NewReplacer("{name}", "app", "{last}", tag).Replace(rt.Pattern), nil, 400, oci.CodeTagInvalid)
			}
		}
		if strings.HasSuffix(rt.Pattern, "/uploads/{last}") {
			for _, id := range []string{"x", "00000000-0000-0000-0000-000000000000", "%2e%2e", "UPLOADx", "%00", strings.Repeat("a", 5000), "0190163d-8694-739b-aea5-966c26f8ad91.aAAAAAAAAAAAAAAAA", "." + "a"} {
				add(route, "upload id", strings.NewReplacer("{name}", "app", "{last}", id).Replace(rt.Pattern)+"?digest="+absent, nil, 404, oci.CodeBlobUploadUnknown)
			}
			add(route, "another repository's upload", "/v2/other/blobs/uploads/UPLOAD?digest="+absent, nil, 404, oci.CodeBlobUploadUnknown)
		}
	}

	const ping, catalog, tags = "GET /v2/", "GET /v2/_catalog", "GET /v2/{name}/tags/list"
	for _, p := range []string{"/v2/_catalogue", "/v2/app", "/v2/app/", "/v2/app/tags", "/v2/app/tags/list/", "/v2/app/blobs/", "/v2/app/manifests/", "/v2/%00", "/v2//"} {
		add(ping, "no such address", p, nil, 404, oci.CodeNameUnknown)
	}
	for _, n := range []string{"-1", "x", "1.5", "99999999999999999999", "%00", "1e3", "0x10"} {
		add(catalog, "n", "/v2/_catalog?n="+n, nil, 400, oci.CodePageSizeInvalid)
		add(tags, "n", "/v2/app/tags/list?n="+n, nil, 400, oci.CodePageSizeInvalid)
		add("GET /v2/{name}/referrers/{last}", "n", "/v2/app/referrers/MANIFEST?n="+n, nil, 400, oci.CodePageSizeInvalid)
	}
	add(tags, "no such repository", "/v2/nobody/tags/list", nil, 404, oci.CodeNameUnknown)

	const get, head, put, del = "GET /v2/{name}/manifests/{last}", "HEAD /v2/{name}/manifests/{last}", "PUT /v2/{name}/manifests/{last}", "DELETE /v2/{name}/manifests/{last}"
	for _, route := range []string{get, head, del} {
		add(route, "no such repository", "/v2/nobody/manifests/v1", nil, 404, oci.CodeNameUnknown)
		add(route, "no such tag", "/v2/app/manifests/v2", nil, 404, oci.CodeManifestUnknown)
		add(route, "no such digest", "/v2/app/manifests/"+absent, nil, 404, oci.CodeManifestUnknown)
		add(route, "a blob's digest", "/v2/app/manifests/BLOB", nil, 404, oci.CodeManifestUnknown)
	}

	const getBlob, headBlob, delBlob = "GET /v2/{name}/blobs/{last}", "HEAD /v2/{name}/blobs/{last}", "DELETE /v2/{name}/blobs/{last}"
	for _, route := range []string{getBlob, headBlob, delBlob} {
		add(route, "no such repository", "/v2/nobody/blobs/BLOB", nil, 404, oci.CodeNameUnknown)
		add(route, "no such blob", "/v2/app/blobs/"+absent, nil, 404, oci.CodeBlobUnknown)
		add(route, "a blob of another repository", "/v2/other/blobs/BLOB", nil, 404, oci.CodeBlobUnknown)
	}
	for _, r := range []string{"bytes=5000000-", "bytes=20480-20490", "bytes=9223372036854775807-", "bytes=20480-30000,20490-30000"} {
		add(getBlob, "range past the end "+r, "/v2/app/blobs/BLOB", nil, 416, oci.CodeRangeInvalid, "Range", r)
	}
	add(delBlob, "in use", "/v2/app/blobs/BLOB", nil, 409, oci.CodeBlobInUse)

	const post, patch, putUpload = "POST /v2/{name}/blobs/uploads/", "PATCH /v2/{name}/blobs/uploads/{last}", "PUT /v2/{name}/blobs/uploads/{last}"
	for _, d := range append([]string{"x"}, badDigests...) {
		add(post, "digest", "/v2/app/blobs/uploads/?digest="+d, "body", 400, oci.CodeDigestInvalid)
		add(post, "mount", "/v2/app/blobs/uploads/?mount="+d+"&from=other", nil, 400, oci.CodeDigestInvalid)
		add(putUpload, "digest", "/v2/app/blobs/uploads/UPLOAD?digest="+d, "body", 400, oci.CodeDigestInvalid)
		add(put, "?digest", "/v2/app/manifests/v2?digest="+d, registrytest.Image(imageConfig), 400, oci.CodeDigestInvalid, "Content-Type", typeImage)
	}
	add(post, "algorithm", "/v2/app/blobs/uploads/?digest-algorithm=md5", nil, 400, oci.CodeDigestInvalid)
	add(post, "wrong digest", "/v2/app/blobs/uploads/?digest="+absent, "body", 400, oci.CodeDigestInvalid)
	add(post, "wrong digest of a large blob", "/v2/app/blobs/uploads/?digest="+absent, pattern(100_000), 400, oci.CodeDigestInvalid)
	add(post, "wrong digest without length", "/v2/app/blobs/uploads/?digest="+absent, strings.NewReader("body"), 400, oci.CodeDigestInvalid)
	add(putUpload, "no digest", "/v2/app/blobs/uploads/UPLOAD", "body", 400, oci.CodeDigestInvalid)
	add(putUpload, "wrong digest", "/v2/app/blobs/uploads/UPLOAD?digest="+absent, "body", 400, oci.CodeDigestInvalid)
	add(putUpload, "wrong digest after a large body", "/v2/app/blobs/uploads/UPLOAD?digest="+absent, pattern(100_000), 400, oci.CodeDigestInvalid)
	for _, cr := range []string{"", "x", "5", "-", "5-", "-5", "5-4", "9-5", "5--6", "+5-6", "0x5-0x6", "5-99999999999999999999", "bytes=5-6", "5-6-7", "5 - 6", "items 5-6", "0-9223372036854775807", "5-9223372036854775807"} {
		if cr == "" {
			continue // as if there was none
		}
		add(patch, "Content-Range "+cr, "/v2/app/blobs/uploads/UPLOAD", "bo", 416, oci.CodeRangeInvalid, "Content-Range", cr)
		add(putUpload, "Content-Range "+cr, "/v2/app/blobs/uploads/UPLOAD?digest="+absent, "bo", 416, oci.CodeRangeInvalid, "Content-Range", cr)
	}
	for _, cr := range []string{"0-1", "4-5", "6-7", "1000-1001"} {
		add(patch, "out of order "+cr, "/v2/app/blobs/uploads/UPLOAD", "bo", 416, oci.CodeRangeInvalid, "Content-Range", cr)
		add(putUpload, "out of order "+cr, "/v2/app/blobs/uploads/UPLOAD?digest="+absent, "bo", 416, oci.CodeRangeInvalid, "Content-Range", cr)
	}
	add(patch, "Content-Length and Content-Range differ", "/v2/app/blobs/uploads/UPLOAD", "body", 400, oci.CodeSizeInvalid, "Content-Range", "5-6")
	add(putUpload, "Content-Length and Content-Range differ", "/v2/app/blobs/uploads/UPLOAD?digest="+absent, "body", 400, oci.CodeSizeInvalid, "Content-Range", "5-6")

	image := string(registrytest.Image(imageConfig))
	manifest := func(name, mediaType, body string, status int, code oci.Code) {
		add(put, name, "/v2/app/manifests/v2", body, status, code, "Content-Type", mediaType)
		add(put, name+", without length", "/v2/app/manifests/v2", strings.NewReader(body), status, code, "Content-Type", mediaType)
	}
	manifest("empty", typeImage, "", 400, oci.CodeManifestInvalid)
	manifest("no JSON", typeImage, "hello", 400, oci.CodeManifestInvalid)
	manifest("cut JSON", typeImage, image[:len(image)-1], 400, oci.CodeManifestInvalid)
	manifest("more after the JSON", typeImage, image+"{}", 400, oci.CodeManifestInvalid)
	manifest("array", typeImage, "["+image+"]", 400, oci.CodeManifestInvalid)
	manifest("null", typeImage, "null", 400, oci.CodeManifestInvalid)
	manifest("string", typeImage, `"x"`, 400, oci.CodeManifestInvalid)
	manifest("NUL bytes", typeImage, "\x00\x00", 400, oci.CodeManifestInvalid)
	manifest("nested arrays", typeImage, strings.Repeat("[", 1_000_000), 400, oci.CodeManifestInvalid)
	manifest("nested in an unknown field", typeImage, `{"x":`+strings.Repeat(`{"x":`, 500_000)+"1"+strings.Repeat("}", 500_001), 400, oci.CodeManifestInvalid)
	manifest("wrong types", typeImage, `{"schemaVersion":2,"config":[],"layers":{}}`, 400, oci.CodeManifestInvalid)
	manifest("no configuration", typeImage, `{"schemaVersion":2,"layers":[]}`, 400, oci.CodeManifestInvalid)
	manifest("no schemaVersion", typeImage, strings.Replace(image, `"schemaVersion":2,`, "", 1), 400, oci.CodeManifestInvalid)
	manifest("schemaVersion 3", typeImage, strings.Replace(image, `"schemaVersion":2`, `"schemaVersion":3`, 1), 400, oci.CodeManifestInvalid)
	manifest("schema 1", "application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1,"name":"app","tag":"v1"}`, 400, oci.CodeManifestInvalid)
	manifest("schema 1 in disguise", typeImage, `{"schemaVersion":1,"name":"app","tag":"v1"}`, 400, oci.CodeManifestInvalid)
	manifest("not a manifest's type", "application/vnd.oci.image.config.v1+json", image, 400, oci.CodeManifestInvalid)
	manifest("text", "text/plain", image, 400, oci.CodeManifestInvalid)
	manifest("header and document differ", typeIndex, image, 400, oci.CodeManifestInvalid)
	manifest("an index with layers", typeIndex, `{"schemaVersion":2,"manifests":[],"layers":[]}`, 400, oci.CodeManifestInvalid)
	manifest("an image with manifests", typeImage, strings.Replace(image, `"layers"`, `"manifests":[],"layers"`, 1), 400, oci.CodeManifestInvalid)
	manifest("an index without manifests", typeIndex, `{"schemaVersion":2}`, 400, oci.CodeManifestInvalid)
	manifest("digest in a descriptor", typeImage, strings.Replace(image, "sha256:", "sha256:../", 1), 400, oci.CodeDigestInvalid)
	manifest("no size", typeIndex, `{"schemaVersion":2,"manifests":[{"digest":"`+absent+`"}]}`, 400, oci.CodeSizeInvalid)
	manifest("negative size", typeIndex, `{"schemaVersion":2,"manifests":[{"size":-1,"digest":"`+absent+`"}]}`, 400, oci.CodeSizeInvalid)
	manifest("wrong size", typeImage, strings.Replace(image, fmt.Sprintf(`"size":%d`, len(imageConfig)), `"size":1`, 1), 400, oci.CodeSizeInvalid)
	manifest("subject's digest", typeImage, strings.Replace(image, `"layers"`, `"subject":{"digest":"x","size":1},"layers"`, 1), 400, oci.CodeDigestInvalid)
	manifest("missing blob", typeImage, string(registrytest.Image([]byte("missing"))), 404, oci.CodeManifestBlobUnknown)
	manifest("missing child", typeIndex, string(registrytest.Index([]byte("missing"))), 404, oci.CodeManifestBlobUnknown)
	manifest("too large", typeImage, strings.Repeat(" ", 4<<20)+image, 413, oci.CodeManifestTooLarge)
	add(put, "another digest than the path's", "/v2/app/manifests/"+absent, image, 400, oci.CodeDigestInvalid, "Content-Type", typeImage)
	add(put, "another digest than ?digest", "/v2/app/manifests/v2?digest="+absent, image, 400, oci.CodeDigestInvalid, "Content-Type", typeImage)
	for _, tag := range badTags {
		add(put, "?tag", "/v2/app/manifests/MANIFEST?tag=ok&tag="+tag, image, 400, oci.CodeTagInvalid, "Content-Type", typeImage)
	}
	add(put, "?tag too often", "/v2/app/manifests/MANIFEST?"+strings.Repeat("tag=v&", 101), image, 400, oci.CodeTagInvalid, "Content-Type", typeImage)
	return list
}

func TestBadInput(t *testing.T) {
	s := start(t, options{})
	layer := pattern(20 << 10)
	manifest := s.PutImage("app", "v1", layer)
	s.PutImage("other", "v1")
	upload := s.open("app")
	s.do("PATCH", upload, "begin").want(202, "Range", "0-4")
	fill := strings.NewReplacer("UPLOAD", upload[strings.LastIndexByte(upload, '/')+1:], "MANIFEST", manifest.String(), "BLOB", sha256Of(layer).String())
	before := s.Contents()

	covered := map[string]bool{}
	for _, b := range badInputs() {
		covered[b.route] = true
		method, _, _ := strings.Cut(b.route, " ")
		status := b.status
		if method == "HEAD" {
			status = 404 // a question has no other answer
		}
		t.Run(b.route+" "+b.name, func(t *testing.T) {
			here := *s
			here.t = t
			a := here.do(method, fill.Replace(b.path), b.body, b.header...).wantError(status, b.code)
			if status == 416 && strings.Contains(b.path, "/uploads/") {
				a.want(416, "Location", upload, "Range", "0-4")
				here.do("GET", upload, nil).want(204, "Location", upload, "Range", "0-4")
			}
			if now := here.Contents(); !before.Equal(now) {
				t.Errorf("%s: something was written:\n%+v\n%+v", a.asked, before, now)
				before = now
			}
		})
	}
	s.alive()
	for _, rt := range httpapi.Routes() {
		if route := rt.Method + " " + rt.Pattern; !covered[route] {
			t.Errorf("route %s has no bad input in the table", route)
		}
	}
	// After all that the upload goes on where it was.
	s.do("PUT", upload+"?digest="+sha256Of([]byte("begin and end")).String(), " and end").want(201)
}

func TestMethodsThatARouteDoesNotTake(t *testing.T) {
	s := start(t, options{})
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"}
	takes := map[string][]string{}
	for _, rt := range httpapi.Routes() {
		takes[rt.Pattern] = append(takes[rt.Pattern], rt.Method)
	}
	before := s.Contents()
	for p, methodsOf := range takes {
		allow := strings.Join(methodsOf, ", ")
		path := strings.NewReplacer("{name}", "app", "{last}", absent).Replace(p)
		for _, m := range methods {
			if strings.Contains(allow, m) || (m == "HEAD" && strings.Contains(allow, "GET")) {
				continue
			}
			status := 405
			if m == "HEAD" {
				status = 404
			}
			s.do(m, path, nil).wantError(status, oci.CodeUnsupported).want(status, "Allow", allow)
		}
	}
	if !before.Equal(s.Contents()) {
		t.Error("something was written")
	}
}

func TestRefusedWithoutRights(t *testing.T) {
	s := start(t, options{hidden: "secret"})
	s.PutImage("secret/app", "v1")
	before := s.Contents()
	for _, rt := range httpapi.Routes() {
		if strings.Contains(rt.Pattern, "{name}") {
			s.do(rt.Method, strings.NewReplacer("{name}", "secret/app", "{last}", absent).Replace(rt.Pattern), nil).wantError(403, oci.CodeDenied)
		}
	}
	if !before.Equal(s.Contents()) {
		t.Error("something was written")
	}
}
