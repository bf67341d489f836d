//go:build linux

package trust

import (
	"encoding/json"
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

// clients are what pulls, each with nothing but its defaults.
func clients(t *testing.T, r *registry) map[string]harness.Command {
	t.Helper()
	engine := harness.StartEngine(t, "--bridge=none", "--iptables=false", "--ip6tables=false")
	home := t.TempDir()
	env := []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + home, "XDG_RUNTIME_DIR=" + home, "TMPDIR=" + os.TempDir()}
	store := t.TempDir()
	ref := r.Host() + "/team/app:1"
	return map[string]harness.Command{
		"docker": engine.Docker("pull", ref),
		"podman": {Path: harness.Tool(t, "podman"), Env: env, Args: []string{"--root", store + "/root", "--runroot", store + "/run", "--tmpdir", store + "/tmp",
			"--storage-driver=vfs", "--events-backend=none", "--cgroup-manager=cgroupfs", "--runtime=runc", "pull", ref}},
		"buildah": {Path: harness.Tool(t, "buildah"), Env: env, Args: []string{"--root", store + "/broot", "--runroot", store + "/brun", "--storage-driver=vfs", "pull", "--policy=always", ref}},
		"skopeo":  {Path: harness.Tool(t, "skopeo"), Env: env, Args: []string{"inspect", "docker://" + ref}},
		"ctr":     containerd(t).With("images", "pull", "--snapshotter", "native", "--hosts-dir", "/etc/containerd/certs.d", ref),
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
		refused(t, c)
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
		if _, err := c.Output(); err != nil {
			t.Errorf("%s after trust: %v", name, err)
		}
	}
	if _, err := os.Stat("/etc/docker/daemon.json"); !os.IsNotExist(err) {
		t.Errorf("daemon.json: %v", err)
	}
	slipway(t, "trust", r.Host(), "--undo")
	for _, c := range list {
		refused(t, c)
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
		refused(t, c)
	}
	if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, c := range list {
		if _, err := c.Output(); err != nil {
			t.Errorf("%s after the line: %v", name, err)
		}
	}
	slipway(t, "trust", r.Host(), "--undo") // knows what the line wrote
	for _, c := range list {
		refused(t, c)
	}
}
