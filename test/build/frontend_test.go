//go:build linux

package build

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/internal/oci"
	"slipway/internal/pipeline"
)

// TestHostileFrontend builds with a frontend that asks for what is not its own:
// it is code of strangers, which a project names in the first line of its
// Dockerfile, and it talks to the builder directly.
func TestHostileFrontend(t *testing.T) {
	program := filepath.Join(t.TempDir(), "frontend")
	cmd := exec.Command("go", "build", "-o", program, "./frontend")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	code, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}

	w := newWorld(t, builder(t))
	w.baseImage("front:1", newImage(native(), imageConfig{ImageConfig: v1.ImageConfig{Entrypoint: []string{"/frontend"}}}, files(map[string]string{"frontend": string(code)})))
	// In the store and, as a base of the other project, in the builder's cache.
	foreign := w.base("foreign:1", "of somebody else")
	other := w.newProject("other", map[string]string{"Dockerfile": "FROM foreign:1\nCOPY secret.txt /\nRUN cat /secret.txt /base.txt > /both\n", "secret.txt": "the crown jewels"})
	secret := images(other.mustRun())["default "+nativeName]
	layers := w.layers("_builds/other", secret)

	p := w.newProject("hostile", map[string]string{"Dockerfile": "# syntax=front:1\nFROM busybox:1\nARG ASK\nCOPY f /\n", "f": "mine"})
	ask := func(what string) { p.request.Set = []string{"default.args.ASK=" + what} }

	ask("context:")
	honest := p.mustRun() // or the rest would fail for another reason
	if verdicts(honest)["default "+nativeName] != pipeline.Built {
		t.Fatalf("verdicts are %v", verdicts(honest))
	}
	ask("layout:" + w.digest("busybox:1").String())
	p.mustRun() // its base it may have

	const (
		view   = "is not part of this build"
		policy = "denied by policy"
		folder = "no access allowed to dir"
	)
	for name, test := range map[string]struct{ ask, says string }{
		"image of another project":          {"layout:" + secret.String(), view},
		"the same under another name":       {"session:" + secret.String(), view},
		"layer of another project":          {"layout:" + layers[len(layers)-1].String(), view},
		"image that is no base":             {"layout:" + foreign.String(), view},
		"image that is not here":            {"layout:sha256:" + "00000000000000000000000000000000000000000000000000000000000000ff", view},
		"image by name":                     {"image:docker.io/library/foreign:1", policy},
		"image by name and digest":          {"image:docker.io/library/foreign@" + foreign.String(), policy},
		"configuration of an image by name": {"resolve:docker.io/library/foreign:1", policy},
		"folder of this machine":            {"local:/etc", folder},
		"folder with a name of the session": {"local:exporter", folder},
	} {
		t.Run(name, func(t *testing.T) {
			p.t = t
			ask(test.ask)
			o := p.mustFail(pipeline.KindBuild, test.says)
			if d := images(o)["default "+nativeName]; d != "" {
				t.Errorf("it made image %s", d)
			}
		})
	}
}

// digest is what a base is known by.
func (w *world) digest(base string) oci.Digest {
	return oci.FromBytes(oci.SHA256, w.bases[base].manifest)
}

// layers are the layers of an image in the store.
func (w *world) layers(repository string, d oci.Digest) (list []oci.Digest) {
	w.t.Helper()
	var m v1.Manifest
	if err := json.Unmarshal(w.manifest(repository, d), &m); err != nil {
		w.t.Fatal(err)
	}
	for _, l := range m.Layers {
		list = append(list, l.Digest)
	}
	return list
}

func (w *world) manifest(repository string, d oci.Digest) []byte {
	w.t.Helper()
	_, content, err := w.config.Store.Manifest(w.t.Context(), repository, d)
	if err != nil {
		w.t.Fatal(err)
	}
	return content
}

// imageOf is the configuration of an image in the store.
func (w *world) imageOf(repository string, d oci.Digest) (config v1.Image) {
	w.t.Helper()
	var m v1.Manifest
	if err := json.Unmarshal(w.manifest(repository, d), &m); err != nil {
		w.t.Fatal(err)
	}
	b, err := w.config.Store.OpenBlob(w.t.Context(), repository, m.Config.Digest)
	if err != nil {
		w.t.Fatal(err)
	}
	defer b.Close()
	raw, err := io.ReadAll(b)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		w.t.Fatal(err)
	}
	return config
}
