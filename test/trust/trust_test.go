//go:build linux

package trust

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"slipway/test/harness"
)

// slipway runs a command that must end with code 0.
func slipway(t *testing.T, args ...string) string {
	t.Helper()
	c := harness.Command{Args: args, Env: []string{"HOME=" + t.TempDir()}}.Go(t)
	if code := c.Exit(); code != 0 {
		t.Fatalf("slipway %v: exit code %d\n%s%s", args, code, c.Stdout(), c.Stderr())
	}
	return c.Stdout()
}

// refused ends the test unless a client refuses the server's certificate.
func refused(t *testing.T, c harness.Command) {
	t.Helper()
	out, err := c.Output()
	if err == nil {
		t.Fatalf("%v works without trust: %s", c.Args, out)
	}
	if !strings.Contains(err.Error(), "x509: certificate signed by unknown authority") {
		t.Fatalf("%v fails, but not for the certificate: %v", c.Args, err)
	}
}

// use is what a client does with a registry.
type use struct {
	pull harness.Command
	push []harness.Command // what was pulled, under another name
}

// clients are those of a host, each with nothing but its defaults.
func clients(t *testing.T, r *registry) map[string]use {
	t.Helper()
	engine := harness.StartEngine(t, "--bridge=none", "--iptables=false", "--ip6tables=false")
	home, store := t.TempDir(), t.TempDir()
	client := func(name string, args ...string) harness.Command {
		return harness.Command{Path: harness.Tool(t, name), Args: args, Env: []string{
			"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + home, "XDG_RUNTIME_DIR=" + home, "TMPDIR=" + os.TempDir(),
		}}
	}
	podman := client("podman", "--root", store+"/p", "--runroot", store+"/prun", "--tmpdir", store+"/tmp",
		"--storage-driver=vfs", "--events-backend=none", "--cgroup-manager=cgroupfs", "--runtime=runc")
	buildah := client("buildah", "--root", store+"/b", "--runroot", store+"/brun", "--storage-driver=vfs")
	skopeo := client("skopeo")
	ctr := containerd(t)
	const hosts = "--hosts-dir=/etc/containerd/certs.d" // Kubernetes has config_path for this
	ref, to := r.Host()+"/team/app:1", r.Host()+"/pushed/"
	return map[string]use{
		"docker":  {engine.Docker("pull", ref), []harness.Command{engine.Docker("tag", ref, to+"docker:1"), engine.Docker("push", to+"docker:1")}},
		"podman":  {podman.With("pull", ref), []harness.Command{podman.With("push", ref, to+"podman:1")}},
		"buildah": {buildah.With("pull", "--policy=always", ref), []harness.Command{buildah.With("push", ref, to+"buildah:1")}},
		"skopeo":  {skopeo.With("inspect", "docker://"+ref), []harness.Command{skopeo.With("copy", "docker://"+ref, "docker://"+to+"skopeo:1")}},
		"ctr":     {ctr.With("images", "pull", "--snapshotter=native", hosts, ref), []harness.Command{ctr.With("images", "push", hosts, to+"ctr:1", ref)}},
	}
}

// containerd starts one and returns the command that talks to it.
func containerd(t *testing.T) harness.Command {
	t.Helper()
	dir, err := os.MkdirTemp("", "containerd-") // short: there are sockets inside
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Logf("left behind: %v", err)
		}
	})
	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, []byte("version = 2\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n[plugins.'io.containerd.internal.v1.opt']\npath = '"+dir+"/opt'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "sock")
	daemon := harness.Command{Path: harness.Tool(t, "containerd"), Args: []string{"--config", config, "--address", socket, "--root", dir + "/root", "--state", dir + "/state"}}.Go(t)
	ctr := harness.Command{Path: harness.Tool(t, "ctr"), Args: []string{"--address", socket}}
	harness.Until(t, "containerd answers", harness.CommandTimeout, func() error {
		_, err := ctr.With("version").Output()
		return err
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("containerd:\n%s", daemon.Stderr())
		}
	})
	return ctr
}

