package trust

import (
	"context"
	"strings"
	"testing"
)

func TestConfigPath(t *testing.T) {
	const v2 = "[plugins.\"io.containerd.grpc.v1.cri\".registry]"
	for _, c := range []struct {
		name, config, imported, version string
		want                            []string // in what is to be done; nil: nothing
	}{
		{name: "no file, containerd 1.6", version: "1.6.20", want: []string{"version = 2\n" + v2, `config_path = "/etc/containerd/certs.d"`, "systemctl restart containerd"}},
		{name: "no file, containerd 2.0", version: "2.0.4", want: []string{"version = 3\n[plugins.\"io.containerd.cri.v1.images\".registry]"}},
		{name: "no file, containerd 2.2", version: "2.2.0"},
		{name: "version 2", config: "version = 2\n", version: "1.7.2", want: []string{v2}},
		{name: "version 2, in containerd 2.2", config: "version = 2\n", version: "2.2.1"},
		{name: "version 2, set", config: "version = 2\n" + v2 + "\nconfig_path = '/etc/containerd/certs.d'\n", version: "1.6.20"},
		{name: "version 2, set to both", config: "version = 2\n" + v2 + "\nconfig_path = '/etc/docker/certs.d:/etc/containerd/certs.d'\n"},
		{name: "version 2, another folder", config: "version = 2\n" + v2 + "\nconfig_path = '/srv/certs'\n", want: []string{`has config_path = "/srv/certs"`, "after a colon"}},
		{name: "version 3, set", config: "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d'\n"},
		{name: "version 3, not set", config: "version = 3\n", version: "2.0.0", want: []string{"io.containerd.cri.v1.images"}},
		{name: "version 1", config: "[plugins.cri.registry]\n", want: []string{"[plugins.cri.registry]"}},
		{name: "mirrors", config: "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\nendpoint = ['https://hub.lan']\n", version: "2.3.0", want: []string{v2, "excludes mirrors"}},
		{name: "imported", config: "version = 2\nimports = ['conf.d/*.toml']\n", imported: v2 + "\nconfig_path = '/etc/containerd/certs.d'\n"},
		{name: "without Kubernetes, as Docker installs it", config: "disabled_plugins = ['cri']\n"},
		{name: "not TOML", config: "version = \n", want: []string{"mend /etc/containerd/config.toml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := machine(t, map[string]string{"/usr/bin/containerd": ""})
			if c.config != "" {
				put(t, m, containerdConfig, c.config)
			}
			if c.imported != "" {
				put(t, m, "/etc/containerd/conf.d/registry.toml", c.imported)
			}
			m.Output = func(_ context.Context, program string, args ...string) (string, error) {
				return "containerd github.com/containerd/containerd v" + c.version + " 1234", nil
			}
			p, err := m.Plan(host(t, "registry.lan:5000"), newSigner(t, "Test CA").Authority, nil)
			if err != nil {
				t.Fatal(err)
			}
			todo := strings.Join(p.Steps[0].Todo, "\n")
			if (todo == "") != (c.want == nil) {
				t.Errorf("to do: %s", todo)
			}
			wants(t, todo, c.want...)
		})
	}
}

func TestHostsFileOfOthers(t *testing.T) {
	const name = "/etc/containerd/certs.d/registry.lan:5000/hosts.toml"
	m := machine(t, map[string]string{name: "server = \"https://mirror.lan\"\n", "/etc/containerd/config.toml": "disabled_plugins = ['cri']\n"})
	p, err := m.Plan(host(t, "registry.lan:5000"), newSigner(t, "Test CA").Authority, []string{"nerdctl"})
	apply(t, m, p, err)
	if got := files(t, m)[name]; got != "server = \"https://mirror.lan\"\n" {
		t.Errorf("it overwrote:\n%s", got)
	}
	wants(t, strings.Join(p.Steps[0].Todo, "\n"), name, `ca = "/etc/containerd/certs.d/registry.lan:5000/ca.crt"`)
}

func TestBuildKitTableOfOthers(t *testing.T) {
	const name = "/etc/buildkit/buildkitd.toml"
	for _, text := range []string{
		"[registry.\"registry.lan:5000\"]\n  http = true\n",
		"registry = {}\n",
		"registry = 1\n",
		"debug = \n",
	} {
		m := machine(t, map[string]string{name: text})
		p, err := m.Plan(host(t, "registry.lan:5000"), newSigner(t, "Test CA").Authority, []string{"buildkit"})
		apply(t, m, p, err)
		if got := files(t, m)[name]; got != text {
			t.Errorf("it changed:\n%s", got)
		}
		wants(t, strings.Join(p.Steps[0].Todo, "\n"), "put this into "+name, `[registry."registry.lan:5000"]`, "systemctl restart buildkit")
	}
}
