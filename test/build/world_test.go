//go:build linux

package build

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"slipway/internal/buildkit"
	"slipway/internal/buildkit/child"
	"slipway/internal/oci"
	"slipway/internal/pipeline"
	"slipway/internal/pipeline/local"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
)

// world is a server: a registry with a busybox, and a pipeline that builds into
// it with a real builder.
type world struct {
	t      *testing.T
	store  *registrytest.Store
	daemon *child.Daemon
	config pipeline.Config
	engine *pipeline.Engine
	bases  map[string]image // by name, as a Dockerfile says it
}

func newWorld(t *testing.T, d *child.Daemon) *world {
	t.Helper()
	w := &world{t: t, store: registrytest.Open(t, registry.Config{}, nil), daemon: d, bases: map[string]image{}}
	images := &local.Store{Registry: w.store.Registry}
	w.config = pipeline.Config{
		DB: w.store.DB, Store: images, Solver: buildkit.New(d, images), Builder: buildkit.Version(), Platform: nativeName,
		Resolver:  &local.Resolver{DB: w.store.DB, Registry: w.store.Registry},
		Publisher: &local.Publisher{Registry: w.store.Registry},
		Hosts:     []string{"localhost:5000"}, ID: "slipway://test", Version: "test",
	}
	w.restart()
	w.base("busybox:1", "one")
	return w
}

// restart makes the engine again, with what was changed in config.
func (w *world) restart() {
	w.t.Helper()
	var err error
	if w.engine, err = pipeline.New(w.config); err != nil {
		w.t.Fatal(err)
	}
}

// nativeName is the platform of this machine.
const nativeName = "linux/" + runtime.GOARCH

// project is a folder that is built, and how.
type project struct {
	*world
	dir     string
	request pipeline.Request
	log     []string // of the last run
}

// newProject makes a folder with files.
func (w *world) newProject(name string, files map[string]string) *project {
	w.t.Helper()
	p := &project{world: w, dir: filepath.Join(w.t.TempDir(), name)}
	p.request = pipeline.Request{Project: name, Actor: "somebody", Cause: "test", Explain: true}
	p.mkdir(".")
	for file, text := range files {
		p.write(file, text)
	}
	return p
}

// run builds the project. Its log is kept, and shown if the test fails.
func (p *project) run() (pipeline.Outcome, error) {
	p.t.Helper()
	var mu sync.Mutex
	p.log = nil
	p.request.Dir = p.dir
	o, err := p.engine.Run(p.t.Context(), p.request, func(e pipeline.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Line != nil || e.Section != "" {
			p.log = append(p.log, e.Section+e.Text())
		}
	})
	return o, err
}

// mustRun ends the test if the run fails.
func (p *project) mustRun() pipeline.Outcome {
	p.t.Helper()
	o, err := p.run()
	if err != nil {
		p.t.Fatalf("the run failed: %v; its log:\n%s", err, p.text())
	}
	return o
}

// mustFail wants a failure of a kind, and an error that says all of the texts.
// Nothing may have been published by it.
func (p *project) mustFail(kind pipeline.Kind, says ...string) pipeline.Outcome {
	p.t.Helper()
	before := p.published()
	o, err := p.run()
	var f *pipeline.Failure
	if !errors.As(err, &f) {
		p.t.Fatalf("the run ended with %v, want a failure of kind %s; its log:\n%s", err, kind, p.text())
	}
	if f.Kind != kind {
		p.t.Errorf("it failed as %q, want %q: %v; its log:\n%s", f.Kind, kind, err, p.text())
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			p.t.Errorf("the error does not say %q: %v", text, err)
		}
	}
	if after := p.published(); !maps.Equal(before, after) {
		p.t.Errorf("a run that failed changed what is published from %v to %v", before, after)
	}
	return o
}

func (p *project) text() string { return strings.Join(p.log, "\n") }

// published is every tag that clients can see, and every manifest in the
// repositories that they can see.
func (w *world) published() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	each := func(query string) {
		err := w.store.DB.Read(context.Background()).Each(query, nil, func(scan func(...any) error) error {
			var name, digest string
			defer func() { all[name] = digest }()
			return scan(&name, &digest)
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	each(publishedTags)
	each(publishedManifests)
	return all
}

// images are what a run made or reused: by target and platform.
func images(o pipeline.Outcome) map[string]oci.Digest {
	m := map[string]oci.Digest{}
	for _, t := range o.Targets {
		m[t.Target+" "+t.Platform] = t.Manifest
	}
	return m
}

func verdicts(o pipeline.Outcome) map[string]pipeline.Verdict {
	m := map[string]pipeline.Verdict{}
	for _, t := range o.Targets {
		m[t.Target+" "+t.Platform] = t.Verdict
	}
	return m
}

func reasons(o pipeline.Outcome) string {
	var all []string
	for _, t := range o.Targets {
		for _, r := range t.Reasons {
			all = append(all, r.String())
		}
	}
	return strings.Join(all, "; ")
}

// The rest changes a project's folder.

func (p *project) path(name string) string { return filepath.Join(p.dir, filepath.FromSlash(name)) }

func (p *project) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *project) mkdir(name string) {
	p.t.Helper()
	p.must(os.MkdirAll(p.path(name), 0o755))
}

// write writes a file with mode 0644; what is in the way is removed.
func (p *project) write(name, text string) {
	p.t.Helper()
	p.must(os.MkdirAll(filepath.Dir(p.path(name)), 0o755))
	p.must(os.RemoveAll(p.path(name)))
	p.must(os.WriteFile(p.path(name), []byte(text), 0o644))
	p.chmod(name, 0o644)
}

func (p *project) read(name string) string {
	p.t.Helper()
	b, err := os.ReadFile(p.path(name))
	p.must(err)
	return string(b)
}

// replace changes a text in a file, which must be there once.
func (p *project) replace(name, old, new string) {
	p.t.Helper()
	text := p.read(name)
	if strings.Count(text, old) != 1 {
		p.t.Fatalf("%s has %q %d times", name, old, strings.Count(text, old))
	}
	p.write(name, strings.Replace(text, old, new, 1))
}

func (p *project) add(name, text string) {
	p.t.Helper()
	p.write(name, p.read(name)+text)
}

func (p *project) chmod(name string, mode os.FileMode) {
	p.t.Helper()
	p.must(os.Chmod(p.path(name), mode))
}

func (p *project) remove(name string) {
	p.t.Helper()
	p.must(os.RemoveAll(p.path(name)))
}

func (p *project) symlink(to, name string) {
	p.t.Helper()
	p.must(os.RemoveAll(p.path(name)))
	p.must(os.Symlink(to, p.path(name)))
}

func (p *project) rename(from, to string) {
	p.t.Helper()
	p.must(os.MkdirAll(filepath.Dir(p.path(to)), 0o755))
	p.must(os.Rename(p.path(from), p.path(to)))
}

const (
	publishedTags      = `SELECT r.name || ':' || t.name, t.digest FROM tags t JOIN repositories r ON r.id = t.repository_id WHERE substr(r.name, 1, 1) <> '_'`
	publishedManifests = `SELECT r.name || '@' || m.digest, m.digest FROM manifests m JOIN repositories r ON r.id = m.repository_id WHERE substr(r.name, 1, 1) <> '_'`
)
