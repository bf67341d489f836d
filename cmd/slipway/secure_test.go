//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/spf13/cobra"

	"slipway/internal/auth"
	"slipway/internal/db"
	"slipway/internal/rest"
)

// pushImage pushes as a client without a login does, and returns the status
// that refused it.
func pushImage(t *testing.T, url, repository string) int {
	t.Helper()
	image, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(strings.TrimPrefix(url, "http://")+"/"+repository+":1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return refusedWith(t, remote.Write(ref, image))
}

func pullImage(t *testing.T, url, repository string) int {
	t.Helper()
	ref, err := name.ParseReference(strings.TrimPrefix(url, "http://")+"/"+repository+":1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	_, err = remote.Get(ref)
	return refusedWith(t, err)
}

func refusedWith(t *testing.T, err error) int {
	t.Helper()
	var refused *transport.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &refused):
		return refused.StatusCode
	}
	t.Fatal(err)
	return 0
}

func (c *commandLine) saying(line string, parts ...string) string {
	c.t.Helper()
	out := c.ok(line)
	for _, p := range parts {
		if !strings.Contains(out, p) {
			c.t.Errorf("slipway %s does not say %q:\n%s", line, p, out)
		}
	}
	return out
}

func decodeOutput(t *testing.T, out string, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), to); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
}

