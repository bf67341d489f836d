//go:build linux

package oidc

import (
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"slipway/internal/auth/oidc/oidctest"
	"slipway/test/harness"
)

const audience = "https://registry.test"

// site is a server that trusts an issuer, for jobs and for people.
type site struct {
	*harness.Server
	t      *testing.T
	issuer *oidctest.Issuer
	image  string // as docker save writes it
}

func start(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, issuer: oidctest.New(t)}
	addr, dir := harness.FreeAddr(t), t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := write("slipway.yaml", fmt.Sprintf(`external-url: https://%s
oidc:
  token-life: 48h
  issuers:
    - {name: hub, kind: workload, url: %[2]q, audience: %[3]q, ca: %[4]q}
    - name: keycloak
      kind: people
      url: %[2]q
      ca: %[4]q
      client-id: slipway
      client-secret-file: %[5]q
      groups-claim: groups
      admin-groups: [registry-admins]
`, addr, s.issuer.URL, audience, s.issuer.CA(), write("secret", oidctest.ClientSecret+"\n")))
	s.Server = harness.Start(t, harness.Options{Addr: addr, Args: []string{"--config", config}})
	s.slipway("policy", "add", "workload:issuer=hub,repository=org/app,ref=refs/heads/main", "pull,push", "org/app")
	s.slipway("policy", "add", "group:dev", "pull", "org/**")
	s.image = filepath.Join(dir, "image.tar")
	tag, err := name.NewTag("app:latest")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(s.image, tag, harness.RandomImage(t, 4096, 2)); err != nil {
		t.Fatal(err)
	}
	return s
}

// slipway runs a command as the administrator of the machine.
func (s *site) slipway(args ...string) string {
	s.t.Helper()
	c := harness.Command{Args: append(args, "--data", s.Data())}.Go(s.t)
	if code := c.Exit(); code != 0 {
		s.t.Fatalf("slipway %v: exit code %d\n%s%s", args, code, c.Stdout(), c.Stderr())
	}
	return c.Stdout()
}

// job is the token of a job of GitHub Actions, as its documentation has it.
func (s *site) job(change func(oidctest.Claims)) string {
	c := oidctest.Claims{
		"jti": "example-id", "sub": "repo:org/app:ref:refs/heads/main", "environment": "prod", "aud": audience, "ref": "refs/heads/main",
		"sha": "example-sha", "repository": "org/app", "repository_owner": "org", "actor_id": "12", "repository_visibility": "private", "repository_id": "74",
		"repository_owner_id": "65", "run_id": "example-run-id", "run_number": "10", "run_attempt": "2", "runner_environment": "github-hosted", "actor": "octocat",
		"workflow": "example-workflow", "head_ref": "", "base_ref": "", "event_name": "push", "ref_type": "branch",
		"job_workflow_ref": "org/automation/.github/workflows/oidc.yml@refs/heads/main",
	}
	if change != nil {
		change(c)
	}
	return s.issuer.Token(c)
}

func (s *site) skopeo(args ...string) (string, error) {
	return harness.Command{Path: harness.Tool(s.t, "skopeo"), Args: args}.Output()
}

func (s *site) push(user, password, repository string) error {
	_, err := s.skopeo("copy", "--dest-tls-verify=false", "--dest-creds", user+":"+password, "docker-archive:"+s.image, "docker://"+s.Host()+"/"+repository+":v1")
	return err
}

