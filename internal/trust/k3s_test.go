package trust

import (
	"strings"
	"testing"
)

const k3sPath = "/etc/rancher/k3s/registries.yaml"

// Every shape is edited as one of its lines, keeps what it had, and is byte for
// byte the same after undo.
func TestRegistriesYAML(t *testing.T) {
	const entry = `
  # slipway trust registry.lan:5000: begin SUM
  "registry.lan:5000":
    tls:
      ca_file: "CA"
  # slipway trust registry.lan:5000: end
`
	for _, c := range []struct{ name, text, want, hand string }{
		{name: "comments only", text: "# nothing yet\n", want: "# nothing yet\nconfigs: # slipway trust" + entry},
		{name: "no configs", text: "mirrors:\n  docker.io:\n    endpoint:\n      - https://hub.lan # fast\n",
			want: "mirrors:\n  docker.io:\n    endpoint:\n      - https://hub.lan # fast\nconfigs: # slipway trust" + entry},
		{name: "configs without a value", text: "configs:\nmirrors: {}\n", want: "configs:" + entry + "mirrors: {}\n"},
		{name: "other registries", text: "configs:\n  # the old one\n  old.lan:\n    auth: {username: u, password: p}\n",
			want: "configs:" + entry + "  # the old one\n  old.lan:\n    auth: {username: u, password: p}\n"},
		{name: "deeper", text: "configs:\n      old.lan: {}\n",
			want: "configs:" + strings.ReplaceAll(strings.TrimSuffix(entry, "\n"), "\n", "\n    ") + "\n      old.lan: {}\n"},
		{name: "registry with a login", text: "configs:\n  registry.lan:5000:\n    auth:\n      username: u\n",
			want: "configs:\n  registry.lan:5000:\n    # slipway trust registry.lan:5000: begin SUM\n    tls:\n      ca_file: \"CA\"\n    # slipway trust registry.lan:5000: end\n    auth:\n      username: u\n"},
		{name: "registry with tls", text: "configs:\n  'registry.lan:5000':\n    tls:\n      cert_file: /c\n",
			want: "configs:\n  'registry.lan:5000':\n    tls:\n      # slipway trust registry.lan:5000: begin SUM\n      ca_file: \"CA\"\n      # slipway trust registry.lan:5000: end\n      cert_file: /c\n"},
		{name: "a value called like a key", text: "x: configs\nmirrors: {}\n", want: "x: configs\nmirrors: {}\nconfigs: # slipway trust" + entry},
		{name: "another authority", text: "configs:\n  registry.lan:5000:\n    tls:\n      ca_file: /company.pem\n", hand: "another ca_file, /company.pem"},
		{name: "in one line", text: "configs: {old.lan: {}}\n", hand: "not written line by line"},
		{name: "all in one line", text: "{mirrors: {}}\n", hand: "not written line by line"},
		{name: "an end of the document", text: "mirrors: {}\n...\n", hand: "lines can be added"},
		{name: "not YAML", text: "mirrors: [\n", hand: "cannot be read"},
		{name: "a list", text: "- a\n", hand: "cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, ca := host(t, "registry.lan:5000"), newSigner(t, "Test CA")
			m := machine(t, map[string]string{k3sPath: c.text})
			p, err := m.Plan(h, ca.Authority, []string{"k3s"})
			apply(t, m, p, err)
			got, f := files(t, m)[k3sPath], p.Steps[0].Files[1]
			if c.hand != "" {
				if got != c.text || f.Action != Leave || !strings.Contains(f.Why, c.hand) {
					t.Errorf("%s, %s:\n%s", f.Action, f.Why, got)
				}
				wants(t, strings.Join(p.Steps[0].Todo, "\n"), "put this into "+k3sPath, "systemctl restart k3s", "registry.lan:5000")
				return
			}
			if i := strings.Index(got, ": begin "); i >= 0 {
				got = got[:i+8] + "SUM" + got[i+16:]
			}
			if got = strings.Replace(got, p.Steps[0].Files[0].Path, "CA", 1); got != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
			again, err := m.Plan(h, ca.Authority, []string{"k3s"})
			apply(t, m, again, err)
			if again.Steps[0].Changes() {
				t.Errorf("a second time: %+v", again.Steps[0])
			}
			undo, err := m.PlanUndo(h, nil)
			apply(t, m, undo, err)
			if got := files(t, m)[k3sPath]; got != c.text {
				t.Errorf("after undo:\n%s", got)
			}
		})
	}
}

func FuzzRegistriesYAML(f *testing.F) {
	for _, s := range []string{"", "configs:\n", "mirrors:\n  a: b\nconfigs:\n  x:\n    tls:\n      ca_file: y\n", "configs: &a\n  r: *a\n", "---\na: 1\n", "a: |\n  x\n"} {
		f.Add(s)
	}
	h, err := ParseHost("registry.lan:5000")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		after, err := addConfig(text, h, "/ca.crt")
		if err != nil || after == text {
			return
		}
		back, found, whole := cutBlock(after, h)
		if !found || !whole {
			t.Fatalf("no block in:\n%s", after)
		}
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		if back := cleanConfigs(back); back != text && strings.TrimSpace(back+text) != "" && !strings.Contains(text, configsLine) {
			t.Errorf("%q, after undo %q", text, back)
		}
	})
}
