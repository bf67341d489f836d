//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"context"

	"slipway/internal/rest"
)

// accessLine runs commands against a server where nobody may do anything
// without a login. In lines, URL stands for its address, and DIR for its data
// folder.
type accessLine struct {
	*commandLine
	url  string
	stop func()
}

func newAccessLine(t *testing.T) *accessLine {
	t.Helper()
	dir, home := t.TempDir(), t.TempDir()
	for _, name := range []string{"SLIPWAY_SERVER", "SLIPWAY_DATA", tokenVariable, "REGISTRY_AUTH_FILE", "DOCKER_AUTH_CONFIG"} {
		t.Setenv(name, "")
	}
	for _, name := range []string{"HOME", "DOCKER_CONFIG", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"} {
		t.Setenv(name, home)
	}
	url, stop := serving(t, serveSettings{anonymous: "none", store: storeSettings{data: dir}})
	return &accessLine{&commandLine{t: t, host: strings.TrimPrefix(url, "http://"), dir: dir}, url, stop}
}

// with gives what is typed into the next command.
func (c *accessLine) with(input string) *accessLine {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "input")
	if err := os.WriteFile(file, []byte(input), 0o600); err != nil {
		c.t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		c.t.Fatal(err)
	}
	was := os.Stdin
	os.Stdin = f
	c.t.Cleanup(func() { os.Stdin = was; f.Close() })
	return c
}

// fails runs a command that must not succeed and must say why.
func (c *accessLine) fails(line string, want int, says string) {
	c.t.Helper()
	code, _, stderr := c.run(line)
	if code != want || !strings.Contains(stderr, says) {
		c.t.Errorf("slipway %s: exit code %d, %q, want %d with %q", line, code, stderr, want, says)
	}
}

// administrator makes user root, and has commands run as that user.
func (c *accessLine) administrator() {
	c.t.Helper()
	c.ok("user add root --group admins --data DIR")
	c.t.Setenv(tokenVariable, strings.TrimSpace(c.ok("token create --user root --name test --data DIR")))
}

// Each way to reach the server does the same.
func TestAccessCommands(t *testing.T) {
	for way, actor := range map[string]string{"--server HOST": "user:root", "--data DIR": "local administrator", "--data DIR without a server": "local administrator"} {
		t.Run(way, func(t *testing.T) {
			c := newAccessLine(t)
			c.administrator()
			if strings.HasSuffix(way, "without a server") {
				c.stop()
			}
			flags := " " + strings.TrimSuffix(way, " without a server")
			for _, step := range []struct {
				line   string
				code   int
				out    string // a regular expression for all of standard output
				stderr string // part of standard error
			}{
				{"user add anna --group dev", 0, `[a-z2-9]{24}\n`, "shown this once"},
				{"user add Anna", 1, ``, "anna already"},
				{"user list", 0, `NAME +GROUPS +STATE +LAST LOGIN\nanna +dev +enabled +never\nroot +admins +enabled +.*\n`, ""},
				{"user disable anna", 0, `anna\n`, ""},
				{"user passwd anna", 0, `[a-z2-9]{24}\n`, "anna is disabled"},
				{"user list", 0, `(?s).*anna +dev +disabled.*`, ""},
				{"user enable anna", 0, `anna\n`, ""},
				{"user groups anna dev ops", 0, `anna: dev, ops\n`, ""},
				{"user groups anna", 0, `anna: -\n`, ""},
				{"user groups anna dev", 0, `anna: dev\n`, ""},
				{"user disable root", 1, ``, "last enabled user in group admins"},
				{"user rm root", 1, ``, "last enabled user in group admins"},
				{"robot add ci --description runner", 0, `ci\n`, ""},
				{"robot disable ci", 0, `ci\n`, ""},
				{"robot list", 0, `NAME +STATE +LAST USE +DESCRIPTION\nci +disabled +never +runner\n`, ""},
				{"robot enable ci", 0, `ci\n`, ""},
				{"token create --robot ci --name runner --scope push,pull:team/** --expires 90d", 0, `slipway_robot_[a-z2-7]{59}\n`, "for pull,push:team/**"},
				{"token create --robot ci --name runner", 1, ``, "revoke it first"},
				{"token list --robot ci", 0, `ID +NAME .*\n2 +runner +robot:ci +pull,push:team/\*\* +valid +\d.* +never\n`, ""},
				{"token revoke 2", 0, ``, ""},
				{"token list --robot ci", 0, `(?s).* revoked .*`, ""},
				{"policy add group:dev pull,push team/** --note why", 0, `rule 1: group:dev may pull,push in team/\*\*\n`, ""},
				{"policy add user:anna * own/**", 0, `rule 2: user:anna may pull,push,delete,build,admin in own/\*\*\n`, ""},
				{"policy add network:10.0.0.0/8 push old/**", 1, ``, "must have an end"},
				{"policy check user:anna push team/app", 0, `allowed: rule 1: group:dev may pull,push in team/\*\*\n`, ""},
				{"policy check user:anna delete team/app", 1, `denied: no rule .*\n`, "user:anna may not delete in team/app"},
				{"policy check group:dev pull team/app", 0, `allowed: .*\n`, ""},
				{"policy check user:root admin", 0, `allowed: .*admins\n`, ""},
				{"policy protect team/** v* --mover robot:ci", 0, `(?s).*1 +protected +team/\*\* +v\* +administrators, robot:ci.*`, ""},
				{"policy immutable team/** r*", 0, `(?s).*2 +immutable +team/\*\* +r\* +nobody.*`, ""},
				{"policy list", 0, `(?s)ID .*\n1 +group:dev +pull,push +team/\*\* +never +why\n2 .*\n\nTAG RULE.*\n1 .*\n2 .*\n`, ""},
				{"policy rm 1", 0, ``, ""},
				{"policy rm 1", 1, ``, "rule 1: there is no such rule"},
				{"policy unprotect 1 2", 0, ``, ""},
				{"user rm anna", 0, ``, "policy rm 2"},
				{"user rm anna", 1, ``, `no user "anna"`},
				{"robot rm ci", 0, ``, ""},
			} {
				code, stdout, stderr := c.run(step.line + flags)
				if code != step.code || !regexp.MustCompile(`^`+step.out+`$`).MatchString(stdout) || !strings.Contains(stderr, step.stderr) {
					t.Errorf("slipway %s: exit code %d\n%s%s", step.line, code, stdout, stderr)
				}
			}
			var actions []string
			for line := range strings.Lines(c.ok("audit -o json -n 0" + flags)) {
				var e rest.AuditEntry
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					t.Fatalf("%v in %s", err, line)
				}
				if e.Actor == actor && e.Outcome == rest.AuditEntryOutcomeAllowed {
					actions = append(actions, e.Action)
				}
			}
			want := strings.Fields("user.create user.disable user.password user.enable user.groups user.groups user.groups robot.create robot.disable robot.enable " +
				"token.create token.revoke rule.add rule.add tag-rule.add tag-rule.add rule.remove tag-rule.remove tag-rule.remove user.delete robot.delete")
			if actor == "local administrator" {
				want = append([]string{"user.create", "token.create"}, want...)
			}
			if !slices.Equal(actions, want) {
				t.Errorf("the audit log has of %s %v, want %v", actor, actions, want)
			}
			if got := c.ok("audit --action rule.remove" + flags); !strings.Contains(got, actor+" allowed rule.remove in team/** rule 1") {
				t.Errorf("audit printed %q", got)
			}
		})
	}
}

