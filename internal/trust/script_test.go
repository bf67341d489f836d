//go:build unix

package trust

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shells are those of Debian, of people, and of Alpine, each with the programs
// that come with it. A machine has curl or wget; busybox has its own wget.
func shells(t *testing.T) map[string]shell {
	t.Helper()
	list := map[string]shell{}
	for _, name := range []string{"dash", "bash"} {
		if path, err := exec.LookPath(name); err == nil {
			for _, fetcher := range []string{"curl", "wget"} {
				if _, err := exec.LookPath(fetcher); err == nil {
					list[name+" with "+fetcher] = shell{[]string{path}, programs(t, "", fetcher)}
				}
			}
		}
	}
	if path, err := exec.LookPath("busybox"); err == nil {
		list["busybox"] = shell{[]string{path, "sh"}, programs(t, path, "curl")}
	}
	if len(list) == 0 || len(list) < 3 && os.Getenv("SLIPWAY_TEST_REQUIRE") == "1" {
		t.Fatalf("only these shells are here: %v; install dash, bash, busybox, and curl or wget", list)
	}
	return list
}

// oneEach leaves out the shells that differ only in what fetches.
func oneEach(list map[string]shell) map[string]shell {
	for name := range list {
		shell, fetcher, _ := strings.Cut(name, " with ")
		if _, twice := list[shell+" with curl"]; fetcher == "wget" && twice {
			delete(list, name)
		}
	}
	return list
}

type shell struct {
	command []string
	path    string
}

