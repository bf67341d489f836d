//go:build linux

package shim

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestCreation(t *testing.T) {
	for _, test := range []struct {
		args, bundle, id string
		creates          bool
	}{
		{"--log /x/runc-log.json --log-format json run --bundle /b --keep abc", "/b", "abc", true},
		{"--root /run/x --debug --systemd-cgroup create -b /b --pid-file /p --no-pivot abc", "/b", "abc", true},
		{"--log=/x run --bundle=/b abc", "/b", "abc", true},
		{"--log run state abc", "", "abc", false},
		{"--log /x delete --force run", "", "", false},
		{"kill abc 9", "", "9", false},
		{"--version", "", "", false},
		{"", "", "", false},
	} {
		bundle, id, creates := creation(strings.Fields(test.args))
		if creates != test.creates || creates && (bundle != test.bundle || id != test.id) {
			t.Errorf("%q: %q, %q, %v", test.args, bundle, id, creates)
		}
	}
}

func TestTakeMarker(t *testing.T) {
	a := Marker("a")
	for _, test := range []struct {
		env, want []string
		token     string
		fails     bool
	}{
		{env: []string{"A=1"}, want: []string{"A=1"}},
		{env: []string{"NO_PROXY=" + a, "no_proxy=" + a, "A=1"}, want: []string{"A=1"}, token: "a"},
		{env: []string{"NO_PROXY=x," + a + ",y"}, want: []string{"NO_PROXY=x,y"}, token: "a"},
		{env: []string{"NO_PROXY=x.invalid,slipway-run-"}, want: []string{"NO_PROXY=x.invalid,slipway-run-"}},
		{env: []string{"A=" + a}, want: []string{"A=" + a}},
		{env: []string{"NO_PROXY=" + a, "no_proxy=" + Marker("b")}, fails: true},
		{env: []string{"NO_PROXY=" + Marker("../a")}, fails: true},
		{env: []string{"NO_PROXY=" + Marker("")}, fails: true},
	} {
		env := slices.Clone(test.env)
		token, err := takeMarker(&env)
		if (err != nil) != test.fails {
			t.Errorf("%q: %v", test.env, err)
		}
		if err == nil && (token != test.token || !slices.Equal(env, test.want)) {
			t.Errorf("%q: token %q, left %q; want %q, %q", test.env, token, env, test.token, test.want)
		}
	}
}

func container() specs.Spec {
	return specs.Spec{
		Process: &specs.Process{Env: []string{"PATH=/bin"}},
		Mounts: []specs.Mount{
			{Destination: "/dev", Type: "tmpfs"},
			{Destination: "/etc/hosts", Type: "bind"},
		},
		Linux: &specs.Linux{CgroupsPath: "/slipway-x/builds/buildkit/abc"},
	}
}

func TestEdit(t *testing.T) {
	const group = "/slipway-x/builds"
	for name, test := range map[string]struct {
		change func(*specs.Spec)
		check  func(*testing.T, specs.Spec)
	}{
		"certificates": {
			func(*specs.Spec) {},
			func(t *testing.T, s specs.Spec) {
				last := s.Mounts[len(s.Mounts)-1]
				if last.Destination != caPath || last.Source != "/ca" || !slices.Contains(last.Options, "ro") {
					t.Errorf("mounted last is %+v", last)
				}
				if !slices.Contains(s.Process.Env, "SSL_CERT_FILE="+caPath) || s.Process.Env[0] != "PATH=/bin" {
					t.Errorf("the environment is %q", s.Process.Env)
				}
			},
		},
		"a certificate of the step's own": {
			func(s *specs.Spec) { s.Process.Env = append(s.Process.Env, "PIP_CERT=") },
			func(t *testing.T, s specs.Spec) {
				if v, set := getenv(s.Process.Env, "PIP_CERT"); !set || v != "" {
					t.Errorf("PIP_CERT is %q", v)
				}
			},
		},
		"/dev of the step's own": {
			func(s *specs.Spec) { s.Mounts = s.Mounts[1:] },
			func(t *testing.T, s specs.Spec) {
				if len(s.Mounts) != 1 || len(s.Process.Env) != 1 {
					t.Errorf("changed: %+v %q", s.Mounts, s.Process.Env)
				}
			},
		},
		"in its control group": {
			func(*specs.Spec) {},
			func(t *testing.T, s specs.Spec) {
				if s.Linux.CgroupsPath != group+"/buildkit/abc" {
					t.Error(s.Linux.CgroupsPath)
				}
			},
		},
		"in another control group": {
			func(s *specs.Spec) { s.Linux.CgroupsPath = "/mine/buildkit/abc" },
			func(t *testing.T, s specs.Spec) {
				if s.Linux.CgroupsPath != group+"/buildkit/abc" {
					t.Error(s.Linux.CgroupsPath)
				}
			},
		},
		"out of its control group": {
			func(s *specs.Spec) { s.Linux.CgroupsPath = group + "/../../abc" },
			func(t *testing.T, s specs.Spec) {
				if s.Linux.CgroupsPath != group+"/buildkit/abc" {
					t.Error(s.Linux.CgroupsPath)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bundle, spec := t.TempDir(), container()
			test.change(&spec)
			raw, err := json.Marshal(spec)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(bundle, "config.json")
			if err := os.WriteFile(file, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := edit(t.TempDir(), Settings{CAFile: "/ca", Cgroup: group}, bundle, "abc"); err != nil {
				t.Fatal(err)
			}
			if raw, err = os.ReadFile(file); err != nil {
				t.Fatal(err)
			}
			var after specs.Spec
			if err := json.Unmarshal(raw, &after); err != nil {
				t.Fatal(err)
			}
			test.check(t, after)
		})
	}
}

func TestJoinPod(t *testing.T) {
	nets := t.TempDir()
	network := func(name string) string {
		path := filepath.Join(nets, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	with := func(path, host string) *specs.Spec {
		return &specs.Spec{Hostname: host, Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace, Path: path},
		}}}
	}
	dir := t.TempDir()
	one, two, three := network("one"), network("two"), network("three")
	for _, step := range []struct {
		name    string
		spec    *specs.Spec
		service bool
		want    string // the network it gets
		fails   string
	}{
		{"a step before the services", with(two, sandboxName), false, two, ""},
		{"a service without a name", with(one, sandboxName), true, "", "host name"},
		{"the first service", with(one, "db"), true, one, ""},
		{"the second", with(two, sandboxName), true, one, ""},
		{"a step", with(three, sandboxName), false, one, ""},
		{"a step without a network", with("", sandboxName), false, "", ""},
	} {
		err := joinPod(dir, step.spec, step.service)
		if step.fails != "" {
			if err == nil || !strings.Contains(err.Error(), step.fails) {
				t.Errorf("%s: %v", step.name, err)
			}
			continue
		}
		if got := networkOf(step.spec).Path; err != nil || got != step.want {
			t.Errorf("%s: %s, %v; want %s", step.name, got, err, step.want)
		}
	}
	if err := os.Remove(one); err != nil {
		t.Fatal(err)
	}
	if err := joinPod(dir, with(three, sandboxName), false); err == nil || !strings.Contains(err.Error(), "have ended") {
		t.Errorf("a step after the services: %v", err)
	}
	again := with(three, "db")
	if err := joinPod(dir, again, true); err != nil || networkOf(again).Path != three {
		t.Errorf("a service that starts again: %v", err)
	}
}