// TestClients is the promise itself: nobody edits daemon.json, and nothing is
// restarted.
func TestClients(t *testing.T) {
	cleanEtc(t)
	r := newRegistry(t)
	list := clients(t, r)
	for _, c := range list {
		refused(t, c.pull)
	}
	var result struct {
		Steps []struct {
			Tool    string
			Restart string
			Files   []struct {
				Action string
				Done   bool
			}
		}
	}
	fingerprint, _ := r.announced(t)
	out := slipway(t, "trust", r.Host(), "--fingerprint", fingerprint, "--for", "docker,podman,containerd", "-o", "json")
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		t.Fatal(err)
	}
	for _, s := range result.Steps {
		if s.Restart != "" || len(s.Files) == 0 || !s.Files[0].Done {
			t.Errorf("%+v", s)
		}
	}
	for name, c := range list {
		for _, command := range append([]harness.Command{c.pull}, c.push...) {
			if _, err := command.Output(); err != nil {
				t.Errorf("%s after trust: %v", name, err)
			}
		}
		if status := r.Status("/v2/pushed/" + name + "/manifests/1"); status != http.StatusOK {
			t.Errorf("what %s pushed: status %d", name, status)
		}
	}
	if _, err := os.Stat("/etc/docker/daemon.json"); !os.IsNotExist(err) {
		t.Errorf("daemon.json: %v", err)
	}
	slipway(t, "trust", r.Host(), "--undo")
	for _, c := range list {
		refused(t, c.pull)
	}
}

// TestPastedLine is for clients' hosts without slipway.
func TestPastedLine(t *testing.T) {
	cleanEtc(t)
	r := newRegistry(t)
	list := clients(t, r)
	fingerprint, line := r.announced(t)
	r.replace(t, fingerprint, func() {
		if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err == nil || !strings.Contains(string(out), "nothing was written") {
			t.Errorf("with another authority: %v\n%s", err, out)
		}
		c := harness.Command{Args: []string{"trust", r.Host(), "--fingerprint", fingerprint}}.Go(t)
		if code := c.Exit(); code != 1 || !strings.Contains(c.Stderr(), "nothing was written") {
			t.Errorf("slipway trust with another authority: exit code %d\n%s", code, c.Stderr())
		}
	})
	for _, c := range list {
		refused(t, c.pull)
	}
	if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, c := range list {
		if _, err := c.pull.Output(); err != nil {
			t.Errorf("%s after the line: %v", name, err)
		}
	}
	slipway(t, "trust", r.Host(), "--undo") // knows what the line wrote
	for _, c := range list {
		refused(t, c.pull)
	}
}

// TestSystem is for programs that know only the system's authorities.
func TestSystem(t *testing.T) {
	cleanEtc(t)
	r := newRegistry(t)
	harness.Tool(t, "update-ca-certificates")
	curl := harness.Command{Path: harness.Tool(t, "curl"), Args: []string{"--silent", "--show-error", "--fail", "https://" + r.Host() + "/v2/"}}
	untrusted := func(when string) {
		t.Helper()
		if _, err := curl.Output(); err == nil || !strings.Contains(err.Error(), "exit status 60") {
			t.Fatalf("curl %s trust: %v", when, err)
		}
	}
	untrusted("before")
	fingerprint, _ := r.announced(t)
	slipway(t, "trust", r.Host(), "--fingerprint", fingerprint, "--for", "docker")
	untrusted("with Docker's")
	slipway(t, "trust", r.Host(), "--fingerprint", fingerprint, "--for", "docker", "--system")
	if _, err := curl.Output(); err != nil {
		t.Errorf("curl after trust --system: %v", err)
	}
	slipway(t, "trust", r.Host(), "--undo")
	untrusted("after undoing")
}

// TestInsecure is what people did before: it goes on working, and trust says
// that it is no longer needed.
func TestInsecure(t *testing.T) {
	cleanEtc(t)
	r := newRegistry(t)
	engine := harness.StartEngine(t, "--bridge=none", "--iptables=false", "--ip6tables=false", "--insecure-registry="+r.Host())
	if _, err := engine.Docker("pull", r.Host()+"/team/app:1").Output(); err != nil {
		t.Errorf("docker with insecure-registries, without trust: %v", err)
	}
	if err := os.MkdirAll("/etc/docker", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/etc/docker/daemon.json", []byte(`{"insecure-registries": ["`+r.Host()+`"]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	fingerprint, _ := r.announced(t)
	out := slipway(t, "trust", r.Host(), "--fingerprint", fingerprint, "--for", "docker")
	if !strings.Contains(out, "/etc/docker/daemon.json has "+r.Host()+" in insecure-registries") {
		t.Errorf("it does not warn:\n%s", out)
	}
}
