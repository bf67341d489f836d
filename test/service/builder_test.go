//go:build linux

package service

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"slipway/test/harness"
)

// TestBuilderContainer runs the image that builds, by the line of its Dockerfile,
// and follows a build from a Dockerfile to a pull.
func TestBuilderContainer(t *testing.T) {
	if _, err := os.Stat("../../.build/image-builder/recipe"); err != nil {
		harness.Missing(t, "the image's system, which 'hack/image-builder.sh system' makes")
	}
	engine := harness.StartEngine(t)
	docker := func(args ...string) string {
		t.Helper()
		return engine.Docker(args...).Run(t)
	}
	image := engine.Docker()
	image.Path = "../../hack/image-builder.sh"
	image.Env = append(image.Env, "VERSION=test", "GOCACHE="+goEnv(t, "GOCACHE"), "GOMODCACHE="+goEnv(t, "GOMODCACHE"))
	image.Run(t)

	docker(runLine(t)...)
	t.Cleanup(func() { docker("rm", "--force", "registry") })
	waitReady(t)
	dir := t.TempDir()
	write(t, dir+"/Dockerfile", "FROM 127.0.0.1:5000/base/busybox:1 AS made\nRUN echo built in a container >/text\n"+
		"FROM scratch\nCOPY --from=made /text /text\n")
	docker("login", "--username=admin", "--password="+firstPassword(t, docker("logs", "registry")), "127.0.0.1:5000")
	pushBusybox(t, engine, "127.0.0.1:5000/base/busybox:1", "")
	docker("cp", dir, "registry:/app")
	out := docker("exec", "registry", "slipway", "build", "/app", "-o", "json")
	var outcome struct {
		Tags []struct{ Repository, Tag, Digest string }
	}
	if err := json.Unmarshal([]byte(out), &outcome); err != nil || len(outcome.Tags) == 0 {
		t.Fatalf("%v in the outcome: %s", err, out)
	}
	pull(t, engine, "127.0.0.1:5000/app:1", outcome.Tags[0].Digest)

	t.Run("again after a restart", func(t *testing.T) {
		docker("kill", "registry")
		docker("start", "registry")
		waitReady(t)
		out := docker("exec", "registry", "slipway", "build", "/app", "--force", "-o", "json")
		if !strings.Contains(out, `"state": "passed"`) {
			t.Errorf("the outcome: %s", out)
		}
	})
}

// runLine is the line of docker run in the Dockerfile, which people copy.
func runLine(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile("../../deploy/Dockerfile.builder")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if args, ok := strings.CutPrefix(line, "#   docker run "); ok {
			return append([]string{"run"}, strings.Fields(args)...)
		}
	}
	t.Fatal("deploy/Dockerfile.builder has no line of docker run")
	return nil
}

// pushBusybox makes an image of Debian's busybox, and pushes it. Where refused is
// not empty, that must fail and say so.
func pushBusybox(t *testing.T, engine *harness.Engine, ref, refused string) {
	t.Helper()
	root := t.TempDir()
	program, err := os.ReadFile(harness.Tool(t, "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, root+"/bin/busybox", string(program))
	if err := errors.Join(os.Chmod(root+"/bin/busybox", 0o755), os.Symlink("busybox", root+"/bin/sh"), os.Mkdir(root+"/etc", 0o755)); err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/root.tar"
	harness.Run(t, harness.Tool(t, "tar"), "--create", "--file", file, "--directory", root, ".")
	engine.Docker("import", "--change", "ENV PATH=/bin", file, ref).Run(t)
	out, err := engine.Docker("push", ref).Output()
	switch {
	case refused == "" && err != nil:
		t.Fatal(err)
	case refused != "" && (err == nil || !strings.Contains(err.Error(), refused)):
		t.Fatalf("docker push %s: %v, want it to fail with %q\n%s", ref, err, refused, out)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(path[:strings.LastIndexByte(path, '/')], 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
