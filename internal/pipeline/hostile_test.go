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

// Steps that a base of the same project brings read the context and take
// arguments, though the Dockerfile says nothing of either.
func TestStepsOfABase(t *testing.T) {
	w := newWorld(t)
	w.solver.onBuild = map[string]string{"base": `["ARG FLAVOUR","COPY . /src"]`}
	w.write("app/Dockerfile", "FROM base\n")
	w.project.Targets["app"].Args = map[string]string{"FLAVOUR": "sweet"}
	w.run("")
	if c := w.solver.last["app"]; c.Context == nil || len(c.Context.Entries()) != 3 || c.Args["FLAVOUR"] != "sweet" {
		t.Errorf("the build got the arguments %v and the context %v", c.Args, c.Context)
	}
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "app": pipeline.Reused})
	w.write("app/notes.txt", "changed")
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "app": pipeline.Built})
	w.wantLog("file notes.txt changed")
	w.project.Targets["app"].Args = map[string]string{"FLAVOUR": "sour"}
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "app": pipeline.Built})
	w.wantLog("argument FLAVOUR")
}

// An address that a base's step fetches is asked again each time.
func TestUnpinnedStepsOfABase(t *testing.T) {
	w := newWorld(t)
	w.solver.onBuild = map[string]string{"base": `["ADD https://example.com/list /"]`}
	w.run("")
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "app": pipeline.Built})
	w.wantLog("ONBUILD ADD https://example.com/list /")
}

func TestATestIsNoBase(t *testing.T) {
	w := newWorld(t)
	w.addTest()
	w.project.Targets["app"].Contexts["base"] = bake.Context{Kind: bake.ContextTarget, Value: "test"}
	w.project.Targets["app"].Needs = []string{"test"}
	w.run(pipeline.KindProject)
	w.wantLog("target test is a test")
}
