package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
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
	"slipway/internal/gc"
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
	var err error
	w.engine, err = pipeline.New(pipeline.Config{
		DB: w.store.DB, Store: images, Solver: w.solver, Builder: "fake 1", Platform: "linux/amd64",
		Resolver:  &local.Resolver{DB: w.store.DB, Registry: w.store.Registry},
		Publisher: &local.Publisher{Registry: w.store.Registry},
		Read:      w.read, Hosts: []string{"localhost:5000"}, ID: "slipway://test", Version: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	w.request = pipeline.Request{Project: "cool-app", Dir: w.dir, Actor: "somebody", Cause: "by hand"}
	return w
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

func TestOnlyWhatChangedIsBuilt(t *testing.T) {
	w := newWorld(t)
	w.project.Targets["app"].Tags = []string{"cool-app:${N}", "cool-app:latest"}
	first := w.run("")
	w.wantVerdicts(first, verdictMap{"base": pipeline.Built, "app": pipeline.Built})
	w.wantLog("because there is no earlier result", "inputs before: none")
	if w.tag("cool-app", "1") == "" || w.tag("cool-app", "1") != w.tag("cool-app", "latest") {
		t.Errorf("tags 1 and latest are %q and %q", w.tag("cool-app", "1"), w.tag("cool-app", "latest"))
	}

	second := w.run("")
	w.wantVerdicts(second, verdictMap{"base": pipeline.Reused, "app": pipeline.Reused})
	w.wantLog("of run 1", "because the inputs are the same")
	if w.tag("cool-app", "2") != w.tag("cool-app", "1") {
		t.Error("a reused image was not tagged")
	}

	w.write("app/main.go", "package main // changed")
	third := w.run("")
	w.wantVerdicts(third, verdictMap{"base": pipeline.Reused, "app": pipeline.Built})
	w.wantLog("[app]   because file main.go changed")
	if w.tag("cool-app", "latest") == w.tag("cool-app", "1") {
		t.Error("latest did not move")
	}

	w.write("app/notes.txt", "changed, and still not copied")
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "app": pipeline.Reused})

	w.write("base/packages", "curl git")
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Built, "app": pipeline.Built})
	w.wantLog("[base]   because file packages changed", "[app]   because base image base changed from sha256:")

	w.write("base/packages", "curl")
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "app": pipeline.Reused})
	w.wantLog("of run 3")
}

func TestAMovedBaseRebuilds(t *testing.T) {
	w := newWorld(t)
	w.run("")
	w.store.PutImage("docker.io/library/debian", "12", []byte("debian 12, patched"))
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Built, "app": pipeline.Built})
	w.wantLog("[base]   because base image debian:12 changed from sha256:")
}

func TestAPushDoesNotHijackABase(t *testing.T) {
	w := newWorld(t)
	w.run("")
	w.store.PutImage("debian", "12", []byte("somebody's"))
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "app": pipeline.Reused})
	w.write("app/Dockerfile", "FROM cool-app\nCOPY main.go /\n")
	w.run("")
	w.wantLog("cool-app for linux/amd64 is sha256:", "(local repository)")
}

func TestForce(t *testing.T) {
	for name, c := range map[string]struct {
		all     bool
		targets []string
		want    verdictMap
	}{
		"all":  {true, nil, verdictMap{"base": pipeline.Built, "app": pipeline.Built}},
		"base": {false, []string{"base"}, verdictMap{"base": pipeline.Built, "app": pipeline.Built}},
		"app":  {false, []string{"app"}, verdictMap{"base": pipeline.Reused, "app": pipeline.Built}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.run("")
			w.request.Force, w.request.ForceTargets = c.all, c.targets
			w.wantVerdicts(w.run(""), c.want)
			if !w.solver.last["app"].NoCache {
				t.Error("the builder's cache was used")
			}
		})
	}
	w := newWorld(t)
	w.request.ForceTargets = []string{"ap"}
	w.run(pipeline.KindProject)
}

