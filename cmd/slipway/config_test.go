//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"slipway/internal/auth"
)

// configure applies a configuration file, an environment and a command line to
// the settings of serve.
func configure(t *testing.T, file string, environ, args []string) (*pflag.FlagSet, error) {
	t.Helper()
	flags := newServeCommand().Flags()
	if file != "" {
		path := filepath.Join(t.TempDir(), "slipway.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"--config", path}, args...)
	}
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return flags, applyConfiguration(flags, environ)
}

func TestConfiguration(t *testing.T) {
	for _, c := range []struct {
		name          string
		file          string
		environ, args []string
		want          map[string]string
	}{
		{"defaults", "", nil, nil, map[string]string{"listen": "127.0.0.1:5000", "gc.grace": "1h0m0s", "manifest-limit": "4MiB"}},
		{"file, dotted", "gc.grace: 2h\nmanifest-limit: 8MiB\n", nil, nil, map[string]string{"gc.grace": "2h0m0s", "manifest-limit": "8MiB"}},
		{"file, nested", "gc:\n  grace: 2h\n  interval: 0\nlog: {format: json, access: false}\n", nil, nil, map[string]string{"gc.grace": "2h0m0s", "gc.interval": "0s", "log.format": "json", "log.access": "false"}},
		{"file, empty", "# nothing\n", nil, nil, map[string]string{"gc.grace": "1h0m0s"}},
		{"variables", "", []string{"SLIPWAY_GC_GRACE=3h", "SLIPWAY_MANIFEST_LIMIT=5MiB", "PATH=/bin", "slipway_listen=no"}, nil, map[string]string{"gc.grace": "3h0m0s", "manifest-limit": "5MiB", "listen": "127.0.0.1:5000"}},
		{"a variable wins over the file", "gc.grace: 2h\ndrain: 5s\n", []string{"SLIPWAY_GC_GRACE=3h"}, nil, map[string]string{"gc.grace": "3h0m0s", "drain": "5s"}},
		{"a flag wins over both", "gc.grace: 2h\n", []string{"SLIPWAY_GC_GRACE=3h"}, []string{"--gc.grace", "4h"}, map[string]string{"gc.grace": "4h0m0s"}},
		{"a flag that says the default wins too", "gc.grace: 2h\n", []string{"SLIPWAY_GC_GRACE=3h"}, []string{"--gc.grace", "1h"}, map[string]string{"gc.grace": "1h0m0s"}},
		{"variables of others", "", []string{"SLIPWAY_SERVER=http://x", "SLIPWAY_BAKE=/usr/libexec/slipway-bake"}, nil, map[string]string{"listen": "127.0.0.1:5000"}},
	} {
		flags, err := configure(t, c.file, c.environ, c.args)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		for name, want := range c.want {
			if got := flags.Lookup(name).Value.String(); got != want {
				t.Errorf("%s: %s is %s, want %s", c.name, name, got, want)
			}
		}
	}
}

func TestConfigurationFileByVariable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "slipway.yaml")
	if err := os.WriteFile(path, []byte("gc.grace: 2h"), 0o600); err != nil {
		t.Fatal(err)
	}
	flags, err := configure(t, "", []string{"SLIPWAY_CONFIG=" + path}, nil)
	if got := flags.Lookup("gc.grace").Value.String(); err != nil || got != "2h0m0s" {
		t.Errorf("gc.grace is %s, %v", got, err)
	}
}

