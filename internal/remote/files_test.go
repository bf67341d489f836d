package remote

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	tarballs "github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/zstd"
)

func TestPullAndPushKeepDigests(t *testing.T) {
	everywhere(t, func(t *testing.T, _ kind, host string) {
		c := newClient(t)
		d := pushIndex(t, c, host+"/a:1")
		for _, file := range []string{"layout", "layout.tar"} {
			file = filepath.Join(t.TempDir(), file)
			p, err := c.Pull(ctx, host+"/a:1", file, PullOptions{Format: FormatOCI})
			must(t, err)
			if p.Digest != d.String() || p.Blobs != 12 {
				t.Errorf("pulled %+v, want %s with 12 blobs", p, d)
			}
			to := startMemory()(t) + "/b:2"
			got, err := c.Push(ctx, file, to, ImportOptions{})
			must(t, err)
			if got.Digest != d.String() || !bytes.Equal(raw(t, c, to), raw(t, c, host+"/a:1")) {
				t.Errorf("pushed %+v, want %s", got, d)
			}
		}
	})
}

func TestPullContinuesALayout(t *testing.T) {
	c := newClient(t)
	host, dir := startMemory()(t), filepath.Join(t.TempDir(), "layout")
	one := pushImage(t, c, host+"/a:1", image(t, "linux/amd64"))
	two := pushImage(t, c, host+"/a:2", image(t, "linux/amd64"))
	for _, tag := range []string{"1", "2", "1"} {
		_, err := c.Pull(ctx, host+"/a:"+tag, dir, PullOptions{})
		must(t, err)
	}
	if _, err := c.Push(ctx, dir, host+"/b", ImportOptions{}); err == nil || !strings.Contains(err.Error(), "2 images: 2, 1; choose one with --image") {
		t.Errorf("pushing one of two: %v", err)
	}
	for name, want := range map[string]v1.Hash{"1": one, "2": two, two.String(): two} {
		got, err := c.Push(ctx, dir, host+"/b:x", ImportOptions{Image: name})
		must(t, err)
		if got.Digest != want.String() {
			t.Errorf("pushed %s for %q, want %s", got.Digest, name, want)
		}
	}
	busy := t.TempDir()
	must(t, os.WriteFile(filepath.Join(busy, "precious"), nil, 0o600))
	if _, err := c.Pull(ctx, host+"/a:1", busy, PullOptions{}); err == nil || !strings.Contains(err.Error(), "holds other files") {
		t.Errorf("pulling into a folder with other files: %v", err)
	}
}

func TestDockerArchive(t *testing.T) {
	everywhere(t, func(t *testing.T, _ kind, host string) {
		c := newClient(t)
		pushIndex(t, c, host+"/a:1")
		file := filepath.Join(t.TempDir(), "a.tar")
		p, err := c.Pull(ctx, host+"/a:1", file, PullOptions{Platform: "linux/arm64"})
		must(t, err)
		saved, err := tarballs.ImageFromPath(file, nil)
		must(t, err)
		validImage(t, saved)
		manifest, err := tarballs.LoadManifest(func() (io.ReadCloser, error) { return os.Open(file) })
		must(t, err)
		if tags := manifest[0].RepoTags; len(tags) != 1 || tags[0] != host+"/a:1" {
			t.Errorf("RepoTags = %v", tags)
		}
		got, err := c.Push(ctx, file, host+"/b:1", ImportOptions{})
		must(t, err)
		in, err := c.Inspect(ctx, host+"/b:1", "")
		must(t, err)
		was, err := c.Inspect(ctx, p.Reference, "linux/arm64")
		must(t, err)
		if in.Image.Layers[0].Digest != was.Image.Layers[0].Digest || in.Image.Platform != "linux/arm64" {
			t.Errorf("pushed %+v, want the layers of %+v", got, was)
		}
	})
}

// What docker save wrote for years: layers are plain tars.
func TestPushCompressesPlainLayers(t *testing.T) {
	c := newClient(t)
	host := startMemory()(t)
	layer := tarOf(t, entry{"etc/hi", "hello"})
	config := mustJSON(t, v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{digestOf(layer)}}})
	archive := func(layer []byte) string {
		return fileOf(t, tarOf(t, entry{"abc.json", string(config)}, entry{"x/layer.tar", string(layer)},
			entry{"manifest.json", `[{"Config":"abc.json","RepoTags":["a:1"],"Layers":["x/layer.tar"]}]`}))
	}
	_, err := c.Push(ctx, archive(layer), host+"/a:1", ImportOptions{})
	must(t, err)
	img, err := c.puller.Get(ctx, ref(t, c, host+"/a:1"))
	must(t, err)
	pushed, err := img.Image()
	must(t, err)
	validImage(t, pushed)

	_, err = c.Push(ctx, archive(append(layer, 0)), host+"/a:2", ImportOptions{})
	if err == nil || !strings.Contains(err.Error(), "not the "+digestOf(layer).String()) {
		t.Errorf("a layer that its configuration does not know: %v", err)
	}
}

