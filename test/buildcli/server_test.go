//go:build linux

package buildcli

import (
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"slipway/test/harness"
)

// TestWithoutServer: the command opens the data folder itself, and leaves it as a
// server that starts later, and that it does not disturb, finds it.
func TestWithoutServer(t *testing.T) {
	srv := start(t)
	srv.Stop()
	dir := folder(t, "alone", files{"Dockerfile": "FROM busybox\nRUN true\n"})
	build := func() result { return slipway(t, "build", dir, "--data", srv.Data(), "--mirror.offline") }
	build().want(0, `verdict: build`)
	build().want(0, `verdict: reused`)
	slipway(t, "logs", "alone", "--data", srv.Data()).want(0, `Run 2 of alone`)
	srv.Restart()
	first := srv.Digest("alone", "latest")
	pid := srv.PID()
	build().want(0, `verdict: reused`, `Run 3 of alone`)
	if srv.PID() != pid || srv.Digest("alone", "3") != first {
		t.Error("the server was disturbed")
	}
	slipway(t, "build", dir, "--data", filepath.Join(t.TempDir(), "new"), "--mirror.offline").want(5, `image busybox`, `import`)
}

// TestRemoteFolder: the folder is sent, and arrives as it is.
func TestRemoteFolder(t *testing.T) {
	srv := start(t, "--build.max-context", "1MiB")
	git := harness.Tool(t, "git")
	dir := folder(t, "Remote.Folder", files{
		"docker-bake.hcl": `variable "GIT_SHA" { default = "none" }
target "default" {
  args = { GIT_SHA = GIT_SHA }
  tags = ["remote/folder"]
}`,
		"Dockerfile": `FROM busybox
ARG GIT_SHA
COPY . /src
RUN cd /src; echo "sha $GIT_SHA"; stat -c '%A %n' run.sh plain; readlink link; ls -d empty; [ ! -e .git ] && echo no git
`,
		"run.sh": "#!/bin/sh\n", "plain": "plain", "link": "-> plain", "empty/": "",
	})
	if err := os.Chmod(filepath.Join(dir, "run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	sha := repository(t, git, dir)
	slipway(t, "build", dir, "--server", srv.URL()).want(0, `Run 1 of remote-folder|Run 1 of remote\.folder`,
		`sha `+sha, `-rwxr-xr-x.* run\.sh`, `-rw-r--r--.* plain`, `\| plain$`, `\| empty$`, `\| no git`, `remote/folder:`)
	slipway(t, "build", dir, "--server", srv.Host()).want(0, `verdict: reused`)

	change(t, dir, files{"big": strings.Repeat("0123456789abcdef", 1<<17)})
	slipway(t, "build", dir, "--server", srv.URL()).want(5, `larger than the server accepts`, `build\.max-context`)
	slipway(t, "build", dir, "--server", srv.URL(), "--ssh", "default").want(2, `--ssh works on this machine only`)
}

// repository makes a folder a git checkout, and returns its commit.
func repository(t *testing.T, git, dir string) string {
	t.Helper()
	run := func(args ...string) string {
		return harness.Command{Path: git, Dir: dir, Args: args, Env: append(os.Environ(),
			"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@localhost", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@localhost")}.Run(t)
	}
	run("init", "-q", "-b", "main")
	run("add", "-A")
	run("commit", "-q", "-m", "first")
	return run("rev-parse", "HEAD")
}

// TestRemoteGit: a server fetches a URL, at a ref and in a folder of it.
func TestRemoteGit(t *testing.T) {
	git := harness.Tool(t, "git")
	exec, err := exec.Command(git, "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	work := filepath.Join(parent, "tool")
	change(t, work, files{"Dockerfile": "FROM busybox\nRUN echo the top\n", "sub/Dockerfile": "FROM busybox\nCOPY file /\nRUN echo the folder\n", "sub/file": "x"})
	repository(t, git, work)
	harness.Run(t, git, "-C", work, "branch", "stable")
	change(t, work, files{"Dockerfile": "FROM busybox\nRUN echo the newest\n"})
	harness.Run(t, git, "-C", work, "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-qam", "second")
	host := httptest.NewServer(&cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(exec)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + parent, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	})
	t.Cleanup(host.Close)
	url := host.URL + "/tool/.git"

	srv := start(t, "--build.private-addresses")
	for ref, says := range map[string]string{"": "the newest", "#main": "the newest", "#stable": "the top", "#stable:sub": "the folder", "#:sub": "the folder"} {
		t.Run("ref "+ref, func(t *testing.T) {
			slipway(t, "build", url+ref, "--project", "tool", "--data", srv.Data(), "--force").want(0, `\| `+says)
			slipway(t, "build", url+ref, "--project", "tool", "--server", srv.URL()).want(0, `verdict: reused`)
		})
	}
	slipway(t, "build", url+"#nope", "--server", srv.URL()).want(5, `nope`)
	slipway(t, "build", url+"#main:nope", "--server", srv.URL()).want(5, `nope`)
	slipway(t, "build", host.URL+"/nothing.git", "--server", srv.URL()).want(5, `nothing\.git`)
	slipway(t, "build", "file://"+work, "--server", srv.URL()).want(5, `file`)

	closed := start(t)
	slipway(t, "build", url, "--server", closed.URL()).want(5, `private`, `build\.private-addresses`)
}

// TestServerWithoutBuilder: it serves, and says at a build what is missing.
func TestServerWithoutBuilder(t *testing.T) {
	harness.NeedBuilder(t)
	alone := filepath.Join(t.TempDir(), "slipway")
	program, err := os.ReadFile(harness.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(alone, program, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := folder(t, "p", files{"Dockerfile": "FROM busybox\nRUN true\n"})
	for _, c := range []struct {
		name string
		o    harness.Options
		says []string
	}{
		{"nothing beside it", harness.Options{Path: alone, Env: []string{"PATH=/usr/bin:/bin"}}, []string{`no builder`, `buildkitd`, `slipway-runc`, `make build`}},
		{"none", harness.Options{Args: []string{"--build.builder", "none"}}, []string{`no builder`, `build\.builder is none`}},
		{"one that does not answer", harness.Options{Args: []string{"--build.builder", "unix:///nonexistent/buildkitd.sock"}}, []string{`no builder`, `nonexistent`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Args = append(c.o.Args, "--mirror.offline", "--log.access=false")
			srv := harness.Start(t, c.o)
			harness.ImportBase(t, srv.Host())
			slipway(t, "build", dir, "--data", srv.Data()).want(6, c.says...)
			harness.Push(t, harness.RandomImage(t, 1000, 1), srv.Host()+"/app:1")
			slipway(t, "logs", "p", "--data", srv.Data()).want(0, `no builder`)
		})
	}
}

// TestServerWithFullDisk: below the floor nothing is built, and pushes go on.
func TestServerWithFullDisk(t *testing.T) {
	srv := start(t, "--build.reserve", "100000GiB")
	dir := folder(t, "p", files{"Dockerfile": "FROM busybox\nRUN true\n"})
	slipway(t, "build", dir, "--data", srv.Data()).want(6, `build\.reserve`, `free`)
	harness.Push(t, harness.RandomImage(t, 1000, 1), srv.Host()+"/app:1")
}

// TestServerOfANetwork: whoever may push may not build, since a build runs
// programs on the server.
func TestServerOfANetwork(t *testing.T) {
	harness.NeedBuilder(t)
	addr := harness.FreeAddr(t)
	_, port, _ := strings.Cut(addr, ":")
	srv := harness.Start(t, harness.Options{Addr: addr, Args: []string{"--listen", "0.0.0.0:" + port, "--http", "allow", "--anonymous", "push"}})
	dir := folder(t, "p", files{"Dockerfile": "FROM busybox\nRUN true\n"})
	slipway(t, "build", dir, "--server", srv.URL()).want(1, `you may not build in repository p: no rule allows anonymous to`, `slipway policy add`)
	resp, err := http.Post(srv.URL()+"/api/v1/builds", "multipart/form-data; boundary=x", strings.NewReader("--x--\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("status %s, want 403", resp.Status)
	}
}

// TestServerSettings: what is wrong in them stops the server at its start.
func TestServerSettings(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		env  string
		file string
		says string
	}{
		{name: "unknown flag", args: []string{"--build.nope=1"}, says: `unknown flag: --build.nope`},
		{name: "unknown variable", env: "SLIPWAY_BUILD_NOPE=1", says: `SLIPWAY_BUILD_NOPE`},
		{name: "unknown key", file: "build.nope: 1\n", says: `build\.nope`},
		{name: "wrong value", args: []string{"--build.reserve=lots"}, says: `build\.reserve`},
		{name: "none beside others", args: []string{"--build.builder=none,own"}, says: `none beside others`},
		{name: "parallel", args: []string{"--build.parallel=0"}, says: `at least 1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"serve", "--data", t.TempDir(), "--listen", harness.FreeAddr(t)}, c.args...)
			if c.file != "" {
				path := filepath.Join(t.TempDir(), "slipway.yaml")
				if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--config", path)
			}
			var env []string
			if c.env != "" {
				env = []string{c.env}
			}
			command(t, env, args...).want(2, c.says)
		})
	}
}