func TestAFailedTestHoldsTagsBack(t *testing.T) {
	w := newWorld(t)
	w.addTest()
	w.project.Targets["base"].Tags = []string{"cool-base:latest"}
	w.solver.fail["test"] = &pipeline.StepError{Step: "[test 2/2] RUN go test", ExitCode: 1, Err: errors.New("exit code 1"), Output: []string{"--- FAIL: TestX"}}
	o := w.run(pipeline.KindTest)
	w.wantVerdicts(o, verdictMap{"base": pipeline.Built, "test": pipeline.FailedOne, "app": pipeline.Held})
	if w.solver.builds["app"] != 0 {
		t.Error("the app was built before its test passed")
	}
	if w.tag("cool-app", "latest") != "" || w.tag("cool-base", "latest") != "" {
		t.Error("a tag moved though the test failed")
	}
	w.wantLog("RUN go test", "--- FAIL: TestX")

	delete(w.solver.fail, "test")
	o = w.run("")
	w.wantVerdicts(o, verdictMap{"base": pipeline.Reused, "test": pipeline.TestedOK, "app": pipeline.Built})
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "test": pipeline.Reused, "app": pipeline.Reused})
	if w.tag("cool-app", "latest") == "" || w.tag("cool-base", "latest") == "" {
		t.Error("the tags did not move")
	}
}

func TestGatesBindToGroups(t *testing.T) {
	w := newWorld(t)
	w.addTest()
	w.project.Targets["other"] = &bake.Target{Name: "other", Context: here("app"), Dockerfile: "base/Dockerfile", DockerfileInline: "FROM scratch\nCOPY main.go /\n", Tags: []string{"other:latest"}}
	w.project.Selected = append(w.project.Selected, "other")
	w.project.Gates[0].Holds = []string{"app"}
	w.solver.fail["test"] = errors.New("red")
	o := w.run(pipeline.KindTest)
	w.wantVerdicts(o, verdictMap{"base": pipeline.Built, "test": pipeline.FailedOne, "app": pipeline.Held, "other": pipeline.Built})
	if w.tag("other", "latest") == "" || w.tag("cool-app", "latest") != "" {
		t.Errorf("other is %q, cool-app is %q", w.tag("other", "latest"), w.tag("cool-app", "latest"))
	}
	if o.State != pipeline.Failed {
		t.Errorf("the run is %s", o.State)
	}
}

func TestCoverageGates(t *testing.T) {
	profile := pipeline.Report{Path: "/src/coverage.out", Content: []byte("mode: set\na/a.go:1.1,2.2 1 1\na/a.go:3.1,4.2 1 0\n")}
	junit := pipeline.Report{Path: "/src/junit.xml", Content: []byte(`<testsuite tests="1" failures="0"><testcase name="TestX"/></testsuite>`)}
	red := pipeline.Report{Path: "/src/junit.xml", Content: []byte(`<testsuite tests="1" failures="1"><testcase name="TestX"><failure message="no"/></testcase></testsuite>`)}
	for name, c := range map[string]struct {
		floor   float64
		reports []pipeline.Report
		want    pipeline.Kind
		log     string
	}{
		"enough":              {50, []pipeline.Report{profile, junit}, "", "coverage: 50.0 %"},
		"too little":          {60, []pipeline.Report{profile}, pipeline.KindTest, "coverage is 50.0 %, and min-coverage is 60 %"},
		"no report":           {60, []pipeline.Report{junit}, pipeline.KindTest, "left no coverage report"},
		"failures and exit 0": {0, []pipeline.Report{red}, pipeline.KindTest, "failed: "},
		"no floor":            {0, nil, "", "verdict: run"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.addTest()
			w.project.Targets["test"].Test = &bake.TestSettings{MinCoverage: c.floor}
			w.solver.reports["test"] = c.reports
			o := w.run(c.want)
			w.wantLog(c.log)
			record, err := w.engine.FindRun(t.Context(), "cool-app", o.Number)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range c.reports {
				if !slices.Contains(record.Files, "reports/test"+r.Path) {
					t.Errorf("report %s was not kept: %v", r.Path, record.Files)
				}
			}
		})
	}
}

func TestAFailedBuildMovesNoTag(t *testing.T) {
	w := newWorld(t)
	w.project.Targets["base"].Tags = []string{"cool-base:latest"}
	w.solver.fail["app"] = &pipeline.StepError{Step: "[2/2] COPY", Err: errors.New("no such file")}
	o := w.run(pipeline.KindBuild)
	if w.tag("cool-base", "latest") != "" {
		t.Error("a tag moved")
	}
	record, err := w.engine.FindRun(t.Context(), "cool-app", o.Number)
	if err != nil || record.State != pipeline.Failed || record.Failure != pipeline.KindBuild {
		t.Errorf("the run is recorded as %+v, %v", record, err)
	}
	delete(w.solver.fail, "app")
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "app": pipeline.Built})
}

