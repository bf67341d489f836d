package pipeline_test

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/internal/bake"
	"slipway/internal/oci"
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

// Provenance names a commit only if it was the commit that was built.
func TestAClaimedCommitIsNoSource(t *testing.T) {
	commit := strings.Repeat("c0", 20)
	for name, c := range map[string]struct {
		source pipeline.Source
		want   bool
	}{
		"fetched": {pipeline.Source{URI: "https://git.example.com/app", Commit: commit}, true},
		"dirty":   {pipeline.Source{Commit: commit, Dirty: true}, false},
		"claimed": {pipeline.Source{URI: "https://git.example.com/app", Commit: commit, Claimed: true}, false},
		"no hash": {pipeline.Source{Commit: "main", Claimed: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.request.Source = c.source
			w.run("")
			text := w.provenance("cool-app", w.tag("cool-app", "latest"))
			if got := strings.Contains(text, `"gitCommit"`) && strings.Contains(text, "git.example.com"); got != c.want {
				t.Errorf("provenance names the commit as source: %v, want %v\n%s", got, c.want, text)
			}
			if !c.want && !strings.Contains(text, `"claimedCommit":"`+c.source.Commit) {
				t.Errorf("provenance does not say what was claimed:\n%s", text)
			}
		})
	}
}

// provenance is the statement about an image.
func (w *world) provenance(repository string, d oci.Digest) string {
	w.t.Helper()
	p, err := w.store.Referrers(w.t.Context(), repository, d, "application/vnd.in-toto+json", "", 1)
	if err != nil || len(p.Items) != 1 {
		w.t.Fatalf("%d statements, %v", len(p.Items), err)
	}
	raw, err := w.store.GetManifest(w.t.Context(), repository, oci.Reference{Digest: p.Items[0].Digest})
	if err != nil {
		w.t.Fatal(err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw.Content, &m); err != nil {
		w.t.Fatal(err)
	}
	blob, err := w.store.OpenBlob(w.t.Context(), repository, m.Layers[0].Digest)
	if err != nil {
		w.t.Fatal(err)
	}
	defer blob.Close()
	text, err := io.ReadAll(blob)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// An index of a build that is not trusted holds platforms that a trusted one made.
func TestAnIndexAcrossTrustLevels(t *testing.T) {
	w := newWorld(t)
	w.project.Selected = []string{"base"}
	base := w.project.Targets["base"]
	base.Tags, base.Platforms = []string{"cool-base:${N}"}, []string{"linux/amd64"}
	w.run("")
	base.Platforms = []string{"linux/amd64", "linux/arm64"}
	w.request.Trust = "fork"
	w.run("")
	if w.tag("cool-base", "2") != "" {
		t.Error("a source that is not trusted moved a tag")
	}
	if w.solver.builds["base"] != 2 {
		t.Errorf("%d builds, want one for each platform", w.solver.builds["base"])
	}
}
