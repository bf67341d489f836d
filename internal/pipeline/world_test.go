package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/internal/bake"
	"slipway/internal/oci"
	"slipway/internal/pipeline"
	"slipway/internal/pipeline/local"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
)

// world is a registry with a base image, an engine whose builder is a fake, and
// a project: a base target and an app that is built on it.

type world struct {
	t       *testing.T
	store   *registrytest.Store
	clock   *registrytest.Clock
	engine  *pipeline.Engine
	solver  *fakeSolver
	project *bake.Project
	dir     string
	request pipeline.Request
	log     []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: registrytest.NewClock(), dir: t.TempDir()}
	w.store = registrytest.Open(t, registry.Config{InlineLimit: 1}, w.clock)
	w.store.PutImage("docker.io/library/debian", "12", []byte("debian 12"))
	w.write("base/packages", "curl")
	w.write("base/Dockerfile", "FROM debian:12\nCOPY packages /\n")
	w.write("app/main.go", "package main")
	w.write("app/notes.txt", "not copied")
	w.write("app/Dockerfile", "FROM base\nARG VERSION\nCOPY main.go /\n")
	w.write("test/Dockerfile", "FROM base\nCOPY --from=app main.go /\n")
	w.project = &bake.Project{
		Kind: bake.KindBake, Files: []string{"docker-bake.hcl"}, Settings: bake.Settings{Keep: bake.DefaultKeep},
		Selected: []string{"base", "app"},
		Targets: map[string]*bake.Target{
			"base": {Name: "base", Context: here("base"), Dockerfile: "base/Dockerfile"},
			"app": {Name: "app", Context: here("app"), Dockerfile: "app/Dockerfile", Tags: []string{"cool-app:latest"},
				Contexts: map[string]bake.Context{"base": {Kind: bake.ContextTarget, Value: "base"}}, Needs: []string{"base"}},
		},
	}
	images := &local.Store{Registry: w.store.Registry}
	w.solver = &fakeSolver{store: images, builds: map[string]int{}, fail: map[string]error{}, reports: map[string][]pipeline.Report{}}
	w.configure(func(*pipeline.Config) {})
	w.request = pipeline.Request{Project: "cool-app", Dir: w.dir, Actor: "somebody", Cause: "by hand"}
	return w
}

// configure makes the engine anew.

func (w *world) configure(change func(*pipeline.Config)) {
	w.t.Helper()
	c := pipeline.Config{
		DB: w.store.DB, Store: w.solver.store, Solver: w.solver, Builder: "fake 1", Platform: "linux/amd64",
		Resolver:  &local.Resolver{DB: w.store.DB, Registry: w.store.Registry},
		Publisher: &local.Publisher{Registry: w.store.Registry},
		Read:      w.read, Hosts: []string{"localhost:5000"}, ID: "slipway://test", Version: "test",
	}
	change(&c)
	var err error
	if w.engine, err = pipeline.New(c); err != nil {
		w.t.Fatal(err)
	}
}

func here(path string) bake.Context { return bake.Context{Kind: bake.ContextLocal, Value: path} }

// read gives the project as it is now, with the run's number in its tags.

func (w *world) read(_ context.Context, r bake.Request) (*bake.Project, error) {
	p := *w.project
	p.Targets = map[string]*bake.Target{}
	for name, t := range w.project.Targets {
		c := *t
		c.Tags = nil
		for _, tag := range t.Tags {
			c.Tags = append(c.Tags, strings.ReplaceAll(tag, "${N}", r.Vars["BUILD_NUMBER"]))
		}
		p.Targets[name] = &c
	}
	return &p, nil
}

// addTest adds a target named test that is built on base.

func (w *world) addTest() {
	w.project.Targets["test"] = &bake.Target{Name: "test", Context: here("test"), Dockerfile: "test/Dockerfile",
		Contexts: map[string]bake.Context{"base": {Kind: bake.ContextTarget, Value: "base"}, "app": here("app")}, Needs: []string{"base"}}
	w.project.Gates = []bake.Gate{{Name: "test", Tests: []string{"test"}, Holds: []string{"base", "app"}}}
}

func (w *world) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// run runs the request and returns its outcome; the error's kind must be want.

func (w *world) run(want pipeline.Kind) pipeline.Outcome {
	w.t.Helper()
	w.log = nil
	o, err := w.engine.Run(w.t.Context(), w.request, func(e pipeline.Event) {
		if e.Line != nil || e.Section != "" {
			w.log = append(w.log, e.Section+e.Text())
		}
	})
	var f *pipeline.Failure
	got := pipeline.Kind("")
	if errors.As(err, &f) {
		got = f.Kind
	}
	if got != want || (err != nil) != (want != "") {
		w.t.Fatalf("the run ended with %v (%q), want %q; its log:\n%s", err, got, want, strings.Join(w.log, "\n"))
	}
	w.clock.Advance(time.Minute)
	return o
}

