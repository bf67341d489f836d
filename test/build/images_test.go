//go:build linux

package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/internal/oci"
	"slipway/internal/registry/registrytest"
	"slipway/test/harness"
)

// layer is a compressed layer, and the digest of what is in it.
type layer struct {
	blob []byte
	diff digest.Digest
}

// files makes a layer of regular files; a content of "-> X" is a symbolic link
// to X. Names ending in a slash are folders.
func files(content map[string]string) layer {
	var b bytes.Buffer
	sum := digest.SHA256.Digester()
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(io.MultiWriter(z, sum.Hash()))
	for _, name := range slices.Sorted(maps.Keys(content)) {
		h, body := &tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeReg}, content[name]
		if to, ok := strings.CutPrefix(body, "-> "); ok {
			h.Typeflag, h.Linkname, body = tar.TypeSymlink, to, ""
		}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, body = tar.TypeDir, ""
		}
		h.Size = int64(len(body))
		if err := w.WriteHeader(h); err != nil {
			panic(err) // the content is this package's own
		}
		if _, err := io.WriteString(w, body); err != nil {
			panic(err) // to memory
		}
	}
	_, _ = w.Close(), z.Close() // to memory
	return layer{b.Bytes(), sum.Digest()}
}

// busyboxLayer is a system of one static program.
var busyboxLayer = sync.OnceValue(func() layer {
	program, err := os.ReadFile(busyboxPath)
	if err != nil {
		panic(err) // it was there a moment ago
	}
	content := map[string]string{"bin/busybox": string(program), "tmp/": "", "etc/passwd": "root:x:0:0:root:/:/bin/sh\n"}
	for _, name := range strings.Fields("sh cat ls mkdir cp mv rm env grep sleep wget nc stat touch printf test id readlink sha256sum tr sed ip") {
		content["bin/"+name] = "-> busybox"
	}
	return files(content)
})

var busyboxPath string

func busybox(t *testing.T) layer {
	t.Helper()
	busyboxPath = sync.OnceValue(func() string { return harness.Tool(t, "busybox") })()
	return busyboxLayer()
}

// image is the blobs of an image: its layers and its configuration.
type image struct {
	manifest, config []byte
	layers           []layer
}

// imageConfig is Docker's, which has one field more than OCI's.
type imageConfig struct {
	v1.ImageConfig
	OnBuild []string `json:",omitempty"`
}

func newImage(platform v1.Platform, config imageConfig, layers ...layer) image {
	c := struct {
		v1.Platform
		Config  imageConfig  `json:"config"`
		RootFS  v1.RootFS    `json:"rootfs"`
		History []v1.History `json:"history"`
	}{Platform: platform, Config: config}
	c.RootFS.Type = "layers"
	if c.Config.Env == nil {
		c.Config.Env = []string{"PATH=/bin"}
	}
	var blobs [][]byte
	for _, l := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, l.diff)
		blobs = append(blobs, l.blob)
		c.History = append(c.History, v1.History{CreatedBy: "test"})
	}
	raw, err := json.Marshal(c)
	if err != nil {
		panic(err) // plain data
	}
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: registrytest.Descriptor(v1.MediaTypeImageConfig, raw)}
	m.SchemaVersion = 2
	for _, b := range blobs {
		m.Layers = append(m.Layers, registrytest.Descriptor(v1.MediaTypeImageLayerGzip, b))
	}
	return image{registrytest.JSON(m), raw, layers}
}

func native() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// push stores an image in a repository under a tag.
func (w *world) push(repository, tag string, i image) oci.Digest {
	w.t.Helper()
	for _, l := range i.layers {
		w.store.PutBlob(repository, l.blob)
	}
	w.store.PutBlob(repository, i.config)
	return w.store.PutManifest(repository, i.manifest, tag)
}

// base pushes an image under a name as a Dockerfile says it: "busybox:1". It is
// a busybox with one more file in it; pushing it again with other text moves
// the tag.
func (w *world) base(name, text string) oci.Digest {
	w.t.Helper()
	return w.baseImage(name, newImage(native(), imageConfig{}, busybox(w.t), files(map[string]string{"base.txt": text})))
}

func (w *world) baseImage(name string, i image) oci.Digest {
	w.t.Helper()
	repository, tag, ok := strings.Cut(name, ":")
	if !ok {
		tag = "latest"
	}
	d := w.push("docker.io/library/"+repository, tag, i)
	w.bases[name] = i
	return d
}