func TestAnOlderRunDoesNotMoveTagsBack(t *testing.T) {
	w := newWorld(t)
	w.project.Targets["app"].Tags = []string{"cool-app:latest", "cool-app:${N}"}
	inner := false
	w.solver.during = func(target string) {
		if target != "app" || inner {
			return
		}
		inner = true
		// A newer run begins and ends while this one builds.
		w.write("app/main.go", "package main // newer")
		if _, err := w.engine.Run(t.Context(), w.request, nil); err != nil {
			t.Error(err)
		}
	}
	o := w.run("")
	if o.Number != 1 || w.tag("cool-app", "latest") != w.tag("cool-app", "2") {
		t.Errorf("after run %d latest is %s, and 2 is %s", o.Number, w.tag("cool-app", "latest"), w.tag("cool-app", "2"))
	}
	if w.tag("cool-app", "1") == "" {
		t.Error("the older run did not publish its own number")
	}
	w.wantLog("cool-app:latest stays: a newer run has moved it")
}

func TestNumberedTagsAreKept(t *testing.T) {
	w := newWorld(t)
	w.project.Settings.Keep = 2
	w.project.Targets["app"].Tags = []string{"cool-app:${N}", "cool-app:latest", "cool-app:7"}
	for range 4 {
		w.run("")
	}
	for name, want := range map[string]bool{"1": false, "2": false, "3": true, "4": true, "latest": true, "7": true} {
		if got := w.tag("cool-app", name) != ""; got != want {
			t.Errorf("tag %s is there: %t, want %t", name, got, want)
		}
	}
}

func TestWithoutTagsTheNumberAndLatest(t *testing.T) {
	w := newWorld(t)
	w.project.Targets["app"].Tags = nil
	w.run("")
	if w.tag("cool-app", "1") == "" || w.tag("cool-app", "latest") == "" {
		t.Error("the app was not published")
	}
	p, err := w.store.Catalog(t.Context(), "", 100, func(string) bool { return true })
	if err != nil || !slices.Equal(p.Items, []string{"cool-app", "docker.io/library/debian"}) {
		t.Errorf("the catalog is %v, %v: what is only built on, and the server's own, must not be seen", p.Items, err)
	}
}

func TestALostBlobIsBuiltAgain(t *testing.T) {
	w := newWorld(t)
	w.run("")
	lost := 0
	if err := filepath.WalkDir(filepath.Join(w.store.Dir, "blobs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			lost++
			err = os.Remove(path)
		}
		return err
	}); err != nil || lost == 0 {
		t.Fatalf("lost %d files, %v", lost, err)
	}
	w.store.PutImage("docker.io/library/debian", "12", []byte("debian 12"))
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Built, "app": pipeline.Built})
	w.wantLog("is no longer whole")
	if whole, err := w.store.Whole(t.Context(), "cool-app", w.tag("cool-app", "latest")); err != nil || !whole {
		t.Errorf("the published image is whole: %t, %v", whole, err)
	}
}

func TestSecretsAreMasked(t *testing.T) {
	w := newWorld(t)
	w.write("token", "s3cr3t-value\n")
	w.project.Targets["app"].Secrets = []bake.Secret{{ID: "npm"}, {ID: "file", Path: "token"}}
	w.run(pipeline.KindProject)
	w.wantLog("--secret id=npm,src=FILE")

	w.request.Secrets = map[string][]byte{"npm": []byte("hunter2hunter2")}
	w.solver.output = "npm says hunter2hunter2\nfile says s3cr3t-value\n"
	w.run("")
	log := strings.Join(w.log, "\n")
	if strings.Contains(log, "hunter2") || strings.Contains(log, "s3cr3t") {
		t.Errorf("the log shows a secret:\n%s", log)
	}
	w.wantLog("npm says ", "file says ")
	if got := string(w.solver.last["app"].Secrets["file"]); got != "s3cr3t-value\n" {
		t.Errorf("the build got %q", got)
	}
	file, _, err := w.engine.RunFile(t.Context(), "cool-app", 0, "log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	kept := make([]byte, 1<<20)
	n, _ := file.Read(kept)
	if text := string(kept[:n]); strings.Contains(text, "hunter2") || !strings.Contains(text, "== Project") {
		t.Errorf("the kept log:\n%s", text)
	}
}

func TestTagsOfOtherRegistries(t *testing.T) {
	for tag, want := range map[string]string{
		"ghcr.io/team/app:1":       "build.rewrite-registries",
		"localhost:5000/team/app":  "",
		"team/app:1":               "",
		"Team/App":                 "tag",
		"app@sha256:abc":           "digest",
		"docker.io/library/debian": "build.rewrite-registries",
		"app:bad/tag":              "tag",
	} {
		w := newWorld(t)
		w.project.Targets["app"].Tags = []string{tag}
		kind := pipeline.Kind("")
		if want != "" {
			kind = pipeline.KindProject
		}
		w.run(kind)
		w.wantLog(want)
	}
}

func TestMaxAge(t *testing.T) {
	w := newWorld(t)
	w.write("base/Dockerfile", "FROM debian:12\nRUN apt-get update\n")
	w.project.Settings.MaxAge = time.Nanosecond
	w.run("")
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Built, "app": pipeline.Reused})
	w.wantLog("max-age 1ns is over", "apt-get update")
	w.project.Settings.MaxAge = time.Hour
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "app": pipeline.Reused})
}

