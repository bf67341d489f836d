//go:build unix

package trust

import (
	"os"
	"strings"
	"testing"
)

func link(t *testing.T, m *Machine, to, name string) {
	t.Helper()
	if err := os.Symlink(to, m.path(name)); err != nil {
		t.Fatal(err)
	}
}

// Whoever may write into a tool's folder must not thereby make root write
// elsewhere.
func TestLinksDoNotLeadOut(t *testing.T) {
	h, ca := host(t, "registry.lan:5000"), newSigner(t, "Test CA")
	const folder = "/etc/docker/certs.d/registry.lan:5000"
	for name, prepare := range map[string]func(m *Machine){
		"the registry's folder":           func(m *Machine) { link(t, m, m.path("/outside"), folder) },
		"the registry's folder, relative": func(m *Machine) { link(t, m, "../../../outside", folder) },
		"certs.d": func(m *Machine) {
			if err := os.Remove(m.path("/etc/docker/certs.d")); err != nil {
				t.Fatal(err)
			}
			link(t, m, "../../outside", "/etc/docker/certs.d")
		},
	} {
		m := machine(t, map[string]string{"/outside/file": "x", "/etc/docker/certs.d/x": ""})
		if err := os.Remove(m.path("/etc/docker/certs.d/x")); err != nil {
			t.Fatal(err)
		}
		prepare(m)
		p, err := m.Plan(h, ca.Authority, []string{"docker"})
		if err == nil {
			err = m.Apply(t.Context(), p)
		}
		if err == nil || !strings.Contains(err.Error(), "escapes") {
			t.Errorf("%s: %v", name, err)
		}
		if got := files(t, m); got["/outside/file"] != "x" {
			t.Errorf("%s: %v", name, got)
		}
		if entries, err := os.ReadDir(m.path("/outside")); err != nil || len(entries) != 1 {
			t.Errorf("%s: %v, %v was written outside", name, entries, err)
		}
	}
}

// A configuration that is a link belongs to what manages it.
func TestLinkedConfigurationIsLeft(t *testing.T) {
	h, ca := host(t, "registry.lan:5000"), newSigner(t, "Test CA")
	m := machine(t, map[string]string{"/etc/buildkit/managed.toml": "debug = true\n"})
	link(t, m, "managed.toml", "/etc/buildkit/buildkitd.toml")
	p, err := m.Plan(h, ca.Authority, []string{"buildkit", "docker"})
	if err != nil {
		t.Fatal(err)
	}
	err = m.Apply(t.Context(), p)
	if err == nil || !strings.Contains(err.Error(), "not a plain file") {
		t.Errorf("Apply: %v", err)
	}
	got := files(t, m)
	if got["/etc/buildkit/managed.toml"] != "debug = true\n" {
		t.Errorf("it changed the link's target:\n%s", got["/etc/buildkit/managed.toml"])
	}
	if got["/etc/docker/certs.d/registry.lan:5000/ca.crt"] == "" {
		t.Error("one tool's failure kept another from being served")
	}
}

func TestChangedMeanwhile(t *testing.T) {
	h, ca := host(t, "registry.lan:5000"), newSigner(t, "Test CA")
	m := machine(t, map[string]string{"/etc/buildkit/buildkitd.toml": "debug = true\n"})
	p, err := m.Plan(h, ca.Authority, []string{"buildkit"})
	if err != nil {
		t.Fatal(err)
	}
	put(t, m, "/etc/buildkit/buildkitd.toml", "debug = false\n")
	if err := m.Apply(t.Context(), p); err == nil || !strings.Contains(err.Error(), "meanwhile") {
		t.Errorf("Apply: %v", err)
	}
	if got := files(t, m)["/etc/buildkit/buildkitd.toml"]; got != "debug = false\n" {
		t.Errorf("it overwrote a change:\n%s", got)
	}
}

func TestModeOfAnEditedFile(t *testing.T) {
	h, ca := host(t, "registry.lan:5000"), newSigner(t, "Test CA")
	const name = "/etc/rancher/k3s/registries.yaml"
	m := machine(t, map[string]string{name: "mirrors: {}\n"})
	if err := os.Chmod(m.path(name), 0o640); err != nil {
		t.Fatal(err)
	}
	p, err := m.Plan(h, ca.Authority, []string{"k3s"})
	apply(t, m, p, err)
	if info, err := os.Stat(m.path(name)); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