// A mistake is named with its place, and with what was probably meant.
func TestConfigurationMistakes(t *testing.T) {
	for _, c := range []struct {
		name    string
		file    string
		environ []string
		want    []string
	}{
		{"unknown key", "listen: 127.0.0.1:1\ngc.grase: 2h\n", nil, []string{"slipway.yaml", "line 2", `"gc.grase"`, "did you mean gc.grace?"}},
		{"unknown nested key", "gc:\n  interval: 1h\n  grase: 2h\n", nil, []string{"line 3", `"gc.grase"`, "did you mean gc.grace?"}},
		{"nothing like it", "qqqqqqqqqqqqqqqq: 1\n", nil, []string{"line 1", "--help"}},
		{"config within the file", "config: x\n", nil, []string{"line 1", `"config"`}},
		{"list", "listen: [a, b]\n", nil, []string{"line 1", "listen", "one value"}},
		{"not a mapping", "- listen\n", nil, []string{"line 1", "name: value"}},
		{"twice", "gc.grace: 1h\ngc:\n  grace: 2h\n", nil, []string{"line 3", "gc.grace", "twice"}},
		{"no YAML", "a: [\n", nil, []string{"slipway.yaml"}},
		{"value", "gc.grace: soon\n", nil, []string{"slipway.yaml", "gc.grace", "soon"}},
		{"size", "manifest-limit: 4 parsecs\n", nil, []string{"manifest-limit", "4MiB"}},
		{"unknown variable", "", []string{"SLIPWAY_GC_GRASE=2h"}, []string{"SLIPWAY_GC_GRASE", "did you mean SLIPWAY_GC_GRACE?"}},
		{"value of a variable", "", []string{"SLIPWAY_GC_GRACE=soon"}, []string{"environment", "gc.grace", "soon"}},
		{"missing file", "", []string{"SLIPWAY_CONFIG=/nowhere/slipway.yaml"}, []string{"/nowhere/slipway.yaml"}},
	} {
		_, err := configure(t, c.file, c.environ, nil)
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not mention %q", c.name, err, part)
			}
		}
	}
}

func TestByteSize(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "1": 1, "1B": 1, "1KiB": 1024, "4MiB": 4 << 20, "4 MiB": 4 << 20, "1GiB": 1 << 30, "2TiB": 2 << 40, "1KB": 1000, "500MB": 5e8, "1GB": 1e9, "1TB": 1e12, "9223372036854775807": 1<<63 - 1,
	} {
		var b byteSize
		if err := b.Set(s); err != nil || int64(b) != want {
			t.Errorf("%s: %d, %v, want %d", s, b, err, want)
		}
		var again byteSize
		if err := again.Set(b.String()); err != nil || again != b {
			t.Errorf("%s is written as %s, which reads as %d, %v", s, b.String(), again, err)
		}
	}
	for _, s := range []string{"", "x", "-1", "-1MiB", "1.5MiB", "MiB", "4mib", "4M", "9223372036854775808", "9007199254740992TiB", "1 MiB x"} {
		var b byteSize
		if err := b.Set(s); err == nil {
			t.Errorf("%q reads as %d", s, b)
		}
	}
}

func TestReach(t *testing.T) {
	for _, c := range []struct {
		listen, http, anonymous string
		want                    auth.Anonymous
		untilUsed               bool
		refused                 string // part of the error
	}{
		{"127.0.0.1:5000", "loopback", "", 0, true, ""},
		{"127.8.9.1:5000", "loopback", "", 0, true, ""},
		{"[::1]:5000", "loopback", "", 0, true, ""},
		{"localhost:5000", "loopback", "", 0, true, ""},
		{"127.0.0.1:5000", "loopback", "pull", auth.AnonymousPull, false, ""},
		{"127.0.0.1:5000", "loopback", "none", 0, false, ""},
		{"0.0.0.0:5000", "allow", "push", auth.AnonymousPush, false, ""},
		{":5000", "allow", "admin", auth.AnonymousAdmin, false, ""},
		{":5000", "10.0.0.0/8,fd00::/8", "", 0, false, ""},

		// Nothing is open to the network that nobody said is.
		{"0.0.0.0:5000", "loopback", "", 0, false, ""},
		{":5000", "loopback", "", 0, false, ""},
		{"[::]:5000", "loopback", "", 0, false, ""},
		{"192.168.1.2:5000", "loopback", "none", 0, false, ""},
		{"registry.example:5000", "loopback", "", 0, false, ""},
		{"localhost.example:5000", "loopback", "", 0, false, ""},

		{"127.0.0.1:5000", "everywhere", "", 0, false, "loopback, allow, or networks"},
		{"127.0.0.1:5000", "10.1.2.3/8", "", 0, false, "loopback, allow, or networks"},
		{"127.0.0.1:5000", "loopback", "root", 0, false, "pull, push or admin"},
		{"127.0.0.1", "loopback", "", 0, false, "ADDRESS:PORT"},
		{"", "loopback", "", 0, false, "ADDRESS:PORT"},
	} {
		got, err := (&serveSettings{listen: c.listen, http: c.http, anonymous: c.anonymous}).reach()
		if (err != nil) != (c.refused != "") || (err == nil && (got.anonymous != c.want || got.untilUsed != c.untilUsed)) {
			t.Errorf("%+v: %+v, %v", c, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%+v: %q does not say %q", c, err, c.refused)
		}
	}
}
