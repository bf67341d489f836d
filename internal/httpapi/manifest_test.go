package httpapi_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"slipway/internal/oci"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
)

const (
	typeDockerImage = oci.MediaTypeDockerManifest
	typeDockerList  = oci.MediaTypeDockerList
	typeArtifact    = oci.MediaTypeArtifactManifest
)

// The bytes that were pushed are the bytes that are served, whatever they look
// like and whatever the client says it accepts.
func TestManifestsAreServedAsPushed(t *testing.T) {
	s := start(t, options{})
	layer := pattern(100)
	s.PutImage("app", "", layer)
	config, l := sha256Of(imageConfig), sha256Of(layer)
	child := registrytest.Image(imageConfig, layer)
	for _, c := range []struct {
		name, mediaType, contentType, content string
	}{
		{"image", typeImage, typeImage, string(child)},
		{"no mediaType in the document", typeImage, typeImage, fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":"%s","size":%d},"layers":[]}`, config, len(imageConfig))},
		{"odd white space and order", typeImage, typeImage, fmt.Sprintf("\n\t{ \"layers\" :[ ] ,\r\n \"config\":{\"size\": %d,\"digest\"  : \"%s\",\"mediaType\":\"x\"},\"schemaVersion\" :2 }\n\n", len(imageConfig), config)},
		{"fields that nobody knows", typeImage, typeImage, fmt.Sprintf(`{"schemaVersion":2,"x":[1,{"y":null}],"config":{"digest":"%s","size":%d,"z":1e400},"layers":[]}`, config, len(imageConfig))},
		{"parameters of Content-Type", typeImage, typeImage + "; charset=utf-8", string(registrytest.Image(imageConfig))},
		{"type only in the document", typeImage, "", strings.Replace(string(child), "{", "{ ", 1)},
		{"octet stream", typeImage, "application/octet-stream", strings.Replace(string(child), "{", "{  ", 1)},
		{"index", typeIndex, typeIndex, string(registrytest.Index(child))},
		{"empty index", typeIndex, typeIndex, `{"schemaVersion":2,"manifests":[]}`},
		{"nested index", typeIndex, typeIndex, string(registrytest.Index(registrytest.Index(child)))},
		{"Docker image", typeDockerImage, typeDockerImage, fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%s","config":{"digest":"%s","size":%d},"layers":[{"digest":"%s","size":100}]}`, typeDockerImage, config, len(imageConfig), l)},
		{"Docker list", typeDockerList, typeDockerList, fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%s","manifests":[{"digest":"%s","size":%d}]}`, typeDockerList, sha256Of(child), len(child))},
		{"artifact", typeArtifact, typeArtifact, fmt.Sprintf(`{"mediaType":"%s","artifactType":"text/x","blobs":[{"digest":"%s","size":100}]}`, typeArtifact, l)},
		{"layers that are elsewhere", typeImage, typeImage, fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":"%s","size":%d},"layers":[
			{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip","digest":"%s","size":1},
			{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"%s","size":1,"urls":["https://example.com/x"]}]}`, config, len(imageConfig), absent, absent)},
		{"the same layer twice", typeImage, typeImage, fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":"%s","size":%d},"layers":[{"digest":"%s","size":100},{"digest":"%s","size":100}]}`, config, len(imageConfig), l, l)},
		{"a subject that is not there", typeImage, typeImage, fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":"%s","size":%d},"layers":[],"subject":{"digest":"%s","size":1}}`, config, len(imageConfig), absent)},
	} {
		t.Run(c.name, func(t *testing.T) {
			here := *s
			here.t = t
			content := []byte(c.content)
			if c.name == "nested index" {
				here.putManifest("app", sha256Of(registrytest.Index(child)).String(), typeIndex, registrytest.Index(child)).want(201)
			}
			d := sha256Of(content).String()
			header := []string{"Docker-Content-Digest", d, "Location", "/v2/app/manifests/" + d}
			var contentType []string
			if c.contentType != "" {
				contentType = []string{"Content-Type", c.contentType}
			}
			here.do("PUT", "/v2/app/manifests/v1", content, contentType...).want(201, header...)
			for _, reference := range []string{"v1", d} {
				for _, accept := range []string{"", "*/*", "application/json", "text/html", typeDockerImage} {
					want := []string{"Content-Type", c.mediaType, "Docker-Content-Digest", d, "Content-Length", fmt.Sprint(len(content)), "ETag", `"` + d + `"`}
					a := here.do("GET", "/v2/app/manifests/"+reference, nil, "Accept", accept).want(200, want...)
					if !bytes.Equal(a.body, content) {
						t.Errorf("got %q, want %q", a.body, content)
					}
					here.do("HEAD", "/v2/app/manifests/"+reference, nil, "Accept", accept).want(200, want...)
				}
			}
		})
	}
}

func TestManifestsBySha512(t *testing.T) {
	s := start(t, options{})
	s.PutBlob("app", imageConfig)
	content := registrytest.Image(imageConfig)
	d := oci.FromBytes(oci.SHA512, content).String()
	s.do("PUT", "/v2/app/manifests/v1?digest="+d, content, "Content-Type", typeImage).want(201, "Docker-Content-Digest", d)
	s.do("GET", "/v2/app/manifests/v1", nil).want(200, "Docker-Content-Digest", d)
	s.putManifest("app", d, typeImage, content).want(201, "Docker-Content-Digest", d)
	s.do("HEAD", "/v2/app/manifests/"+d, nil).want(200)
	s.do("HEAD", "/v2/app/manifests/"+sha256Of(content).String(), nil).want(404) // it was not pushed under that
}

func TestManifestOf4MiB(t *testing.T) {
	s := start(t, options{})
	s.PutBlob("app", imageConfig)
	content := registrytest.Image(imageConfig)
	content = append(content, bytes.Repeat([]byte(" "), 4<<20-len(content))...)
	s.putManifest("app", "v1", typeImage, content).want(201)
	if got := s.do("GET", "/v2/app/manifests/v1", nil).want(200).body; !bytes.Equal(got, content) {
		t.Errorf("got %d bytes", len(got))
	}
}

func TestSparse(t *testing.T) {
	image, index := registrytest.Image([]byte("missing")), registrytest.Index([]byte("missing"))
	for mode, want := range map[registry.Sparse][2]int{registry.SparseNone: {404, 404}, registry.SparseIndexes: {404, 201}, registry.SparseAll: {201, 201}} {
		s := start(t, options{registry: registry.Config{Sparse: mode}})
		s.putManifest("app", "image", typeImage, image).want(want[0])
		s.putManifest("app", "index", typeIndex, index).want(want[1])
	}
}

func TestTagParameters(t *testing.T) {
	s := start(t, options{})
	s.PutBlob("app", imageConfig)
	content := registrytest.Image(imageConfig)
	d := sha256Of(content).String()
	a := s.do("PUT", "/v2/app/manifests/"+d+"?tag=v1&tag=v1.2&tag=latest", content, "Content-Type", typeImage).want(201)
	if got := strings.Join(a.header.Values("OCI-Tag"), " "); got != "v1 v1.2 latest" {
		t.Errorf("OCI-Tag: %q", got)
	}
	for _, tag := range []string{"v1", "v1.2", "latest"} {
		s.do("HEAD", "/v2/app/manifests/"+tag, nil).want(200, "Docker-Content-Digest", d)
	}
}

func TestUnchangedManifest(t *testing.T) {
	s := start(t, options{})
	d := s.PutImage("app", "v1").String()
	for match, status := range map[string]int{`"` + d + `"`: 304, `W/"` + d + `"`: 304, `"x", "` + d + `"`: 304, "*": 304, `"x"`: 200, `"` + absent + `"`: 200} {
		a := s.do("GET", "/v2/app/manifests/v1", nil, "If-None-Match", match).want(status, "ETag", `"`+d+`"`)
		if (len(a.body) == 0) != (status == 304) {
			t.Errorf("If-None-Match %s: %d bytes", match, len(a.body))
		}
	}
	s.do("GET", "/v2/app/manifests/v2", nil, "If-None-Match", "*").wantError(404, oci.CodeManifestUnknown)
}

func TestDeletion(t *testing.T) {
	s := start(t, options{})
	layer := pattern(100)
	d := s.PutImage("app", "v1", layer).String()
	s.putManifest("app", "v2", typeImage, registrytest.Image(imageConfig, layer)).want(201)
	blob := "/v2/app/blobs/" + sha256Of(layer).String()

	s.do("DELETE", "/v2/app/manifests/v1", nil).want(202) // a tag: the manifest stays
	s.do("GET", "/v2/app/manifests/v1", nil).wantError(404, oci.CodeManifestUnknown)
	s.do("DELETE", "/v2/app/manifests/v1", nil).wantError(404, oci.CodeManifestUnknown)
	s.do("GET", "/v2/app/manifests/"+d, nil).want(200)
	s.do("DELETE", blob, nil).wantError(409, oci.CodeBlobInUse)

	s.do("DELETE", "/v2/app/manifests/"+d, nil).want(202) // a manifest: its tags go at once
	for _, reference := range []string{"v2", d} {
		s.do("GET", "/v2/app/manifests/"+reference, nil).wantError(404, oci.CodeManifestUnknown)
		s.do("HEAD", "/v2/app/manifests/"+reference, nil).want(404)
	}
	if got := string(s.do("GET", "/v2/app/tags/list", nil).want(200).body); got != `{"name":"app","tags":[]}` {
		t.Errorf("tags: %s", got)
	}
	s.do("DELETE", blob, nil).want(202)
	s.do("GET", blob, nil).wantError(404, oci.CodeBlobUnknown)
	s.do("DELETE", blob, nil).wantError(404, oci.CodeBlobUnknown)

	s.do("PUT", s.open("app")+"?digest="+sha256Of(layer).String(), layer).want(201) // and back
	s.do("GET", blob, nil).want(200)
	s.putManifest("app", "v1", typeImage, registrytest.Image(imageConfig, layer)).want(201, "Docker-Content-Digest", d)
	s.do("GET", "/v2/app/manifests/v1", nil).want(200)
}

func TestMount(t *testing.T) {
	s := start(t, options{hidden: "secret"})
	layer, hidden := pattern(20_000), pattern(30_000)
	s.PutBlob("source", layer)
	s.PutBlob("secret/app", hidden)
	d, h := sha256Of(layer).String(), sha256Of(hidden).String()
	mount := func(repository, query string) *answer {
		return s.do("POST", "/v2/"+repository+"/blobs/uploads/?"+query, nil)
	}
	mount("a", "mount="+d+"&from=source").want(201, "Location", "/v2/a/blobs/"+d, "Docker-Content-Digest", d)
	mount("b", "mount="+d).want(201) // from wherever the caller may read it
	for _, repository := range []string{"a", "b"} {
		if got := s.do("GET", "/v2/"+repository+"/blobs/"+d, nil).want(200).body; !bytes.Equal(got, layer) {
			t.Errorf("mounted %d bytes", len(got))
		}
	}
	before := s.Contents()
	for _, query := range []string{
		"mount=" + absent + "&from=source", "mount=" + absent,
		"mount=" + d + "&from=nobody", "mount=" + d + "&from=..%2Fsource", "mount=" + d + "&from=SOURCE",
		"mount=" + h + "&from=secret/app", "mount=" + h + "&from=source", "mount=" + h,
	} {
		a := mount("c", query).want(202)
		if l := a.header.Get("Location"); !strings.HasPrefix(l, "/v2/c/blobs/uploads/") {
			t.Errorf("%s: Location %q", query, l)
		}
	}
	if !before.Equal(s.Contents()) {
		t.Error("something was written")
	}
	upload := mount("c", "mount="+h+"&from=secret/app").want(202).header.Get("Location")
	s.do("PUT", upload+"?digest="+h, hidden).want(201) // who has the bytes may bring them
}

func TestHTTP2WithoutTLS(t *testing.T) {
	s := start(t, options{})
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	defer client.CloseIdleConnections()
	content := pattern(3 << 20)
	d := sha256Of(content).String()
	if a, err := s.try(client, "POST", "/v2/app/blobs/uploads/?digest="+d, bytes.NewBuffer(content)); err != nil || a.status != 201 {
		t.Fatal(a, err)
	}
	a, err := s.try(client, "GET", "/v2/app/blobs/"+d, nil)
	if err != nil || a.status != 200 || !bytes.Equal(a.body, content) {
		t.Fatal("the blob differs", err)
	}
	if a, err = s.try(client, "GET", "/v2/app/blobs/"+d, nil, "Range", "bytes=5-9"); err != nil || a.status != 206 || !bytes.Equal(a.body, content[5:10]) {
		t.Fatal(a, err)
	}
}
