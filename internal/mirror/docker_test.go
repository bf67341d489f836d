package mirror_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway/internal/mirror"
	"slipway/internal/registry/registrytest"
	"slipway/test/harness"
)

// TestDockerRegistryAsUpstream mirrors Debian's docker-registry, which is not
// this program.
func TestDockerRegistryAsUpstream(t *testing.T) {
	host, stop := startDockerRegistry(t)
	layer := random(3_000_000)
	image := registrytest.Image(config, layer)
	index := registrytest.Index(image)
	upload(t, host, "team/app", layer)
	upload(t, host, "team/app", config)
	put(t, host, "team/app/manifests/"+digestOf(image), "application/vnd.oci.image.manifest.v1+json", image)
	put(t, host, "team/app/manifests/1", "application/vnd.oci.image.index.v1+json", index)

	l := newLocal(t, mirror.Config{Upstreams: []mirror.Upstream{{Name: "upstream.example", URL: "http://" + host}}, MaxAge: time.Hour})
	for range 2 {
		l.want("team/app/manifests/1?ns=upstream.example", index)
		l.want("upstream.example/team/app/manifests/"+digestOf(image), image)
		l.want("upstream.example/team/app/blobs/"+digestOf(layer), layer)
		l.clock.Advance(2 * time.Hour)
	}
	l.want("upstream.example/team/app/manifests/1", index)
	put(t, host, "team/app/manifests/1", "application/vnd.oci.image.manifest.v1+json", image)
	l.want("upstream.example/team/app/manifests/1", index) // confirmed a moment ago
	l.clock.Advance(2 * time.Hour)
	l.want("upstream.example/team/app/manifests/1", image)
	stop()
	l.clock.Advance(2 * time.Hour)
	if resp := l.want("upstream.example/team/app/manifests/1", image); resp.Header.Get("Warning") == "" {
		t.Error("no warning")
	}
	l.want("upstream.example/team/app/blobs/"+digestOf(layer), layer)
}

// TestMirrorOfAMirror chains two: what is missing here is fetched there, and
// there.
func TestMirrorOfAMirror(t *testing.T) {
	u := newUpstream(t)
	layer := random(200_000)
	u.PutImage("library/debian", "bookworm", layer)
	inner := newLocal(t, mirrorOf(u))
	outer := newLocal(t, mirror.Config{Upstreams: []mirror.Upstream{{Name: "hub", URL: inner.server.URL}}, MaxAge: time.Hour})
	outer.want("hub/docker.io/debian/manifests/bookworm", registrytest.Image(config, layer))
	outer.want("hub/docker.io/debian/blobs/"+digestOf(layer), layer)
	if !inner.here(library, layer) {
		t.Error("the inner mirror kept nothing")
	}
}

// TestSkopeoCopiesThroughTheMirror is a real client, with the tag by tag and
// the image by digest.
func TestSkopeoCopiesThroughTheMirror(t *testing.T) {
	skopeo := harness.Tool(t, "skopeo")
	u := newUpstream(t)
	var buffer bytes.Buffer // an empty tar
	buffer.Write(make([]byte, 1024))
	image := u.PutImage("library/debian", "bookworm", buffer.Bytes())
	l := newLocal(t, mirrorOf(u))
	host := strings.TrimPrefix(l.server.URL, "http://")
	for i, source := range []string{"docker.io/library/debian:bookworm", "docker.io/debian:bookworm", "docker.io/library/debian@" + image.String()} {
		to := filepath.Join(t.TempDir(), fmt.Sprint("image", i))
		out, err := exec.Command(skopeo, "copy", "--insecure-policy", "--src-tls-verify=false", "docker://"+host+"/"+source, "dir:"+to).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", source, err, out)
		}
		if m, err := os.ReadFile(filepath.Join(to, "manifest.json")); err != nil || digestOf(m) != image.String() {
			t.Errorf("%s: %v, digest %s", source, err, digestOf(m))
		}
	}
}

func startDockerRegistry(t *testing.T) (host string, stop func()) {
	t.Helper()
	bin := harness.Tool(t, "docker-registry")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host = l.Addr().String()
	_ = l.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage:\n  filesystem: {rootdirectory: %s}\nhttp: {addr: %s}\n", dir, host), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "serve", file)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // not REGISTRY_…
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	t.Cleanup(stop)
	within(t, "docker-registry answers", func() bool {
		resp, err := http.Get("http://" + host + "/v2/")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil
	})
	return host, stop
}

func upload(t *testing.T, host, repository string, content []byte) {
	t.Helper()
	resp, err := http.Post("http://"+host+"/v2/"+repository+"/blobs/uploads/", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	location, err := resp.Location()
	if err != nil {
		t.Fatal(err)
	}
	q := location.Query()
	q.Set("digest", digestOf(content))
	location.RawQuery = q.Encode()
	send(t, location.String(), "application/octet-stream", content)
}

func put(t *testing.T, host, path, contentType string, content []byte) {
	t.Helper()
	send(t, "http://"+host+"/v2/"+path, contentType, content)
}

func send(t *testing.T, url, contentType string, content []byte) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPut, url, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusCreated {
		t.Fatalf("PUT %s: %s %s", url, resp.Status, body)
	}
}
