package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway/test/harness"

	"github.com/google/go-containerregistry/pkg/name"
	memory "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// kind is a registry that the suite runs against, and what it can do.
type kind struct {
	name        string
	start       func(t *testing.T) (host string)
	deletesTags bool
	mounts      bool
}

var kinds = []kind{
	{name: "memory", start: startMemory(memory.WithReferrersSupport(true)), deletesTags: true},
	{name: "memory without referrers", start: startMemory(), deletesTags: true},
	{name: "docker-registry", start: startDockerRegistry, mounts: true},
}

// everywhere runs a test against each kind of registry.
func everywhere(t *testing.T, f func(t *testing.T, k kind, host string)) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) { f(t, k, k.start(t)) })
	}
}

func startMemory(o ...memory.Option) func(*testing.T) string {
	return func(t *testing.T) string {
		s := httptest.NewServer(memory.New(append(o, memory.Logger(log.New(io.Discard, "", 0)))...))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
}

// startDockerRegistry runs Debian's docker-registry 2.8 with deletion allowed.
func startDockerRegistry(t *testing.T) string {
	bin := harness.Tool(t, "docker-registry")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	host := l.Addr().String()
	must(t, l.Close())
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	must(t, os.WriteFile(config, fmt.Appendf(nil, `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
http: {addr: %s}
`, dir, host), 0o600))
	cmd := exec.Command(bin, "serve", config)
	// It would take REGISTRY_AUTH_FILE for a part of its configuration.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 200 {
		if resp, err := http.Get("http://" + host + "/v2/"); err == nil {
			resp.Body.Close()
			return host
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatal("docker-registry does not answer")
	return ""
}

func newClient(t *testing.T) *Client {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("DOCKER_CONFIG", home)
	t.Setenv("REGISTRY_AUTH_FILE", "")
	t.Setenv("XDG_RUNTIME_DIR", home)
	t.Setenv("XDG_CONFIG_HOME", home)
	c, err := New(Options{})
	must(t, err)
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ref(t *testing.T, c *Client, text string) name.Reference {
	t.Helper()
	r, err := c.parseReference(text)
	must(t, err)
	return r
}

// raw fetches a manifest's bytes.
func raw(t *testing.T, c *Client, text string) []byte {
	t.Helper()
	m, err := c.manifest(context.Background(), ref(t, c, text))
	must(t, err)
	return m.raw
}

// image makes a random image for a platform.
func image(t *testing.T, platform string) v1.Image {
	t.Helper()
	img, err := random.Image(2048, 3)
	must(t, err)
	img = mutate.MediaType(img, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	cfg, err := img.ConfigFile()
	must(t, err)
	cfg = cfg.DeepCopy()
	p, err := v1.ParsePlatform(platform)
	must(t, err)
	cfg.OS, cfg.Architecture, cfg.Variant = p.OS, p.Architecture, p.Variant
	cfg.Config = v1.Config{Entrypoint: []string{"/app"}, Cmd: []string{"--port", "80"}, Env: []string{"A=1"}, User: "1000",
		WorkingDir: "/srv", ExposedPorts: map[string]struct{}{"80/tcp": {}}, Labels: map[string]string{"team": "\x1b[31mred"}}
	cfg.History = []v1.History{{CreatedBy: "FROM scratch", EmptyLayer: true}, {CreatedBy: "ADD one"}, {CreatedBy: "RUN two"}}
	img, err = mutate.ConfigFile(img, cfg)
	must(t, err)
	return img
}

func pushImage(t *testing.T, c *Client, to string, img v1.Image) v1.Hash {
	t.Helper()
	must(t, c.pusher.Push(context.Background(), ref(t, c, to), img))
	d, err := img.Digest()
	must(t, err)
	return d
}

// pushIndex writes an index whose bytes no marshaler would produce: two
// platforms, and an index inside with a third.
func pushIndex(t *testing.T, c *Client, to string) v1.Hash {
	t.Helper()
	r := ref(t, c, to)
	entry := func(platform string) mutate.IndexAddendum {
		img := image(t, platform)
		must(t, c.pusher.Push(context.Background(), r.Context().Digest(digestText(t, img)), img))
		p, _ := v1.ParsePlatform(platform)
		return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: p}}
	}
	inner := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), entry("linux/arm/v7"))
	must(t, c.pusher.Push(context.Background(), r.Context().Digest(digestText(t, inner)), inner))
	outer := mutate.AppendManifests(empty.Index, entry("linux/amd64"), entry("linux/arm64"), mutate.IndexAddendum{Add: inner})
	compact, err := outer.RawManifest()
	must(t, err)
	var odd bytes.Buffer
	must(t, json.Indent(&odd, append([]byte(`{"x-unknown":[1, 2.50],`), compact[1:]...), "", "\t"))
	odd.WriteString("\n\n")
	m, err := parseManifest(odd.Bytes(), "", digestOf(odd.Bytes()))
	must(t, err)
	must(t, c.pusher.Put(context.Background(), r, m))
	return m.desc.Digest
}

func digestText(t *testing.T, m interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	d, err := m.Digest()
	must(t, err)
	return d.String()
}

// pushReferrer attaches an artifact to a manifest and returns its digest.
func pushReferrer(t *testing.T, c *Client, repo string, subject v1.Hash, content string) v1.Hash {
	t.Helper()
	ctx := context.Background()
	r, err := c.parseRepository(repo)
	must(t, err)
	m, err := c.manifest(ctx, r.Digest(subject.String()))
	must(t, err)
	dst := &repoSink{client: c, repo: r}
	blob := func(b []byte, mt types.MediaType) v1.Descriptor {
		d := v1.Descriptor{MediaType: mt, Size: int64(len(b)), Digest: digestOf(b)}
		_, err := dst.putBlob(ctx, d, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil })
		must(t, err)
		return d
	}
	manifestBytes, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": types.OCIManifestSchema1, "artifactType": "application/vnd.example.signature",
		"config":  blob([]byte("{}"), types.OCIEmptyJSON),
		"layers":  []v1.Descriptor{blob([]byte(content), "text/plain")},
		"subject": m.desc,
	})
	must(t, err)
	referrer, err := parseManifest(manifestBytes, "", digestOf(manifestBytes))
	must(t, err)
	must(t, dst.putManifest(ctx, referrer))
	return referrer.desc.Digest
}
