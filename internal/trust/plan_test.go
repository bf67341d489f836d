package trust

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Everything that can be installed, with files of other people.
func furnished() map[string]string {
	return map[string]string{
		"/etc/docker/daemon.json":                                 `{"insecure-registries": ["10.0.0.0/8", "other.lan:5000"]}`,
		"/etc/containers/registries.conf":                         "unqualified-search-registries = []\n",
		"/etc/containerd/config.toml":                             "version = 2\n",
		"/etc/buildkit/buildkitd.toml":                            "debug = true\n[worker.oci]\n  enabled = true\n",
		"/etc/rancher/k3s/registries.yaml":                        "# ours\nmirrors:\n  docker.io:\n    endpoint: [https://hub.lan]\n",
		"/etc/rancher/rke2/config.yaml":                           "",
		"/usr/sbin/update-ca-certificates":                        "",
		"/usr/local/share/ca-certificates/of-the-company.crt":     "x",
		"/etc/containerd/certs.d/docker.io/hosts.toml":            "x",
		"/etc/docker/certs.d/registry.lan:5000/client.cert":       "x",
		"/etc/containers/certs.d/registry.lan:5000/somebodys.crt": "x",
	}
}

func TestTrustAndUndo(t *testing.T) {
	m := machine(t, furnished())
	before := files(t, m)
	h, ca := host(t, "registry.lan:5000"), newSigner(t, "Test CA")
	const certs = "/certs.d/registry.lan:5000/"
	withSystem := []string{"docker", "podman", "containerd", "buildkit", "k3s", "rke2", "system"}

	p, err := m.Plan(h, ca.Authority, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := files(t, m); !maps.Equal(got, before) {
		t.Fatal("a plan changed files")
	}
	var chosen []string
	for _, s := range p.Steps {
		chosen = append(chosen, s.Tool)
	}
	if got := strings.Join(chosen, " "); got != "docker podman containerd buildkit k3s rke2" {
		t.Errorf("chosen of what is here: %s", got)
	}
	p, err = m.Plan(h, ca.Authority, withSystem)
	apply(t, m, p, err)
	got := files(t, m)
	for _, path := range []string{
		"/etc/docker" + certs + "ca.crt", "/etc/containers" + certs + "ca.crt", "/etc/containerd" + certs + "ca.crt", "/etc/buildkit" + certs + "ca.crt",
		"/etc/rancher/k3s" + certs + "ca.crt", "/etc/rancher/rke2" + certs + "ca.crt", "/usr/local/share/ca-certificates/slipway-registry.lan_5000.crt",
	} {
		if a, err := NewAuthority([]byte(got[path])); err != nil || a.Fingerprint() != ca.Fingerprint() {
			t.Errorf("%s: %v", path, err)
		}
		if info, err := os.Stat(m.path(path)); err != nil || info.Mode() != 0o644 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	wants(t, got["/etc/containerd"+certs+"hosts.toml"], `[host."https://registry.lan:5000"]`, `ca = "/etc/containerd/certs.d/registry.lan:5000/ca.crt"`)
	wants(t, got["/etc/buildkit/buildkitd.toml"], "debug = true\n[worker.oci]\n", `[registry."registry.lan:5000"]`)
	wants(t, got["/etc/rancher/k3s/registries.yaml"], "# ours\nmirrors:\n", `ca_file: "/etc/rancher/k3s/certs.d/registry.lan:5000/ca.crt"`)
	if info, err := os.Stat(m.path("/etc/rancher/rke2/registries.yaml")); err != nil || info.Mode() != 0o600 {
		t.Errorf("registries.yaml, which may get credentials: %v, %v", info.Mode(), err)
	}
	for name := range got {
		if strings.HasPrefix(filepath.Base(name), ".") {
			t.Errorf("left behind: %s", name)
		}
	}

	t.Run("restarts", func(t *testing.T) {
		restart := map[string]string{}
		for _, s := range p.Steps {
			restart[s.Tool] = s.Restart
		}
		want := map[string]string{"docker": "", "podman": "", "containerd": "", "system": "",
			"buildkit": "systemctl restart buildkit", "k3s": "systemctl restart k3s", "rke2": "systemctl restart rke2-server"}
		if !maps.Equal(restart, want) {
			t.Errorf("restarts: %v", restart)
		}
	})
	t.Run("again", func(t *testing.T) {
		p, err := m.Plan(h, ca.Authority, withSystem)
		apply(t, m, p, err)
		for _, s := range p.Steps {
			if s.Changes() || s.Restart != "" {
				t.Errorf("a second time: %+v", s)
			}
		}
		if now := files(t, m); !maps.Equal(now, got) {
			t.Error("a second time changes files")
		}
	})
	t.Run("a new authority", func(t *testing.T) {
		renewed := newSigner(t, "Test CA")
		p, err := m.Plan(h, renewed.Authority, nil)
		apply(t, m, p, err)
		now := files(t, m)
		if a, err := NewAuthority([]byte(now["/etc/docker"+certs+"ca.crt"])); err != nil || a.Fingerprint() != renewed.Fingerprint() {
			t.Errorf("the old one was not replaced: %v", err)
		}
		if len(now) != len(got) {
			t.Error("it made files beside the old ones")
		}
	})
	t.Run("undo", func(t *testing.T) {
		p, err := m.PlanUndo(h, nil)
		apply(t, m, p, err)
		now := files(t, m)
		for name, content := range before {
			if now[name] != content {
				t.Errorf("%s is now:\n%s", name, now[name])
			}
		}
		for name := range now {
			if _, ok := before[name]; !ok {
				t.Errorf("left behind: %s", name)
			}
		}
		if _, err := os.Stat(m.path("/etc/buildkit" + certs)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("an empty folder is left behind: %v", err)
		}
		p, err = m.PlanUndo(h, nil)
		if err != nil || len(p.Steps) != 0 {
			t.Errorf("a second undo: %+v, %v", p, err)
		}
	})
}

// What somebody changed after trust wrote it is his.
func TestUndoLeavesWhatOthersChanged(t *testing.T) {
	m := machine(t, furnished())
	h, ca := host(t, "registry.lan:5000"), newSigner(t, "Test CA")
	p, err := m.Plan(h, ca.Authority, nil)
	apply(t, m, p, err)
	written := files(t, m)
	changed := map[string]string{}
	for name, content := range written {
		switch filepath.Base(name) {
		case "ca.crt":
			content += "# kept for the auditors\n"
		case "hosts.toml":
			content += "  skip_verify = false\n"
		case "buildkitd.toml":
			content = strings.Replace(content, "  ca = [", "  http = false\n  ca = [", 1)
		case "registries.yaml":
			content = strings.Replace(content, "ca_file:", "insecure_skip_verify: true\n      ca_file:", 1)
		}
		put(t, m, name, content)
		changed[name] = content
	}
	p, err = m.PlanUndo(h, nil)
	apply(t, m, p, err)
	if now := files(t, m); !maps.Equal(now, changed) {
		t.Error("undo touched what others changed")
	}
	left := 0
	for _, s := range p.Steps {
		for _, f := range s.Files {
			if f.Action != Leave || f.Why == "" {
				t.Errorf("%s: %s, %q", f.Path, f.Action, f.Why)
			}
			left++
		}
	}
	if left < 9 {
		t.Errorf("it names only %d files", left)
	}
	// Trusting again must not overwrite them, either.
	p, err = m.Plan(h, newSigner(t, "Test CA").Authority, nil)
	apply(t, m, p, err)
	for name, content := range files(t, m) {
		if was, ok := changed[name]; ok && was != content && filepath.Base(name) != "registries.yaml" {
			t.Errorf("trust overwrote %s:\n%s", name, content)
		}
	}
}

func TestAnothersCertificateStays(t *testing.T) {
	h, ca, other := host(t, "registry.lan:5000"), newSigner(t, "Test CA"), newSigner(t, "Other CA")
	const folder = "/etc/docker/certs.d/registry.lan:5000/"
	m := machine(t, map[string]string{folder + "ca.crt": string(other.PEM())})
	p, err := m.Plan(h, ca.Authority, []string{"docker"})
	apply(t, m, p, err)
	f := p.Steps[0].Files[0]
	if f.Path != folder+"slipway.crt" || f.Action != Write || !strings.Contains(f.Why, "of another authority") {
		t.Errorf("%+v", f)
	}
	p, err = m.PlanUndo(h, []string{"docker"})
	apply(t, m, p, err)
	if now := files(t, m); len(now) != 1 || now[folder+"ca.crt"] != string(other.PEM()) {
		t.Errorf("after undo: %v", now)
	}

	put(t, m, folder+"slipway.crt", "mine")
	p, err = m.Plan(h, ca.Authority, []string{"docker"})
	apply(t, m, p, err)
	if f := p.Steps[0].Files[0]; f.Action != Leave {
		t.Errorf("both names are taken: %+v", f)
	}

	// Somebody did by hand what trust would do: it is there, and stays his.
	m = machine(t, map[string]string{folder + "company.crt": "x", folder + "ca.crt": string(ca.PEM())})
	p, err = m.Plan(h, ca.Authority, []string{"docker"})
	apply(t, m, p, err)
	if f := p.Steps[0].Files[0]; f.Action != Keep {
		t.Errorf("by hand: %+v", f)
	}
	p, err = m.PlanUndo(h, []string{"docker"})
	apply(t, m, p, err)
	if now := files(t, m); len(now) != 2 {
		t.Errorf("undo took what somebody wrote by hand: %v", now)
	}
}

// A plan is printed; what else is in a file is not for everybody.
func TestPlansShowNoPasswords(t *testing.T) {
	h, ca := host(t, "registry.lan:5000"), newSigner(t, "Test CA")
	m := machine(t, map[string]string{"/etc/rancher/k3s/registries.yaml": "configs:\n  registry.lan:5000:\n    auth:\n      password: geheim\n", "/etc/buildkit/buildkitd.toml": "# geheim\n"})
	shown := func(p *Plan, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(p)
		if err != nil || strings.Contains(string(text), "geheim") {
			t.Errorf("%v, %s", err, text)
		}
		return string(text)
	}
	p, err := m.Plan(h, ca.Authority, nil)
	wants(t, shown(p, err), "ca_file: ", "[registry.", "slipway trust registry.lan:5000: begin ", "slipway trust registry.lan:5000: end")
	apply(t, m, p, nil)
	shown(p, nil)
	shown(m.PlanUndo(h, nil))
	put(t, m, "/etc/rancher/k3s/registries.yaml", "geheim: [")
	put(t, m, "/etc/buildkit/buildkitd.toml", "password = geheim")
	shown(m.Plan(h, ca.Authority, nil))
}

func TestTwoRegistries(t *testing.T) {
	m := machine(t, furnished())
	before := files(t, m)
	ca := newSigner(t, "Test CA")
	// One name begins with the other.
	one, two := host(t, "registry.lan:500"), host(t, "registry.lan:5000")
	for _, h := range []Host{one, two} {
		p, err := m.Plan(h, ca.Authority, nil)
		apply(t, m, p, err)
	}
	both := files(t, m)
	for _, order := range [][]Host{{one, two}, {two, one}} {
		for name, content := range both {
			put(t, m, name, content)
		}
		p, err := m.PlanUndo(order[0], nil)
		apply(t, m, p, err)
		now := files(t, m)
		for _, name := range []string{"/etc/rancher/k3s/registries.yaml", "/etc/buildkit/buildkitd.toml"} {
			if strings.Contains(now[name], `"`+order[0].String()+`"`) || !strings.Contains(now[name], `"`+order[1].String()+`"`) {
				t.Errorf("%s without %s:\n%s", name, order[0], now[name])
			}
		}
		p, err = m.PlanUndo(order[1], nil)
		apply(t, m, p, err)
		if now := files(t, m); !maps.Equal(now, before) {
			t.Errorf("after undo of both: %v", now)
		}
	}
}

func TestChoice(t *testing.T) {
	h, ca := host(t, "registry.lan:5000"), newSigner(t, "Test CA")
	m := machine(t, nil)
	if _, err := m.Plan(h, ca.Authority, nil); err == nil || !strings.Contains(err.Error(), "--for") {
		t.Errorf("nothing is installed: %v", err)
	}
	if _, err := m.Plan(h, ca.Authority, []string{"rkt"}); err == nil || !strings.Contains(err.Error(), "rkt") {
		t.Errorf("an unknown tool: %v", err)
	}
	p, err := m.Plan(h, ca.Authority, []string{"skopeo", "buildah", "nerdctl"})
	if err != nil || len(p.Steps) != 2 || p.Steps[0].Tool != "podman" || p.Steps[1].Tool != "containerd" {
		t.Errorf("by other names: %+v, %v", p, err)
	}
	if _, err := m.Plan(h, ca.Authority, []string{"system"}); err == nil || !strings.Contains(err.Error(), "--system") {
		t.Errorf("a system without a store: %v", err)
	}
}

// A user has places of his own, and root's tools are not his to change.
func TestUser(t *testing.T) {
	h, ca := host(t, "registry.lan:5000"), newSigner(t, "Test CA")
	m := machine(t, map[string]string{"/usr/bin/podman": "", "/usr/bin/dockerd": "", "/usr/bin/buildkitd": "", "/usr/bin/containerd": ""})
	m.System, m.Home, m.Config = false, "/home/anna", "/home/anna/xdg"
	p, err := m.Plan(h, ca.Authority, nil)
	apply(t, m, p, err)
	if s := p.Steps[0]; s.Changes() || !strings.Contains(strings.Join(s.Todo, " "), "sudo slipway trust registry.lan:5000") {
		t.Errorf("root's docker: %+v", s)
	}
	now := files(t, m)
	for _, name := range []string{
		"/home/anna/.config/containers/certs.d/registry.lan:5000/ca.crt",
		"/home/anna/xdg/containerd/certs.d/registry.lan:5000/hosts.toml",
		"/home/anna/xdg/buildkit/buildkitd.toml",
	} {
		if now[name] == "" {
			t.Errorf("no %s in %v", name, now)
		}
	}
	for name := range now {
		if strings.HasPrefix(name, "/etc") {
			t.Errorf("it wrote %s", name)
		}
	}
	if _, err := m.PlanUndo(h, nil); err != nil {
		t.Error(err)
	}
	put(t, m, "/home/anna/xdg/docker/daemon.json", "{}")
	p, err = m.Plan(h, ca.Authority, []string{"docker"})
	apply(t, m, p, err)
	if f := p.Steps[0].Files; len(f) != 1 || f[0].Path != "/home/anna/xdg/docker/certs.d/registry.lan:5000/ca.crt" {
		t.Errorf("the user's own docker: %+v", f)
	}
}

func TestWarnings(t *testing.T) {
	h := host(t, "10.0.0.5:5000")
	m := machine(t, map[string]string{
		"/etc/docker/daemon.json":                    `{"insecure-registries": ["other.lan", "10.0.0.0/8", "10.0.0.5:5000"]}`,
		"/etc/containers/registries.conf":            "[[registry]]\nlocation = \"10.0.0.5:5000/team\"\ninsecure = true\n",
		"/etc/containers/registries.conf.d/old.conf": "[registries.insecure]\nregistries = ['10.0.0.5:5000']\n",
		"/etc/containers/registries.conf.d/ok.conf":  "[[registry]]\nlocation = \"10.0.0.5:5000\"\n[[registry]]\nlocation = \"10.0.0.5\"\ninsecure = true\n",
		"/etc/buildkit/buildkitd.toml":               "[registry.\"10.0.0.5:5000\"]\nhttp = true\n",
	})
	p, err := m.Plan(h, newSigner(t, "Test CA").Authority, []string{"docker"})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(p.Warnings, "\n")
	if len(p.Warnings) != 5 {
		t.Errorf("%d warnings:\n%s", len(p.Warnings), text)
	}
	wants(t, text, "has 10.0.0.0/8 in", "has 10.0.0.5:5000 in", "systemctl reload docker", "registries.conf says", "old.conf says", "buildkitd.toml says")
}
