package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"slipway/internal/gc"
	"slipway/internal/pipeline"
	"slipway/internal/pipeline/local"
)

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

// Who may not push may not have a run do it either: nothing is built for it.
func TestARunMovesOnlyTagsThatItsActorMayMove(t *testing.T) {
	w := newWorld(t)
	var asked []string
	w.configure(func(c *pipeline.Config) {
		c.MayPublish = func(_ context.Context, actor, repository string) error {
			asked = append(asked, actor+" "+repository)
			return errors.New("no rule allows it")
		}
	})
	w.run(pipeline.KindProject)
	w.wantLog("target app: this run is made for somebody, who may not move tags of cool-app: no rule allows it")
	if len(w.solver.builds) > 0 || w.tag("cool-app", "latest") != "" || !slices.Equal(asked, []string{"somebody cool-app"}) {
		t.Errorf("built %v, asked %v", w.solver.builds, asked)
	}
}

// A base image is read with the rights of who the run is made for.
func TestABaseThatTheActorMayNotRead(t *testing.T) {
	w := newWorld(t)
	w.configure(func(c *pipeline.Config) {
		c.Resolver.(*local.Resolver).MayPull = func(_ context.Context, actor, repository string) error {
			return fmt.Errorf("%s is not for %s", repository, actor)
		}
	})
	w.run(pipeline.KindProject)
	w.wantLog("image debian:12: this run is made for somebody, who may not read docker.io/library/debian: docker.io/library/debian is not for somebody")
}
