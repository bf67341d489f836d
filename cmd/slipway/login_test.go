//go:build unix

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func (c *accessLine) config() string {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"))
	if err != nil && !os.IsNotExist(err) {
		c.t.Fatal(err)
	}
	return string(b)
}

func (c *accessLine) writeConfig(content string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(content), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// What login stores is what the other commands, and other programs, log in with.
func TestLogin(t *testing.T) {
	c := newAccessLine(t)
	c.with("a good password\n").ok("user add root --group admins --password-stdin --data DIR")
	c.with("a bad password\n").fails("login HOST -u root --password-stdin", 1, "the user name or the password is wrong; nothing was stored")
	if got := c.config(); got != "" {
		t.Errorf("a refused login is stored: %s", got)
	}
	c.writeConfig(`{"auths":{"other.example":{"auth":"YTpi"}},"detachKeys":"ctrl-a"}`)
	_, stdout, stderr := c.with("a good password\n").run("login HOST -u root --password-stdin")
	if stdout != "" || !strings.Contains(stderr, "Logged in to HOST as root; stored in "+filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json")) || strings.Contains(stderr, "good password") {
		t.Errorf("login said %q %q", stdout, stderr)
	}
	var file struct {
		Auths map[string]struct{ Auth string }
	}
	got := c.config()
	if err := json.Unmarshal([]byte(got), &file); err != nil || file.Auths[c.host].Auth != "cm9vdDphIGdvb2QgcGFzc3dvcmQ=" || file.Auths["other.example"].Auth != "YTpi" || !strings.Contains(got, "ctrl-a") {
		t.Errorf("the configuration is %s", got)
	}
	if info, err := os.Stat(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the configuration: %v, %v", info, err)
	}
	c.ok("user list --server HOST")
	c.ok("catalog HOST")
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	c.fails("user list --server HOST", 1, "asks for a login")
	c.fails("catalog HOST", 1, "")
	c.writeConfig(got)
	c.ok("logout HOST")
	if got := c.config(); strings.Contains(got, c.host) || !strings.Contains(got, "other.example") {
		t.Errorf("after logout the configuration is %s", got)
	}
	if _, _, stderr := c.run("logout HOST"); !strings.Contains(stderr, "No login for HOST is stored") {
		t.Errorf("a second logout said %q", stderr)
	}
	c.writeConfig(`{"auths":{"` + c.host + `":{"auth":"cm9vdDo=","identitytoken":"x"}}}`)
	c.fails("user list --server HOST", 1, "good for images only: run 'slipway login HOST'")
}

// Docker's credential helper is used where there is one.
func TestLoginByHelper(t *testing.T) {
	c := newAccessLine(t)
	c.with("a good password\n").ok("user add root --group admins --password-stdin --data DIR")
	bin := t.TempDir()
	helper := `#!/bin/sh
case $1 in
store) cat > "` + bin + `/stored" ;;
get) read host; grep -q "\"$host\"" "` + bin + `/stored" 2>/dev/null && cat "` + bin + `/stored" || { echo "credentials not found in native keychain"; exit 1; } ;;
erase) rm "` + bin + `/stored" ;;
list) echo {} ;;
esac
`
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte(helper), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	c.writeConfig(`{"credsStore":"test"}`)
	if _, _, stderr := c.with("a good password\n").run("login HOST -u root --password-stdin"); !strings.Contains(stderr, "stored in the credential helper docker-credential-test") {
		t.Errorf("login said %q", stderr)
	}
	if got := c.config(); strings.Contains(got, "cm9vdDp") {
		t.Errorf("the password is in the configuration: %s", got)
	}
	c.ok("user list --server HOST")
	c.ok("logout HOST")
	c.fails("user list --server HOST", 1, "asks for a login")
}

// Other registries ask in other ways.
func TestLoginElsewhere(t *testing.T) {
	right := func(r *http.Request) bool {
		u, p, _ := r.BasicAuth()
		return u == "anna" && p == "right password"
	}
	mux := http.NewServeMux()
	basic := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !right(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer basic.Close()
	bearer := httptest.NewServer(mux)
	defer bearer.Close()
	mux.HandleFunc("/v2/", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer good" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+bearer.URL+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		if !right(r) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{"token":"good"}`)
	})
	for kind, server := range map[string]*httptest.Server{"basic": basic, "bearer": bearer} {
		c := newAccessLine(t)
		c.host = strings.TrimPrefix(server.URL, "http://")
		c.with("wrong password\n").fails("login HOST -u anna --password-stdin", 1, "wrong; nothing was stored")
		if got := c.config(); got != "" {
			t.Errorf("%s: a refused login is stored: %s", kind, got)
		}
		c.with("right password\n").ok("login HOST -u anna --password-stdin")
		if got := c.config(); !strings.Contains(got, c.host) {
			t.Errorf("%s: the configuration is %s", kind, got)
		}
	}
}

func TestLoginMistakes(t *testing.T) {
	c := newAccessLine(t)
	for line, says := range map[string]string{
		"login HOST/team -u a --password-stdin": "not a registry",
		"login HOST --password-stdin":           "--username USER",
		"login HOST -u a":                       "nobody is there to type",
		"login":                                 "accepts 1 arg",
	} {
		c.with("x\n").fails(line, exitUsage, says)
	}
	c.with("").fails("login HOST -u a --password-stdin", exitFailure, "no password")
	c.with("x\n").fails("login 127.0.0.1:1 -u a --password-stdin", exitFailure, "refused; nothing was stored")
	c.writeConfig(`{"auths":`)
	c.with("x\n").fails("login HOST -u a --password-stdin", exitFailure, "is left as it is")
	if got := c.config(); got != `{"auths":` {
		t.Errorf("the configuration is %s", got)
	}
}

// A password does not go over plain HTTP by itself, except within this machine.
func TestLoginOverPlainHTTP(t *testing.T) {
	for _, m := range []struct {
		url     string
		allowed bool
		sent    bool
	}{
		{"http://127.0.0.1:1/", false, true}, {"http://localhost:1/", false, true}, {"http://192.168.1.1:1/", false, false}, {"http://registry.lan/", false, false},
		{"http://192.168.1.1:1/", true, true}, {"https://registry.lan/", false, true},
	} {
		sent := false
		base := roundTrip(func(*http.Request) (*http.Response, error) { sent = true; return nil, io.EOF })
		u, err := url.Parse(m.url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (&noPlainHTTP{base, m.allowed}).RoundTrip(&http.Request{URL: u}); err == nil || sent != m.sent {
			t.Errorf("%s, allowed %v: sent: %v, %v", m.url, m.allowed, sent, err)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What 'slipway trust' wrote for Docker or Podman is enough for our commands.
func TestCommandsTrust(t *testing.T) {
	for _, folder := range []string{".docker", ".config/containers"} {
		c := newAccessLine(t)
		c.with("a good password\n").ok("user add root --group admins --password-stdin --data DIR")
		c.fails("user list --server https://HOST", 1, "slipway trust HOST")
		resp, err := http.Get(c.url + "/trust/ca.crt")
		if err != nil {
			t.Fatal(err)
		}
		ca, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %v", resp.Status, err)
		}
		dir := filepath.Join(os.Getenv("HOME"), folder, "certs.d", c.host)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "ca.crt"), ca, 0o600); err != nil {
			t.Fatal(err)
		}
		c.with("a good password\n").ok("user list --server https://HOST --login root --login-password-stdin")
	}
}

func TestServerURL(t *testing.T) {
	for s, want := range map[string]string{
		"registry.lan:5000": "https://registry.lan:5000", "127.0.0.1:5000": "http://127.0.0.1:5000", "localhost": "http://localhost", "[::1]:5000": "http://[::1]:5000",
		"https://127.0.0.1:5000": "https://127.0.0.1:5000", "http://registry.lan": "http://registry.lan", "10.0.0.1:5000": "https://10.0.0.1:5000",
		"": "", "://": "", "ftp://x": "", "https://anna:secret@registry.lan": "", "https://": "",
	} {
		u, err := serverURL(s)
		if (err != nil) != (want == "") || (err == nil && u.String() != want) {
			t.Errorf("%q: %v, %v, want %q", s, u, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: its error shows the password: %v", s, err)
		}
	}
}

func TestTimesOfPeople(t *testing.T) {
	zone := time.FixedZone("east", 3600)
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, zone)
	for s, want := range map[string][2]string{ // end, start
		"90d":                  {"2027-02-23T12:00:00+01:00", "2026-08-27T12:00:00+01:00"},
		"2w":                   {"2026-12-09T12:00:00+01:00", "2026-11-11T12:00:00+01:00"},
		"12h":                  {"2026-11-26T00:00:00+01:00", "2026-11-25T00:00:00+01:00"},
		"2026-12-31":           {"2027-01-01T00:00:00+01:00", "2026-12-31T00:00:00+01:00"},
		"2026-12-31T10:00:00Z": {"2026-12-31T10:00:00Z", "2026-12-31T10:00:00Z"},
		"soon":                 {}, "-1h": {}, "d": {}, "-3d": {}, "2026-13-01": {}, "99999999d": {},
	} {
		end, err := parseEnd(s, now)
		start, err2 := parseStart(s, now)
		if want[0] == "" {
			if err == nil || err2 == nil {
				t.Errorf("%q: %v and %v", s, end, start)
			}
			continue
		}
		if err != nil || err2 != nil || end.Format(time.RFC3339) != want[0] || start.Format(time.RFC3339) != want[1] {
			t.Errorf("%q: %v, %v and %v, %v, want %v", s, end, err, start, err2, want)
		}
	}
}