func TestSecureClosesAnOpenServer(t *testing.T) {
	data := t.TempDir()
	c := gcCommandLine(t, data)
	open := serveSettings{store: storeSettings{data: data}, anonymous: "push"}
	url, stop := serving(t, open)
	for _, repository := range []string{"team/x", "other/x", "third/x"} {
		if code := pushImage(t, url, repository); code != 0 {
			t.Fatalf("push to an open server: %d", code)
		}
	}

	const secure = "secure --data DIR --grace-network 127.0.0.0/8 --grace-repositories team/** --until 2d --keep-pull other/**"
	out := c.saying(secure+" --dry-run", "127.0.0.1", "anonymous", "other/x, team/x, third/x", "Pulls are not in the audit log", "lets everybody push and pull",
		"network:127.0.0.0/8 may pull,push in team/** until", "anyone may pull in other/**", "the user admin", "Nothing was changed")
	if strings.Contains(out, "password,") {
		t.Error("a dry run shows a password")
	}
	var users []rest.User
	var rules allRules
	decodeOutput(t, c.ok("user list --data DIR -o json"), &users)
	decodeOutput(t, c.ok("policy list --data DIR -o json"), &rules)
	if len(users)+len(rules.Rules) != 0 {
		t.Fatalf("a dry run made %v and %v", users, rules)
	}

	out = c.saying(secure, "--anonymous none in place of --anonymous push", "--http 127.0.0.0/8", "docker login", "slipway trust", "slipway audit --actor anonymous --action push")
	password := regexp.MustCompile(`shown this once: (\S+)`).FindStringSubmatch(out)
	if password == nil {
		t.Fatalf("no password in\n%s", out)
	}
	if again := c.saying(secure, "nothing: the rules", "admin is an administrator"); strings.Contains(again, "Added") || strings.Contains(again, password[1]) {
		t.Errorf("the second time it does\n%s", again)
	}
	if code := pushImage(t, url, "third/x"); code != 0 {
		t.Errorf("the server is closed before it was restarted: %d", code)
	}
	stop()

	closed := serveSettings{store: storeSettings{data: data}, anonymous: "none"}
	url, stop = serving(t, closed)
	for _, try := range []struct {
		what, repository string
		with             func(*testing.T, string, string) int
		want             int
	}{
		{"push", "team/x", pushImage, 0}, {"push", "team/new", pushImage, 0}, {"push", "other/x", pushImage, 401}, {"push", "third/x", pushImage, 401},
		{"pull", "team/x", pullImage, 0}, {"pull", "other/x", pullImage, 0}, {"pull", "third/x", pullImage, 401},
	} {
		if got := try.with(t, url, try.repository); got != try.want {
			t.Errorf("%s %s without a login: %d, want %d", try.what, try.repository, got, try.want)
		}
	}
	uses := func() bool {
		return strings.Contains(c.ok("audit --data DIR --actor anonymous --action push"), "anonymous allowed push in team/x from 127.0.0.1")
	}
	for end := time.Now().Add(20 * time.Second); !uses(); time.Sleep(50 * time.Millisecond) { // they are written within a second
		if time.Now().After(end) {
			t.Fatalf("the use of the rule is not in the audit log:\n%s", c.ok("audit --data DIR"))
		}
	}
	if use := c.ok("audit --data DIR --actor anonymous --action push"); !strings.Contains(use, "network:127.0.0.0/8 may pull,push in team/**") {
		t.Errorf("the audit log does not name the rule:\n%s", use)
	}
	r, err := http.NewRequest(http.MethodGet, url+"/api/v1/users", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("admin", password[1])
	if resp, err := http.DefaultClient.Do(r); err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the administrator: %v %v", resp, err)
	}
	stop()

	// The date passes.
	st, err := openStore(context.Background(), closed.store, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(st.db.Update(context.Background(), func(tx *db.Tx) error {
		n, err := tx.Exec(`UPDATE rules SET expires_at = ? WHERE subject LIKE 'network:%'`, tx.Now()-1)
		if n != 1 {
			t.Errorf("%d rules for networks", n)
		}
		return errors.Join(err, auth.Touch(tx))
	}), st.close(context.Background())); err != nil {
		t.Fatal(err)
	}
	url, _ = serving(t, closed)
	if code := pushImage(t, url, "team/x"); code != 401 {
		t.Errorf("after the date: %d", code)
	}
	if code := pullImage(t, url, "other/x"); code != 0 {
		t.Errorf("what stays open for pulling, after the date: %d", code)
	}
}

// On a loopback address the server is open until there are accounts: the rules
// have to hold before the administrator is made.
func TestSecureOfAServerThatIsOpenUntilAccounts(t *testing.T) {
	data := t.TempDir()
	c := gcCommandLine(t, data)
	url, _ := serving(t, serveSettings{store: storeSettings{data: data}})
	if code := pushImage(t, url, "team/x"); code != 0 {
		t.Fatal(code)
	}
	out := c.saying("secure --data DIR --grace-network 127.0.0.1 --grace-repositories team/** --until 2d", "do everything without a login", "asks for logins from now on")
	if strings.Contains(out, "Restart the server") {
		t.Errorf("a restart is asked for:\n%s", out)
	}
	if rule, user := strings.Index(out, "Added rule"), strings.Index(out, "Made the user"); rule < 0 || user < rule {
		t.Errorf("the user came before the rule:\n%s", out)
	}
	for repository, want := range map[string]int{"team/x": 0, "other/x": 401} {
		if code := pushImage(t, url, repository); code != want {
			t.Errorf("push to %s: %d, want %d", repository, code, want)
		}
	}
}

func TestSecureWithoutAServer(t *testing.T) {
	data := t.TempDir()
	c := gcCommandLine(t, data)
	_, stop := serving(t, serveSettings{store: storeSettings{data: data}, anonymous: "push"})
	stop()
	c.ok("user add root --group admins --data DIR")
	out := c.saying("secure --data DIR", "No server uses this folder", "root is an administrator", "nothing: the rules", "--anonymous none", "HOST:PORT")
	if strings.Contains(out, "Made the user") {
		t.Errorf("another administrator was made:\n%s", out)
	}
}

func TestSecureRefuses(t *testing.T) {
	data := t.TempDir()
	c := gcCommandLine(t, data)
	_, stop := serving(t, serveSettings{store: storeSettings{data: data}, anonymous: "push"})
	stop()
	for line, says := range map[string]string{
		"secure": "--data",
		"secure --data DIR --grace-network 10.0.0.0/8":                                              "--grace-repositories",
		"secure --data DIR --grace-network 10.0.0.0/8 --grace-repositories a/**":                    "--until",
		"secure --data DIR --grace-network ten --grace-repositories a/** --until 30d":               "10.1.0.0/16",
		"secure --data DIR --grace-network 10.0.0.0/8 --grace-repositories a/** --until 2020-01-01": "over",
		"secure --data DIR --grace-network 10.0.0.0/8 --grace-repositories a/** --until soon":       "2027-03-31",
		"secure --data DIR --until 2030-01-01":                                                      "--grace-network",
		"secure --data DIR --keep-pull A**b":                                                        "--keep-pull",
		"secure --data DIR --admin user:x":                                                          "--admin",
		"secure --data DIR --days 0":                                                                "--days",
	} {
		code, out, stderr := c.run(line)
		if code != exitUsage || out != "" || !strings.Contains(stderr, says) {
			t.Errorf("%s: exit code %d, %q %q, want %q", line, code, out, stderr, says)
		}
	}
	var users []rest.User
	if decodeOutput(t, c.ok("user list --data DIR -o json"), &users); len(users) != 0 {
		t.Errorf("a refused command made %v", users)
	}
}

func TestSecureAsks(t *testing.T) {
	seen := &observed{pushers: []*pusher{
		{actor: "anonymous", address: "10.0.0.7", repositories: map[string]bool{"team/a": true, "team/b": true, "tool": true}},
		{actor: "user:anna", address: "10.0.0.8", repositories: map[string]bool{"anna/a": true}},
	}}
	day := time.Now().AddDate(0, 0, graceDays).Format(time.DateOnly)
	for _, c := range []struct {
		answers                string
		networks, repos, keeps []string
		until, fails           string
	}{
		{answers: "\n\n\n\n", networks: []string{"10.0.0.7"}, repos: []string{"team/**", "tool"}, until: day},
		{answers: "10.0.0.0/8, 192.168.1.1\nteam/**\n5d\npublic/**,base\n", networks: []string{"10.0.0.0/8", "192.168.1.1"}, repos: []string{"team/**"}, keeps: []string{"public/**", "base"}, until: "5d"},
		{answers: "-\n\n"},
		{answers: "\n-\n\n"}, // nowhere to go on
		{answers: "\n\n-\n\n", fails: "--until"},
		{answers: "elsewhere\n\n\n\n", fails: "network"},
		{answers: "\n", fails: "nothing was changed"}, // hung up
	} {
		s := &closing{apiCommand: &apiCommand{cmd: &cobra.Command{}}, in: bufio.NewReader(strings.NewReader(c.answers)), admin: "admin"}
		s.cmd.SetErr(&strings.Builder{})
		err := s.ask(seen)
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%q: %v, want %q", c.answers, err, c.fails)
			}
			continue
		}
		if len(c.networks) == 0 {
			s.graceRepos = nil // of no use
		}
		if err != nil || !slices.Equal(s.networks, c.networks) || !slices.Equal(s.graceRepos, c.repos) || !slices.Equal(s.keepPull, c.keeps) || s.until != c.until {
			t.Errorf("%q: %v %v %q %v: %v", c.answers, s.networks, s.graceRepos, s.until, s.keepPull, err)
		}
	}
}
