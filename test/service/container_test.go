//go:build linux

package service

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"slipway/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Isolate(m)) }

const (
	url  = "http://127.0.0.1:5000"
	repo = "127.0.0.1:5000/team/app"
)

// TestContainer follows a team that runs the image in place of registry:2.
func TestContainer(t *testing.T) {
	engine := harness.StartEngine(t)
	docker := func(args ...string) string {
		t.Helper()
		return engine.Docker(args...).Run(t)
	}
	buildImage(t, engine)

	id := docker("run", "-d", "-p", "5000:5000", "--restart=always", "--name", "registry", "-e", "SLIPWAY_HTTP=allow", "-e", "SLIPWAY_ANONYMOUS=push", "slipway")
	t.Cleanup(func() { docker("rm", "--force", "--volumes", "registry") })
	waitReady(t)
	first := harness.Push(t, harness.RandomImage(t, 1<<20, 3), repo+":1")
	pull(t, engine, repo+":1", first)

	t.Run("killed", func(t *testing.T) {
		docker("kill", "registry")
		docker("start", "registry")
		waitReady(t)
		pull(t, engine, repo+":1", first)
	})
	t.Run("crashed", func(t *testing.T) {
		// Not by the engine's hand, so that the restart policy acts.
		started := docker("inspect", "--format={{.State.StartedAt}}", "registry")
		killProcess(t, docker("inspect", "--format={{.State.Pid}}", "registry"))
		waitUntil(t, "the engine restarts the container", func() bool {
			now := docker("inspect", "--format={{.State.StartedAt}} {{.State.Running}}", "registry")
			return strings.HasSuffix(now, " true") && !strings.HasPrefix(now, started)
		})
		waitReady(t)
		pull(t, engine, repo+":1", first)
	})
	second := harness.Push(t, harness.RandomImage(t, 1<<20, 3), repo+":2")
	t.Run("engine killed", func(t *testing.T) {
		engine.Kill()
		engine.Restart()
		waitReady(t)
		if got := docker("ps", "--no-trunc", "--format={{.ID}}"); got != id {
			t.Fatalf("running containers after the engine's crash: %q, want %q", got, id)
		}
		pull(t, engine, repo+":1", first)
		pull(t, engine, repo+":2", second)
	})
	t.Run("engine restarted", func(t *testing.T) {
		engine.Restart()
		waitReady(t)
		pull(t, engine, repo+":2", second)
	})
	t.Run("stops by itself", func(t *testing.T) {
		begin := time.Now()
		docker("stop", "--time=40", "registry")
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("docker stop took %v: SIGTERM did not end the server", took)
		}
		if code := docker("inspect", "--format={{.State.ExitCode}}", "registry"); code != "0" {
			t.Errorf("exit code %s after SIGTERM, want 0", code)
		}
	})
}

// TestHardenedContainer runs the image as it is meant, which is with a login and
// TLS, and with what it does without: capabilities, a writable root, and gaining
// privileges. Its data is in a named volume, which outlives the container.
func TestHardenedContainer(t *testing.T) {
	engine := harness.StartEngine(t)
	docker := func(args ...string) string {
		t.Helper()
		return engine.Docker(args...).Run(t)
	}
	buildImage(t, engine)
	run := []string{"run", "-d", "-p", "5000:5000", "--name", "registry", "-v", "images:/var/lib/slipway",
		"--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "slipway"}

	docker(run...)
	t.Cleanup(func() { docker("rm", "--force", "registry") })
	waitReady(t)
	if status := getStatus(t, url+"/v2/"); status != http.StatusUpgradeRequired {
		t.Errorf("plain HTTP from outside: status %d, want 426", status)
	}
	pushBusybox(t, engine, repo+":1", "unauthorized")
	docker("login", "--username=admin", "--password="+firstPassword(t, docker("logs", "registry")), "127.0.0.1:5000")
	pushBusybox(t, engine, repo+":1", "")
	digest := pushed(t, engine, repo+":1")

	docker("rm", "--force", "registry")
	docker(run...)
	waitReady(t)
	if log := docker("logs", "registry"); strings.Contains(log, firstStart) {
		t.Errorf("the second start made another password:\n%s", log)
	}
	pull(t, engine, repo+":1", digest)
}

// firstStart is what the first start alone says.
const firstStart = "Its password is shown this once"

// firstPassword reads it as a person does: from the container's log.
func firstPassword(t *testing.T, log string) string {
	t.Helper()
	_, after, found := strings.Cut(log, firstStart)
	words := strings.Fields(strings.TrimPrefix(after, ":"))
	if !found || len(words) == 0 {
		t.Fatalf("the log shows no password:\n%s", log)
	}
	return words[0]
}

func getStatus(t *testing.T, url string) int {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// pushed is the digest under which the engine pushed an image.
func pushed(t *testing.T, engine *harness.Engine, ref string) string {
	t.Helper()
	_, digest, _ := strings.Cut(engine.Docker("image", "inspect", "--format={{index .RepoDigests 0}}", ref).Run(t), "@")
	return strings.TrimSpace(digest)
}

// buildImage runs what `make image` runs, with the test's own engine.
func buildImage(t *testing.T, engine *harness.Engine) {
	t.Helper()
	build := engine.Docker()
	build.Path = "../../hack/image.sh"
	build.Env = append(build.Env, "VERSION=test", "GOCACHE="+goEnv(t, "GOCACHE"), "GOMODCACHE="+goEnv(t, "GOMODCACHE"))
	build.Run(t)

	var config struct {
		Volumes map[string]any
		Labels  map[string]string
	}
	out := engine.Docker("image", "inspect", "--format={{json .Config}}", "slipway").Run(t)
	if err := json.Unmarshal([]byte(out), &config); err != nil {
		t.Fatal(err)
	}
	if config.Labels["org.opencontainers.image.version"] != "test" || len(config.Volumes) != 1 {
		t.Fatalf("the image's configuration: %s", out)
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	return harness.Run(t, harness.Tool(t, "go"), "env", name)
}

// pull fetches ref with the engine, which must not have it, and checks the digest.
func pull(t *testing.T, engine *harness.Engine, ref, digest string) {
	t.Helper()
	_, _ = engine.Docker("image", "rm", "--force", ref).Output()
	engine.Docker("pull", ref).Run(t)
	got := engine.Docker("image", "inspect", `--format={{join .RepoDigests " "}}`, ref).Run(t)
	if !strings.Contains(got, "@"+digest) {
		t.Fatalf("pulled %s: digests %q, want %s", ref, got, digest)
	}
}

func waitReady(t *testing.T) {
	t.Helper()
	waitUntil(t, "the registry answers on port 5000", func() bool {
		resp, err := http.Get(url + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("not within a minute: %s", what)
}
