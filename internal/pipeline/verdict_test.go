package pipeline_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/internal/oci"
	"slipway/internal/pipeline"
)

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

	w.write("app/Dockerfile", "FROM base\nARG VERSION\nCOPY main.go /\nRUN make\n")
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "app": pipeline.Built})
	w.wantLog(`[app]   because Dockerfile "RUN make" changed`)

	w.write("base/packages", "curl git")
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Built, "app": pipeline.Built})
	w.wantLog("[base]   because file packages changed", "[app]   because base image base changed from sha256:")

	w.write("base/packages", "curl")
	w.write("app/Dockerfile", "FROM base\nARG VERSION\nCOPY main.go /\n")
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

// What a build can tell of its builder is one of its inputs, where it asks.

func TestThePlatformOfTheBuilderIsAnInput(t *testing.T) {
	w := newWorld(t)
	builder := "linux/amd64"
	w.configure(func(c *pipeline.Config) {
		c.BuildPlatform = func(context.Context, string) (string, error) { return builder, nil }
	})
	app := w.project.Targets["app"]
	app.Contexts, app.Needs = nil, nil
	w.write("app/Dockerfile", "FROM scratch\nARG BUILDARCH\nCOPY main.go /\n")
	w.run("")
	builder = "linux/arm64"
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "app": pipeline.Built})
	w.wantLog("[app]   because platform of the builder changed from linux/amd64 to linux/arm64")
}