// Who has lost every password comes back by the data folder, while the server
// runs and while it does not.
func TestLostAdministrator(t *testing.T) {
	c := newAccessLine(t)
	c.ok("user add admin --group admins --data DIR")
	running := c.ok("user passwd admin --data DIR")
	if got := c.with(running).ok("user list --server HOST --login admin --login-password-stdin"); !strings.Contains(got, "admin") {
		t.Errorf("user list printed %q", got)
	}
	c.stop()
	stopped := c.ok("user passwd admin --data DIR")
	url, _ := serving(t, serveSettings{anonymous: "none", store: storeSettings{data: c.dir}})
	c.host = strings.TrimPrefix(url, "http://")
	c.with(stopped).ok("user list --server HOST --login admin --login-password-stdin")
	c.with(running).fails("user list --server HOST --login admin --login-password-stdin", 1, "the user name or the password is wrong")
}

// Everybody has a password and tokens of their own.
func TestOwnPasswordAndTokens(t *testing.T) {
	c := newAccessLine(t)
	password := c.with("first password\n").ok("user add anna --password-stdin --data DIR")
	if password != "anna\n" {
		t.Errorf("a password that was given is printed: %q", password)
	}
	c.fails("user list --server HOST", 1, "slipway login HOST")
	as := " --server HOST --login anna --login-password-stdin"
	c.with("first password\nsecond password\n").ok("user passwd anna --password-stdin" + as)
	c.with("first password\n").fails("token list"+as, 1, "wrong")
	token := strings.TrimSpace(c.with("second password\n").ok("token create --name laptop" + as))
	c.with("second password\n").fails("user list"+as, 1, "you may not administer")
	c.with("second password\n").fails("token list --user root"+as, 1, "you may not administer")

	t.Setenv(tokenVariable, token)
	if got := c.ok("token list --server HOST"); !strings.Contains(got, "laptop") || !strings.Contains(got, "user:anna") {
		t.Errorf("token list printed %q", got)
	}
	c.fails("policy check user:anna push team/app --server HOST", 1, "may not push")
	narrow := strings.TrimSpace(c.ok("token create --name narrow --scope pull:team/** --server HOST"))
	t.Setenv(tokenVariable, narrow)
	c.fails("token create --name wide --server HOST", 1, "scopes of the token")
	c.fails("user passwd anna --server HOST", 1, "scopes of the token")
	c.ok("token revoke 2 --server HOST") // the one in hand
	c.fails("token list --server HOST", 1, "the token is not valid")
}