// verdicts are what became of the targets of a run.

func verdicts(o pipeline.Outcome) map[string]pipeline.Verdict {
	m := map[string]pipeline.Verdict{}
	for _, t := range o.Targets {
		m[t.Target] = t.Verdict
	}
	return m
}

func (w *world) wantVerdicts(o pipeline.Outcome, want map[string]pipeline.Verdict) {
	w.t.Helper()
	if got := verdicts(o); !maps.Equal(got, want) {
		w.t.Errorf("verdicts are %v, want %v; the log:\n%s", got, want, strings.Join(w.log, "\n"))
	}
}

// tag is what a tag points at, "" if there is none.

func (w *world) tag(repository, name string) oci.Digest {
	w.t.Helper()
	m, err := w.store.StatManifest(w.t.Context(), repository, oci.Reference{Tag: name})
	var e *oci.Error
	if errors.As(err, &e) {
		return ""
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return m.Digest
}

func (w *world) wantLog(want ...string) {
	w.t.Helper()
	log := strings.Join(w.log, "\n")
	for _, s := range want {
		if !strings.Contains(log, s) {
			w.t.Errorf("the log does not say %q:\n%s", s, log)
		}
	}
}

// fakeSolver makes an image whose only layer names all that the solve was
// given, so that equal solves give equal images.

type fakeSolver struct {
	store *local.Store

	mu      sync.Mutex
	builds  map[string]int
	fail    map[string]error
	reports map[string][]pipeline.Report
	output  string
	salt    string            // of steps that give something else each time
	onBuild map[string]string // of images, as a JSON list
	during  func(target string)
	last    map[string]pipeline.Solve
}

func (f *fakeSolver) Platforms(context.Context) ([]string, error) {
	return []string{"linux/amd64"}, nil
}

func (f *fakeSolver) Solve(ctx context.Context, s pipeline.Solve, p pipeline.Progress) (pipeline.Solved, error) {
	f.mu.Lock()
	f.builds[s.Target]++
	if f.last == nil {
		f.last = map[string]pipeline.Solve{}
	}
	f.last[s.Target] = s
	err, during, reports, output, onBuild := f.fail[s.Target], f.during, f.reports[s.Target], f.output, f.onBuild[s.Target]
	f.mu.Unlock()
	if during != nil {
		during(s.Target)
	}
	if output != "" {
		p.Output("[1/1] RUN", []byte(output))
	}
	if err := ctx.Err(); err != nil {
		return pipeline.Solved{}, err
	}
	if err != nil {
		return pipeline.Solved{}, err
	}
	if s.Repository == "" {
		return pipeline.Solved{Reports: reports}, nil
	}
	var text strings.Builder
	fmt.Fprintln(&text, f.salt, s.Platform, s.Stage, string(s.Dockerfile), s.Args)
	for _, name := range slices.Sorted(maps.Keys(s.Images)) {
		fmt.Fprintln(&text, name, s.Images[name].Digest)
	}
	if s.Context != nil {
		for _, e := range s.Context.Entries() {
			fmt.Fprintln(&text, e.Path, e.Mode, e.Digest)
		}
	}
	put := func(b string) (v1.Descriptor, error) {
		d := oci.FromBytes(oci.SHA256, []byte(b))
		return v1.Descriptor{Digest: d, Size: int64(len(b))}, f.store.PutBlob(ctx, s.Repository, d, strings.NewReader(b))
	}
	if onBuild == "" {
		onBuild = "null"
	}
	config, err := put(`{"architecture":"amd64","os":"linux","config":{"OnBuild":` + onBuild + `}}`)
	if err != nil {
		return pipeline.Solved{}, err
	}
	layer, err := put(text.String())
	if err != nil {
		return pipeline.Solved{}, err
	}
	config.MediaType, layer.MediaType = v1.MediaTypeImageConfig, v1.MediaTypeImageLayer
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: config, Layers: []v1.Descriptor{layer}}
	m.SchemaVersion = 2
	raw, err := json.Marshal(m)
	if err != nil {
		return pipeline.Solved{}, err
	}
	d, err := f.store.PutManifest(ctx, s.Repository, m.MediaType, raw)
	return pipeline.Solved{Manifest: d, Steps: 1}, err
}

type verdictMap = map[string]pipeline.Verdict