func TestPlatformsThatDidNotChangeAreReused(t *testing.T) {
	w := newWorld(t)
	w.write("app/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY main-${TARGETARCH} /\n")
	w.write("app/main-amd64", "amd64")
	w.write("app/main-arm64", "arm64")
	app := w.project.Targets["app"]
	app.Contexts, app.Needs, app.Platforms = nil, nil, []string{"linux/amd64", "linux/arm64"}
	w.run("")
	first := w.tag("cool-app", "latest")
	w.write("app/main-arm64", "arm64, changed")
	o := w.run("")
	got := map[string]pipeline.Verdict{}
	for _, target := range o.Targets {
		if target.Target == "app" {
			got[target.Platform] = target.Verdict
		}
	}
	if want := (map[string]pipeline.Verdict{"linux/amd64": pipeline.Reused, "linux/arm64": pipeline.Built}); !maps.Equal(got, want) {
		t.Errorf("verdicts are %v, want %v", got, want)
	}
	m, err := w.store.GetManifest(t.Context(), "cool-app", oci.Reference{Tag: "latest"})
	if err != nil || m.MediaType != v1.MediaTypeImageIndex || m.Digest == first {
		t.Errorf("latest is %s of type %s, %v; it was %s", m.Digest, m.MediaType, err, first)
	}
	var index v1.Index
	if err := json.Unmarshal(m.Content, &index); err != nil || len(index.Manifests) != 2 {
		t.Errorf("the index is %s, %v", m.Content, err)
	}
}

func TestReferrers(t *testing.T) {
	w := newWorld(t)
	w.run("")
	d := w.tag("cool-app", "latest")
	p, err := w.store.Referrers(t.Context(), "cool-app", d, "", "", 10)
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, m := range p.Items {
		types = append(types, m.ArtifactType)
	}
	slices.Sort(types)
	if want := []string{"application/vnd.in-toto+json", "application/vnd.slipway.inputs.v1+json"}; !slices.Equal(types, want) {
		t.Errorf("referrers of %s are %v, want %v", d, types, want)
	}
}

func TestCancel(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.solver.during = func(string) { cancel() }
	o, err := w.engine.Run(ctx, w.request, nil)
	if err == nil || o.State != pipeline.Cancelled {
		t.Errorf("the run is %s, %v", o.State, err)
	}
	if w.tag("cool-app", "latest") != "" {
		t.Error("a tag moved")
	}
	w.solver.during = nil
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Built, "app": pipeline.Built})
}

func TestRecover(t *testing.T) {
	w := newWorld(t)
	crash := func(string) {
		if n, err := w.engine.Recover(t.Context()); err != nil || n != 1 {
			t.Errorf("recovered %d runs, %v", n, err)
		}
	}
	w.solver.during = crash
	w.project.Selected = []string{"base"}
	w.project.Targets["base"].Tags = []string{"cool-base:latest"}
	// The run goes on though the database says that it was cut off, as after a
	// restart of the server beside a hung one: its end must not rewrite that.
	_, _ = w.engine.Run(t.Context(), w.request, nil)
	r, err := w.engine.FindRun(t.Context(), "cool-app", 1)
	if err != nil || r.State != pipeline.Interrupted {
		t.Errorf("run 1 is %s, %v", r.State, err)
	}
	if w.tag("cool-base", "latest") != "" {
		t.Error("a run that was given up moved a tag")
	}
	if _, _, err := w.engine.RunFile(t.Context(), "cool-app", 2, "log"); !errors.Is(err, pipeline.ErrNotFound) {
		t.Errorf("the log of a run that there is not: %v", err)
	}
}

func TestUntrustedBuildsWriteNothingThatOthersRead(t *testing.T) {
	w := newWorld(t)
	w.request.Trust = "fork"
	w.run("")
	w.request.Trust = ""
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Built, "app": pipeline.Built})
	w.request.Trust = "fork"
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "app": pipeline.Reused})
}