// programs makes a folder with what the script may use, from busybox if given.
func programs(t *testing.T, busybox, fetcher string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"sh", "id", "dirname", "cat", "tr", "awk", "cmp", "cp", "mv", "mkdir", "chmod", "rm", "sed", "head", "test", "cut", "base64", "sha256sum", "mktemp", "grep"} {
		of := busybox
		if of == "" {
			var err error
			if of, err = exec.LookPath(name); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(of, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	path, err := exec.LookPath(fetcher)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, filepath.Join(dir, fetcher)); err != nil {
		t.Fatal(err)
	}
	// Whoever runs the test need not be root, and must not need a password.
	if err := os.WriteFile(filepath.Join(dir, "sudo"), []byte("#!/bin/sh\nexec \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// run runs a script whose folders are below a machine's root.
func (s shell) run(t *testing.T, script string, m *Machine) (string, error) {
	t.Helper()
	script = strings.NewReplacer(" /etc/", " "+m.Root+"/etc/", "\"/etc/", "\""+m.Root+"/etc/", "=/etc/", "="+m.Root+"/etc/").Replace(script)
	cmd := exec.Command(s.command[0], append(s.command[1:], "-c", script)...)
	cmd.Env = []string{"PATH=" + s.path, "TMPDIR=" + t.TempDir(), "HOME=" + t.TempDir()}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestScript(t *testing.T) {
	ca := newSigner(t, "Test CA")
	h := serve(t, issue(t, ca, time.Now().Add(time.Hour), "127.0.0.1"), map[string]string{authorityPath: string(ca.PEM())})
	for name, sh := range shells(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := machine(t, map[string]string{
				"/etc/containerd/config.toml": "version = 2\n", "/etc/rancher/k3s/x": "", "/etc/buildkit/x": "",
				"/etc/docker/daemon.json": `{"insecure-registries": []}`,
			})
			before := files(t, m)
			script := string(Script(h.String(), ca.Fingerprint()))
			out, err := sh.run(t, script, m)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			wants(t, out, "written  ", "config_path", "registries.yaml", "buildkitd.toml", "insecure-registries")
			got := files(t, m)
			for _, folder := range []string{"/etc/docker", "/etc/containers", "/etc/containerd"} {
				path := folder + "/certs.d/" + h.String() + "/ca.crt"
				if got[path] != string(ca.file(h)) {
					t.Errorf("%s:\n%s", path, got[path])
				}
			}
			if again, err := sh.run(t, script, m); err != nil || strings.Contains(again, "written") {
				t.Errorf("a second time: %v\n%s", err, again)
			}
			if now := files(t, m); !maps.Equal(now, got) {
				t.Error("a second time changes files")
			}
			// What the script wrote is trust's, but for the paths that this test bends.
			hosts := "/etc/containerd/certs.d/" + h.String() + "/hosts.toml"
			put(t, m, hosts, strings.ReplaceAll(got[hosts], m.Root, ""))
			p, err := m.PlanUndo(h, nil)
			apply(t, m, p, err)
			if now := files(t, m); !maps.Equal(now, before) {
				t.Errorf("after undo: %v", now)
			}
		})
	}
}

// Whoever is in between may send anything in place of the authority.
func TestScriptWritesOnlyTheAuthority(t *testing.T) {
	ca, evil := newSigner(t, "Test CA"), newSigner(t, "Evil CA")
	good, bad := string(ca.PEM()), string(evil.PEM())
	list := oneEach(shells(t))
	for name, c := range map[string]struct {
		sent  string
		works bool
	}{
		"another":            {bad, false},
		"another first":      {bad + good, false},
		"another afterward":  {good + bad, true}, // the first alone is written
		"with text":          {"hello\n" + good + "world\n", true},
		"with CR":            {strings.ReplaceAll(good, "\n", "\r\n"), true},
		"one in the other":   {strings.Replace(good, "\n", "\n"+bad, 1), false},
		"cut off":            {good[:len(good)-30], false},
		"more after the end": {strings.Replace(good, "-----END", strings.Join(strings.Split(bad, "\n")[1:3], "\n")+"\n-----END", 1), false},
		"a header":           {strings.Replace(good, "\n", "\nProc-Type: 4\n\n", 1), false},
		"nothing":            {"", false},
		"a page":             {"<html>\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := serve(t, issue(t, evil, time.Now().Add(time.Hour), "127.0.0.1"), map[string]string{authorityPath: c.sent})
			for shellName, sh := range list {
				m := machine(t, map[string]string{"/etc/docker/x": ""})
				out, err := sh.run(t, string(Script(h.String(), ca.Fingerprint())), m)
				got := files(t, m)["/etc/docker/certs.d/"+h.String()+"/ca.crt"]
				switch {
				case c.works && (err != nil || got != string(ca.file(h))):
					t.Errorf("%s: %v\n%s\n%s", shellName, err, out, got)
				case !c.works && (err == nil || len(files(t, m)) != 1):
					t.Errorf("%s: it wrote %v\n%s", shellName, files(t, m), out)
				case !c.works && !strings.Contains(out, "slipway trust "+h.String()+":"):
					t.Errorf("%s: it does not say why: %s", shellName, out)
				}
			}
		})
	}
}

func TestScriptBesideAnother(t *testing.T) {
	ca, other := newSigner(t, "Test CA"), newSigner(t, "Other CA")
	h := serve(t, issue(t, ca, time.Now().Add(time.Hour), "127.0.0.1"), map[string]string{authorityPath: string(ca.PEM())})
	for name, sh := range oneEach(shells(t)) {
		m := machine(t, map[string]string{"/etc/docker/certs.d/" + h.String() + "/ca.crt": string(other.PEM())})
		if out, err := sh.run(t, string(Script(h.String(), ca.Fingerprint())), m); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		got := files(t, m)
		if got["/etc/docker/certs.d/"+h.String()+"/ca.crt"] != string(other.PEM()) || got["/etc/docker/certs.d/"+h.String()+"/slipway.crt"] != string(ca.file(h)) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// The line runs what the server's script is, and nothing else.
func TestOneLine(t *testing.T) {
	ca := newSigner(t, "Test CA")
	absent := newSigner(t, "Nobody's CA").Fingerprint()
	list := shells(t)
	const harmless = "touch \"$HOME/ran\"\n"
	for name, c := range map[string]struct {
		change func(script string) string
		runs   bool
	}{
		"as it is":     {func(s string) string { return s }, true},
		"added":        {func(s string) string { return s + harmless }, false},
		"put before":   {func(s string) string { return harmless + s }, false},
		"replaced":     {func(string) string { return harmless }, false},
		"one newline":  {func(s string) string { return s + "\n" }, true}, // which no shell would see
		"cut off":      {func(s string) string { return s[:len(s)/2] }, false},
		"empty":        {func(string) string { return "" }, false},
		"not for this": {func(string) string { return string(Script("other.lan:5000", ca.Fingerprint())) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, show := serveLater(t, issue(t, ca, time.Now().Add(time.Hour), "127.0.0.1"))
			// It is for an authority that is not served, so that it ends before it
			// writes to /etc.
			script := string(Script(h.String(), absent))
			show(map[string]string{authorityPath: string(ca.PEM()), "/trust/install.sh": c.change(script)})
			for shellName, sh := range list {
				home := t.TempDir()
				cmd := exec.Command(sh.command[0], append(sh.command[1:], "-c", OneLine(h.String(), absent))...)
				cmd.Env = []string{"PATH=" + sh.path, "HOME=" + home}
				out, err := cmd.CombinedOutput()
				if err == nil {
					t.Errorf("%s: it succeeded: %s", shellName, out)
				}
				ran := bytes.Contains(out, []byte("what came is not the registry's authority"))
				if ran != c.runs || (!c.runs && !bytes.Contains(out, []byte("nothing was run"))) {
					t.Errorf("%s: ran: %v\n%s", shellName, ran, out)
				}
				if _, err := os.Stat(filepath.Join(home, "ran")); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s: what somebody added was run", shellName)
				}
			}
		})
	}
}

func TestScriptOfStrangeHosts(t *testing.T) {
	print := "sha256:" + strings.Repeat("0a", 32)
	for _, bad := range []string{"", "a'; reboot; '", "$(reboot)", "a/../b", "a b"} {
		if line := OneLine(bad, print); line != "" {
			t.Errorf("OneLine(%q) = %s", bad, line)
		}
		script := Script(bad, print)
		if bytes.Contains(script, []byte("reboot")) {
			t.Errorf("Script(%q):\n%s", bad, script)
		}
		if err := exec.Command("sh", "-c", string(script)).Run(); err == nil {
			t.Errorf("Script(%q) succeeds", bad)
		}
	}
	if OneLine("registry.lan:5000", "sha256:") != "" {
		t.Error("a line without a fingerprint")
	}
	// What the server makes of the Host that curl sends is what the line expects.
	for host, asked := range map[string]string{"registry.lan:443": "registry.lan", "registry.lan": "registry.lan", "registry:443": "registry", "[fd00::1]:5000": "[fd00::1]:5000"} {
		h, _, err := checked(host, print)
		if err != nil || h.asked() != asked || len(Script(asked, print)) < 1000 || !bytes.Equal(Script(host, print), Script(asked, print)) {
			t.Errorf("%s is asked as %s: %v", host, h.asked(), err)
		}
		wants(t, OneLine(host, print), "https://"+asked+"/trust/install.sh")
	}
}
