package pipeline_test

import (
	"fmt"
	"slices"
	"testing"

	"slipway/internal/bake"
	"slipway/internal/pipeline"
)

// Under the names of other registries stand the bases of everybody.
func TestBuildsDoNotPublishUnderAnUpstreamsName(t *testing.T) {
	for name, set := range map[string]func(*world){
		"tag with our host":   func(w *world) { w.project.Targets["app"].Tags = []string{"localhost:5000/docker.io/library/debian:12"} },
		"repository setting":  func(w *world) { w.project.Settings.Repository = "docker.io/library/debian" },
		"name of the project": func(w *world) { w.request.Project = "docker.io/library/debian" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.project.Targets["app"].Tags = nil
			set(w)
			before := w.tag("docker.io/library/debian", "12")
			w.run(pipeline.KindProject)
			w.wantLog("registry docker.io are mirrored")
			if w.tag("docker.io/library/debian", "12") != before || w.tag("docker.io/library/debian", "latest") != "" {
				t.Error("a tag of the mirror moved")
			}
		})
	}
}

// What can't be explained is built all the same.
func TestAnotherOrderIsNoFailure(t *testing.T) {
	w := newWorld(t)
	w.project.Targets["app"].Ulimits = []string{"nofile=64", "nproc=64"}
	w.run("")
	slices.Reverse(w.project.Targets["app"].Ulimits)
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "app": pipeline.Built})
	w.wantLog("in an order")
}

// A node is asked once whether it is forced, however many ways lead to it.
func TestManyWaysToATarget(t *testing.T) {
	w := newWorld(t)
	before := []string{"base"}
	for layer := range 32 {
		var names []string
		for _, side := range []string{"a", "b"} {
			name := fmt.Sprintf("layer-%d%s", layer, side)
			w.write(name+"/Dockerfile", "FROM below\nLABEL name="+name+"\n")
			w.project.Targets[name] = &bake.Target{Name: name, Context: here(name), Dockerfile: name + "/Dockerfile",
				Contexts: map[string]bake.Context{"below": {Kind: bake.ContextTarget, Value: before[0]}}, Needs: before}
			names = append(names, name)
		}
		before = names
	}
	w.project.Selected = before
	if got := len(w.run("").Targets); got != 65 {
		t.Errorf("%d targets, want 65", got)
	}
}
