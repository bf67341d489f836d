package pipeline_test

import (
	"strings"
	"testing"

	"slipway/internal/bake"
	"slipway/internal/pipeline"
	"slipway/internal/registry/registrytest"
)

func TestAPushDoesNotHijackABase(t *testing.T) {
	w := newWorld(t)
	w.run("")
	w.store.PutImage("debian", "12", []byte("somebody's"))
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "app": pipeline.Reused})
	w.write("app/Dockerfile", "FROM cool-app\nCOPY main.go /\n")
	w.run("")
	w.wantLog("cool-app for linux/amd64 is sha256:", "(local repository)")
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

func TestAnUntrustedRunMovesNoTag(t *testing.T) {
	w := newWorld(t)
	w.request.Trust = "fork"
	w.run("")
	if w.tag("cool-app", "latest") != "" {
		t.Error("a tag moved")
	}
	w.wantLog("its tags stay: the source is not trusted")
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