func TestAJobPushesWithoutASecret(t *testing.T) {
	s := start(t)
	if err := s.push("oidc", s.job(nil), "org/app"); err != nil {
		t.Fatal(err)
	}
	// As docker login does it: the token is stored, and shown again for each command.
	home := t.TempDir()
	crane := harness.Command{Path: harness.Tool(t, "crane"), Env: []string{"HOME=" + home, "DOCKER_CONFIG=" + home}}
	login := crane.With("auth", "login", s.Host(), "--username", "oidc", "--password-stdin")
	login.Stdin = []byte(s.job(nil))
	login.Run(t)
	podmans := harness.Command{Path: harness.Tool(t, "skopeo"), Stdin: login.Stdin}
	podmans.With("login", s.Host(), "--tls-verify=false", "--authfile", filepath.Join(home, "auth.json"), "--username", "oidc", "--password-stdin").Run(t)
	crane.With("push", s.image, s.Host()+"/org/app:v2").Run(t)
	if got := crane.With("ls", s.Host()+"/org/app").Run(t); got != "v1\nv2" {
		t.Errorf("tags: %q", got)
	}
	if out, err := crane.With("push", s.image, s.Host()+"/org/other:v1").Output(); err == nil || !strings.Contains(err.Error(), "403 Forbidden") {
		t.Errorf("a repository of another: %s, %v", out, err)
	}
	for what, raw := range map[string]string{
		"another branch":   s.job(func(c oidctest.Claims) { c["ref"] = "refs/heads/fork" }),
		"another project":  s.job(func(c oidctest.Claims) { c["repository"] = "evil/app" }),
		"another audience": s.job(func(c oidctest.Claims) { c["aud"] = "https://elsewhere.test" }),
		"an old token":     s.job(func(c oidctest.Claims) { c["exp"] = time.Now().Add(-time.Minute).Unix() }),
		"a person's token": s.job(func(c oidctest.Claims) { c["aud"] = oidctest.ClientID }),
	} {
		if err := s.push("oidc", raw, "org/app"); err == nil {
			t.Errorf("%s can push", what)
		}
	}
	made := s.slipway("audit", "--actor", "workload:hub/repo:org/app:ref:refs/heads/main", "--repository", "org/app")
	if !strings.Contains(made, "v1") || !strings.Contains(made, "v2") {
		t.Errorf("what the job did: %s", made)
	}
	// Slipway's own commands, and its API, take it as any other token.
	own := harness.Command{Path: harness.Binary(t), Args: []string{"policy", "check", "workload:hub/repo:org/app:ref:refs/heads/main", "pull", "org/app"}, Env: []string{"HOME=" + home, "SLIPWAY_SERVER=" + s.URL(), "SLIPWAY_TOKEN=" + s.job(nil)}}
	if out, err := own.Output(); err != nil || !strings.Contains(out, "allowed: rule 1") {
		t.Errorf("%s, %v", out, err)
	}
	deadline := time.Now().Add(10 * time.Second) // refusals are written in batches
	for {
		log := s.slipway("audit")
		if strings.Contains(log, "no rule allows workload:hub/") && strings.Contains(log, "login") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("refusals are not in the audit log: %s", log)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

var personalToken = regexp.MustCompile(`slipway_pat_[a-z2-7]{59}`)

// browser is one that trusts the server and the issuer.
func (s *site) browser() *http.Client {
	s.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(s.issuer.Certificate())
	ca, err := http.Get(s.URL() + "/trust/ca.crt")
	if err != nil {
		s.t.Fatal(err)
	}
	defer ca.Body.Close()
	if pem, err := io.ReadAll(ca.Body); err != nil || !pool.AppendCertsFromPEM(pem) {
		s.t.Fatalf("the server's authority: %s, %v", pem, err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = s.issuer.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	transport.TLSClientConfig.RootCAs = pool
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: transport}
}

func TestAPersonLogsInAndPulls(t *testing.T) {
	s := start(t)
	if err := s.push("oidc", s.job(nil), "org/app"); err != nil {
		t.Fatal(err)
	}
	s.issuer.SetPerson(oidctest.Claims{"sub": "f81d4fae", "preferred_username": "anna", "groups": []string{"dev"}})
	// By the plain address, which leads to the public one.
	resp, err := s.browser().Get(s.URL() + "/oidc/keycloak/login")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	token := personalToken.FindString(string(body))
	if err != nil || token == "" || resp.Request.URL.Scheme != "https" || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "style-src 'sha256-") {
		t.Fatalf("%s %v: %s, %v", resp.Status, resp.Header, body, err)
	}
	if out, err := s.skopeo("inspect", "--tls-verify=false", "--creds", "anna:"+token, "docker://"+s.Host()+"/org/app:v1"); err != nil || !strings.Contains(out, "Digest") {
		t.Errorf("%s, %v", out, err)
	}
	if err := s.push("anna", token, "org/app"); err == nil {
		t.Error("who may pull pushes")
	}
	// Nothing that anna can make outlasts what the issuer said of her.
	as := func(args ...string) (string, error) {
		return harness.Command{Path: harness.Binary(t), Args: args, Env: []string{"HOME=" + t.TempDir(), "SLIPWAY_SERVER=" + s.URL(), "SLIPWAY_TOKEN=" + token}}.Output()
	}
	if out, err := as("token", "create", "--name", "laptop", "--expires", "24h"); err != nil || personalToken.FindString(out) == "" {
		t.Errorf("a token of her own: %s, %v", out, err)
	}
	for _, args := range [][]string{{"token", "create", "--name", "for ever"}, {"token", "create", "--name", "long", "--expires", "90d"}} {
		if out, err := as(args...); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
	// An administrator makes her none either.
	c := harness.Command{Args: []string{"token", "create", "--user", "anna", "--name", "long", "--expires", "90d", "--data", s.Data()}}.Go(t)
	if code := c.Exit(); code == 0 || !strings.Contains(c.Stderr(), "log in there again") {
		t.Errorf("exit code %d: %s%s", code, c.Stdout(), c.Stderr())
	}
	s.slipway("user", "disable", "anna")
	if out, err := s.skopeo("inspect", "--tls-verify=false", "--creds", "anna:"+token, "docker://"+s.Host()+"/org/app:v1"); err == nil {
		t.Errorf("after she was disabled: %s", out)
	}
	if resp, err := s.browser().Get("https://" + s.Host() + "/oidc/keycloak/login"); err != nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a login of who is disabled: %v, %v", resp, err)
	}
}