// A server that stops ends its runs before it closes the store.
func TestStop(t *testing.T) {
	w := newWorld(t)
	stopped := make(chan error, 1)
	w.solver.during = func(string) {
		w.solver.during = nil
		go func() { stopped <- w.engine.Stop(t.Context()) }()
		for { // until Stop has begun
			if _, err := w.engine.Run(t.Context(), pipeline.Request{Project: "other", Dir: t.TempDir()}, nil); errors.Is(err, context.Canceled) {
				return
			}
		}
	}
	o, err := w.engine.Run(t.Context(), w.request, nil)
	if !errors.Is(err, context.Canceled) || o.State != pipeline.Cancelled {
		t.Errorf("the run is %s, %v", o.State, err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if r, err := w.engine.FindRun(t.Context(), "cool-app", 1); err != nil || r.State != pipeline.Cancelled || !slices.Contains(r.Files, "log") {
		t.Errorf("its record is %+v, %v", r, err)
	}
	if _, err := w.engine.Run(t.Context(), w.request, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a run after Stop: %v", err)
	}
}

func TestStopWithoutRuns(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		if err := w.engine.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestAnUntrustedRunMovesNoTag(t *testing.T) {
	w := newWorld(t)
	w.request.Trust = "fork"
	w.run("")
	if w.tag("cool-app", "latest") != "" {
		t.Error("a tag moved")
	}
	w.wantLog("its tags stay: the source is not trusted")
}

func TestAPanicEndsTheRunOnly(t *testing.T) {
	w := newWorld(t)
	w.solver.during = func(target string) {
		if target == "app" {
			panic("hostile input")
		}
	}
	o := w.run(pipeline.KindInternal)
	w.wantVerdicts(o, verdictMap{"base": pipeline.Built, "app": pipeline.FailedOne})
	w.solver.during = nil
	w.run("")
}

func TestATagThatAPersonMovedIsNotExpired(t *testing.T) {
	w := newWorld(t)
	w.project.Settings.Keep = 1
	w.project.Targets["app"].Tags = []string{"cool-app:${N}"}
	w.run("")
	d := w.store.PutImage("cool-app", "1", []byte("by hand"))
	w.run("")
	w.run("")
	if w.tag("cool-app", "1") != d || w.tag("cool-app", "2") != "" || w.tag("cool-app", "3") == "" {
		t.Errorf("tags 1, 2 and 3 are %q, %q, %q", w.tag("cool-app", "1"), w.tag("cool-app", "2"), w.tag("cool-app", "3"))
	}
}

func TestAnEvictedBaseIsNotHijacked(t *testing.T) {
	w := newWorld(t)
	w.run("") // builds on debian:12
	if err := w.store.DeleteRepository(t.Context(), "docker.io/library/debian", registrytest.Change); err != nil {
		t.Fatal(err)
	}
	w.project.Targets["app"].Tags = []string{"debian:12"}
	w.store.PutImage("docker.io/library/debian", "12", []byte("debian 12"))
	w.run("")
	if err := w.store.DeleteRepository(t.Context(), "docker.io/library/debian", registrytest.Change); err != nil {
		t.Fatal(err)
	}
	w.request.Force = true
	w.run(pipeline.KindProject)
	w.wantLog("there is no docker.io/library/debian:12 here")
}

func TestWhatResultsDoNotNeedIsCollected(t *testing.T) {
	w := newWorld(t)
	count := func() (n int) {
		t.Helper()
		if _, err := w.store.DB.Read(t.Context()).Row(`SELECT COUNT(*) FROM manifests m JOIN repositories r ON r.id = m.repository_id WHERE r.name = '_builds/cool-app' AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.repository_id = r.id AND t.digest = m.digest)`, nil, &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	collect := func() {
		t.Helper()
		w.clock.Advance(48 * time.Hour)
		c := gc.New(gc.Config{DB: w.store.DB, Blobs: w.store.Files, Log: slog.New(slog.DiscardHandler), Grace: time.Hour, UndoGrace: time.Hour, UploadExpiry: time.Hour})
		if _, err := c.Run(t.Context(), gc.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	w.run("")
	collect()
	first := count()
	if first == 0 {
		t.Fatal("results were collected")
	}
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "app": pipeline.Reused})
	w.request.Force = true
	for n := range 3 {
		w.solver.salt = fmt.Sprint("forced ", n)
		w.run("")
	}
	for range 3 { // what was kept for its subject goes after it
		collect()
	}
	// The app was built on three more bases: three more results, each an image
	// with its input list and provenance. The base took its own place.
	if n := count(); n != first+9 {
		t.Errorf("after three forced runs there are %d manifests, want %d", n, first+9)
	}
	w.request.Force = false
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "app": pipeline.Reused})
}