func TestImportRootFS(t *testing.T) {
	everywhere(t, func(t *testing.T, k kind, host string) {
		c := newClient(t)
		plain := tarOf(t, entry{"./bin/sh", strings.Repeat("sh", 1000)}, entry{"etc/hi", "hello"})
		var zipped, zst bytes.Buffer
		z := gzip.NewWriter(&zipped)
		_, err := z.Write(plain)
		must(t, errors.Join(err, z.Close()))
		e, err := zstd.NewWriter(&zst)
		must(t, err)
		_, err = e.Write(plain)
		must(t, errors.Join(err, e.Close()))

		o := ImportOptions{Platform: "linux/arm64", Cmd: []string{"/bin/sh"}, Env: []string{"A=b=c"}, Labels: map[string]string{"x": "y", "a": "b"}, User: "7", Workdir: "/w"}
		digests := map[string]bool{}
		for _, content := range [][]byte{plain, zipped.Bytes(), zst.Bytes()} {
			got, err := c.Import(ctx, fileOf(t, content), host+"/a:1", o)
			must(t, err)
			digests[got.Digest] = true
		}
		if len(digests) != 1 {
			t.Errorf("equal input gave %d digests", len(digests))
		}
		in, err := c.Inspect(ctx, host+"/a:1", "")
		must(t, err)
		if in.Image.Platform != "linux/arm64" || in.Image.Config.User != "7" || in.Image.Labels["x"] != "y" || in.Image.Created.Unix() != 0 {
			t.Errorf("image = %+v", in.Image)
		}
		d, err := c.puller.Get(ctx, ref(t, c, host+"/a:1"))
		must(t, err)
		img, err := d.Image()
		must(t, err)
		validImage(t, img)

		o.Compression, o.Created = "zstd", time.Unix(1e9, 0)
		_, err = c.Import(ctx, fileOf(t, plain), host+"/a:zstd", o)
		must(t, err)
		in, err = c.Inspect(ctx, host+"/a:zstd", "")
		must(t, err)
		if mt := in.Image.Layers[0].MediaType; !strings.HasSuffix(mt, "tar+zstd") || in.Image.Created.Unix() != 1e9 {
			t.Errorf("layer %s, created %s", mt, in.Image.Created)
		}
	})
}

func TestImportRefuses(t *testing.T) {
	c := newClient(t)
	host := startMemory()(t)
	good := tarOf(t, entry{"a", "b"})
	for name, row := range map[string]struct {
		content []byte
		o       ImportOptions
		want    string
	}{
		"no tar":          {content: []byte(strings.Repeat("not a tar ", 200)), want: "not a tar archive"},
		"nothing":         {want: "empty"},
		"empty tar":       {content: make([]byte, 1024), want: "empty"},
		"cut off":         {content: tarOf(t, entry{"a", strings.Repeat("x", 4096)})[:2048], want: "not a tar archive"},
		"way out":         {content: tarOf(t, entry{"../../etc/passwd", ""}), want: "leads out of the archive"},
		"xz":              {content: []byte("\xfd7zXZ\x00..."), want: "xz -dc FILE"},
		"bad env":         {content: good, o: ImportOptions{Env: []string{"A"}}, want: "NAME=VALUE"},
		"bad compression": {content: good, o: ImportOptions{Compression: "lzma"}, want: "gzip or zstd"},
		"bad platform":    {content: good, o: ImportOptions{Platform: "arm"}, want: "not a platform"},
		"bad format":      {content: good, o: ImportOptions{Format: "zip"}, want: "not a format"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Import(ctx, fileOf(t, row.content), host+"/a:1", row.o)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error = %v, want %q", err, row.want)
			}
		})
	}
	if repos, err := c.Catalog(ctx, host); err != nil || len(repos) > 0 {
		t.Errorf("something was uploaded: %v %v", repos, err)
	}
	if _, err := c.Push(ctx, fileOf(t, good), host+"/a:1", ImportOptions{}); err == nil || !strings.Contains(err.Error(), "slipway import") {
		t.Errorf("push of a root file system: %v", err)
	}
}

// A layout on disk may be damaged, or point out of itself.
func TestLayoutIsVerified(t *testing.T) {
	c := newClient(t)
	host, dir := startMemory()(t), filepath.Join(t.TempDir(), "layout")
	pushImage(t, c, host+"/a:1", image(t, "linux/amd64"))
	_, err := c.Pull(ctx, host+"/a:1", dir, PullOptions{})
	must(t, err)
	in, err := c.Inspect(ctx, host+"/a:1", "")
	must(t, err)
	layer := filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(in.Image.Layers[1].Digest, "sha256:"))
	content, err := os.ReadFile(layer)
	must(t, err)
	content[100] ^= 1
	must(t, os.WriteFile(layer, content, 0o600))
	if _, err := c.Push(ctx, dir, startMemory()(t)+"/b:1", ImportOptions{}); err == nil || !strings.Contains(err.Error(), in.Image.Layers[1].Digest+" has the digest") {
		t.Errorf("pushing a damaged layer: %v", err)
	}
	must(t, os.Remove(layer))
	must(t, os.Symlink("/etc/hostname", layer))
	if _, err := c.Push(ctx, dir, startMemory()(t)+"/b:1", ImportOptions{}); err == nil {
		t.Error("a link out of the layout was followed")
	}
}

// validImage checks that the layers unpack to what the configuration says.
func validImage(t *testing.T, img v1.Image) {
	t.Helper()
	cfg, err := img.ConfigFile()
	must(t, err)
	layers, err := img.Layers()
	must(t, err)
	if len(layers) == 0 || len(layers) != len(cfg.RootFS.DiffIDs) {
		t.Fatalf("%d layers, %d diff ids", len(layers), len(cfg.RootFS.DiffIDs))
	}
	for i, l := range layers {
		rc, err := l.Uncompressed()
		must(t, err)
		sum := newMeter(io.Discard)
		_, err = io.Copy(sum, rc)
		must(t, err)
		must(t, matches(sum.digest(), cfg.RootFS.DiffIDs[i]))
	}
}

type entry struct{ name, content string }

func tarOf(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, e := range entries {
		must(t, tw.WriteHeader(&tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.content)), Typeflag: tar.TypeReg}))
		_, err := tw.Write([]byte(e.content))
		must(t, err)
	}
	must(t, tw.Close())
	return b.Bytes()
}

func fileOf(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, content, 0o600))
	return path
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return b
}