func TestAuditFollow(t *testing.T) {
	c := newAccessLine(t)
	c.administrator()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	read, write := io.Pipe()
	cmd := newRootCommand()
	cmd.SetOut(write)
	cmd.SetArgs([]string{"audit", "--follow", "-n", "1", "-o", "json", "--server", c.url})
	ended := make(chan error, 1)
	go func() {
		err := cmd.ExecuteContext(ctx)
		write.CloseWithError(err)
		ended <- err
	}()
	lines := bufio.NewReader(read)
	next := func() (e rest.AuditEntry) {
		t.Helper()
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	if e := next(); e.Action != "token.create" {
		t.Errorf("the last entry is %+v", e)
	}
	for _, name := range []string{"one", "two"} {
		if _, err := ask[rest.Robot](socketEndpoint(c.dir), "add", func(r *rest.Client) (*http.Response, error) {
			return r.CreateRobot(t.Context(), rest.NewRobot{Name: name})
		}); err != nil {
			t.Fatal(err)
		}
		if e := next(); e.Action != "robot.create" || *e.Subject != "robot:"+name {
			t.Errorf("after robot %s came %+v", name, e)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	c.stop()
	c.fails("audit --follow --data DIR", 1, "no server uses this data folder")
}

func TestAccessCommandMistakes(t *testing.T) {
	c := newAccessLine(t)
	for _, m := range []struct {
		line, says string
		code       int
	}{
		{"user", "", 0},
		{"user add", "accepts 1 arg", exitUsage},
		{"user ad x", "did you mean add", exitUsage},
		{"user list", "--server URL", exitUsage},
		{"user list --server HOST --data DIR", "exclude each other", exitUsage},
		{"user list --data DIR --login anna", "needs no login", exitUsage},
		{"user list --server ftp://HOST", "https://registry.lan:5000", exitUsage},
		{"user list --data DIR -o xml", "text or json", exitUsage},
		{"user list --server HOST --login anna", "nobody is there to type", exitUsage},
		{"user list --data DIR/nothing", "is not a data folder", exitFailure},
		{"user passwd nobody --data DIR", `no user "nobody"`, exitFailure},
		{"token create --data DIR", "--name NAME", exitUsage},
		{"token create --name x --data DIR", "user:NAME or robot:NAME", exitFailure},
		{"token create --name x --robot ci --user anna --data DIR", "exclude each other", exitUsage},
		{"token create --name x --robot ci --expires soon --data DIR", "2027-03-31", exitUsage},
		{"token revoke x --data DIR", "not an id", exitUsage},
		{"policy add user:anna fly team/** --data DIR", "pull, push", exitUsage},
		{"policy add anna pull team/** --data DIR", "user:NAME", exitFailure},
		{"policy check user:anna --data DIR", "between 2 and 3", exitUsage},
		{"policy check user:anna fly --data DIR", "fly", exitFailure},
		{"audit --since soon --data DIR", "2027-03-31", exitUsage},
		{"audit -n -1 --data DIR", "negative", exitUsage},
	} {
		c.with("")
		c.fails(m.line, m.code, m.says)
	}
}

// The last words about a new account are said when they matter.
func TestFirstAccountCloses(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(tokenVariable, "")
	t.Setenv("HOME", t.TempDir())
	url, _ := serving(t, serveSettings{store: storeSettings{data: dir}})
	c := gcCommandLine(t, dir)
	c.ok("user list --server " + url)
	if _, _, stderr := c.run("user add anna --server " + url); !strings.Contains(stderr, "nobody is its administrator") {
		t.Errorf("said %q", stderr)
	}
	if code, _, stderr := c.run("user list --server " + url); code == 0 || !strings.Contains(stderr, "slipway login") {
		t.Errorf("with an account, without a login: %d %q", code, stderr)
	}
	if _, _, stderr := c.run("user add root --group admins --data DIR"); strings.Contains(stderr, "nobody is its administrator") {
		t.Errorf("said %q", stderr)
	}
}

// A login goes to the server that it is for, and not to where that sends us.
func TestLoginStaysWithItsHost(t *testing.T) {
	var got []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = append(got, r.Header.Get("Authorization")) }))
	defer other.Close()
	var here string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		here = r.Header.Get("Authorization")
		http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1)+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer s.Close()
	t.Setenv(tokenVariable, "secret")
	t.Setenv("HOME", t.TempDir())
	c := gcCommandLine(t, t.TempDir())
	if code, _, stderr := c.run("user list --server " + s.URL); code == 0 || strings.Contains(stderr, "secret") {
		t.Errorf("%d %q", code, stderr)
	}
	if here == "" || len(got) != 1 || got[0] != "" {
		t.Errorf("the server got %q, and where it redirects to %q", here, got)
	}
}
