//go:build linux

package buildcli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway/test/harness"
)

// TestBuild asks one server for one thing after the other.
func TestBuild(t *testing.T) {
	srv := start(t)
	data := srv.Data()
	build := func(t *testing.T, dir string, args ...string) result {
		t.Helper()
		return slipway(t, append([]string{"build", dir, "--data", data}, args...)...)
	}
	t.Run("exit codes", func(t *testing.T) { exitCodes(t, build) })
	t.Run("options", func(t *testing.T) { options(t, build) })
	t.Run("secrets", func(t *testing.T) { secrets(t, data) })
	t.Run("terminal", func(t *testing.T) { terminal(t, data) })

	t.Run("json", func(t *testing.T) {
		dir := folder(t, "json", files{"Dockerfile": "FROM busybox\nRUN true\n"})
		for _, want := range []string{"built", "reused"} {
			r := build(t, dir, "-o", "json").want(0)
			var o struct {
				State   string
				Project string
				Targets []struct{ Verdict string }
				Tags    []struct{ Repository, Tag, Digest string }
			}
			if err := json.Unmarshal([]byte(r.stdout), &o); err != nil {
				t.Fatalf("%v in %s", err, r.stdout)
			}
			if o.State != "passed" || o.Project != "json" || len(o.Targets) != 1 || o.Targets[0].Verdict != want || len(o.Tags) != 2 {
				t.Errorf("%+v, want a target that is %s, and two tags", o, want)
			}
			if d := srv.Digest("json", "latest"); d != o.Tags[0].Digest {
				t.Errorf("latest is %s, want %s", d, o.Tags[0].Digest)
			}
		}
		build(t, folder(t, "json", files{"Dockerfile": "FROM busybox\nRUN false\n"}), "-o", "json").want(4, `"failure": "build"`)
	})

	t.Run("logs", func(t *testing.T) {
		dir := folder(t, "logs", files{
			"docker-bake.hcl": `target "test" { target = "test" }
target "app" { target = "app" }
group "default" { targets = ["app"] }`,
			"Dockerfile": "FROM busybox AS app\nRUN true\nFROM app AS test\nCOPY junit.xml /junit.xml\nRUN echo tested\n",
			"junit.xml":  `<testsuite name="s" tests="2"><testcase name="a"/><testcase name="b"/></testsuite>`,
		})
		build(t, dir, "-t", "default", "-t", "test").want(0, `tests: 2, 0 failed`)
		slipway(t, "logs", "logs", "--data", data).want(0, `Run 1 of logs`, `tested`, `Finished: passed`)
		slipway(t, "logs", "logs/1", "--data", data, "--file", "reports/test/junit.xml").want(0, `<testsuite`)
		slipway(t, "logs", "logs", "--server", srv.URL(), "-o", "json").want(0, `"state": "passed"`, `reports/test/junit.xml`)
		slipway(t, "logs", "logs/9", "--data", data).want(1, `project logs has no run 9`)
		slipway(t, "logs", "logs/x", "--data", data).want(2, `PROJECT/NUMBER`)
		slipway(t, "logs", "logs", "--data", data, "--file", "nope").want(1, `has no file nope`)
		slipway(t, "logs", "nobody", "--data", data).want(1, `no run of a project nobody`)
	})

	t.Run("two at once", func(t *testing.T) {
		a := folder(t, "twice", files{"Dockerfile": "FROM busybox\nRUN sleep 0.5; echo one >/x\n"})
		b := folder(t, "twice", files{"Dockerfile": "FROM busybox\nRUN sleep 0.4; echo two >/x\n"})
		one := harness.Command{Args: []string{"build", a, "--data", data}}.Go(t)
		two := harness.Command{Args: []string{"build", b, "--data", data}}.Go(t)
		if one.Exit() != 0 || two.Exit() != 0 {
			t.Fatalf("%s\n%s", one.Stderr(), two.Stderr())
		}
		first, second := srv.Digest("twice", "1"), srv.Digest("twice", "2")
		if first == second || srv.Digest("twice", "latest") != second {
			t.Errorf("1 is %s, 2 is %s, latest is %s", first, second, srv.Digest("twice", "latest"))
		}
	})

	t.Run("numbered tags expire", func(t *testing.T) {
		dir := folder(t, "numbers", files{"Dockerfile": "FROM busybox\nRUN true\n", "slipway.yaml": "keep: 2\n"})
		for range 4 {
			build(t, dir).want(0)
		}
		tags := harness.Run(t, harness.Binary(t), "tags", srv.Host()+"/numbers")
		if got := strings.Join(strings.Fields(tags), " "); got != "3 4 latest" {
			t.Errorf("the tags are %q", got)
		}
	})

	t.Run("Ctrl-C", func(t *testing.T) {
		dir := folder(t, "interrupt", files{"Dockerfile": "FROM busybox\nRUN echo begun; sleep 1000050\n"})
		c := harness.Command{Args: []string{"build", dir, "--data", data}}.Go(t)
		harness.Until(t, "the step runs", time.Minute, func() error {
			if !strings.Contains(c.Stderr(), "| begun") {
				return fmt.Errorf("%s", c.Stderr())
			}
			return nil
		})
		c.Signal(syscall.SIGINT)
		if code := c.Exit(); code != 130 || !strings.Contains(c.Stderr(), "no tag was moved") {
			t.Errorf("exit code %d\n%s", code, c.Stderr())
		}
		if srv.PID() == 0 {
			t.Error("the server is gone")
		}
	})
}

func exitCodes(t *testing.T, build func(*testing.T, string, ...string) result) {
	plain := files{"Dockerfile": "FROM busybox\nRUN true\n"}
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		name  string
		files files
		args  []string
		code  int
		says  []string
	}{
		{"published", plain, nil, 0, []string{`codes:1 -> sha256:`, `codes:latest -> sha256:`}},
		{"unknown flag", plain, []string{"--nope"}, 2, []string{`unknown flag: --nope`, `--help`}},
		{"unknown setting", plain, []string{"--build.nope", "1"}, 2, []string{`unknown flag: --build.nope`}},
		{"wrong setting", plain, []string{"--build.compression", "xz"}, 2, []string{`use zstd or gzip`}},
		{"output", plain, []string{"-o", "yaml"}, 2, []string{`use text or json`}},
		{"progress", plain, []string{"--progress", "loud"}, 2, []string{`use auto, tty or plain`}},
		{"two folders", plain, []string{"."}, 2, []string{`at most 1 arg`}},
		{"secret without source", plain, []string{"--secret", "id=a"}, 2, []string{`id=ID,env=VARIABLE or id=ID,src=FILE`}},
		{"secret of no variable", plain, []string{"--secret", "id=a,env=SURELY_NOT_SET"}, 2, []string{`no environment variable SURELY_NOT_SET`}},
		{"secret of no file", plain, []string{"--secret", "id=a,src=" + missing}, 2, []string{`no such file`}},
		{"variable", plain, []string{"--var", "a"}, 2, []string{`NAME=VALUE`}},
		{"server and data", plain, []string{"--server", "127.0.0.1:1"}, 2, []string{`exclude each other`}},
		{"project name", plain, []string{"--project", "Not A Name"}, 5, []string{`project "Not A Name"`, `lower case`}},
		{"failed test", files{
			"docker-bake.hcl": "target \"test\" { target = \"test\" }\ntarget \"default\" { target = \"app\" }\n",
			"Dockerfile":      "FROM busybox AS app\nRUN true\nFROM app AS test\nRUN echo the sum is wrong; exit 7\n",
		}, []string{"-t", "default", "-t", "test"}, 3, []string{`the sum is wrong`, `Dockerfile:4`, `its tags stay: test test failed`, `!latest -> `}},
		{"failed build", files{"Dockerfile": "FROM busybox\nRUN echo on fire; exit 9\n"}, nil, 4, []string{`Dockerfile:2`, `on fire`, `exit code:? 9`, `!-> sha256`}},
		{"no project", files{"README": "nothing"}, nil, 5, []string{`Dockerfile`, `docker-bake`}},
		{"wrong bake file", files{"docker-bake.hcl": "target \"a\" {\n  dockerfile = \n}\n"}, nil, 5, []string{`docker-bake\.hcl:2`}},
		{"cycle", files{"docker-bake.hcl": "target \"a\" { contexts = { x = \"target:b\" } }\ntarget \"b\" { contexts = { x = \"target:a\" } }\ngroup \"default\" { targets = [\"a\"] }\n", "Dockerfile": "FROM busybox\n"}, nil, 5, []string{`docker-bake\.hcl:2`, `needs target a, which needs it in turn`}},
		{"no such target", plain, []string{"-t", "nope"}, 5, []string{`nope`}},
		{"force of no target", plain, []string{"--force=nope"}, 5, []string{`--force names target nope`, `it has default`}},
		{"wrong Dockerfile", files{"Dockerfile": "FROM busybox\nRUM true\n"}, nil, 5, []string{`Dockerfile:2`, `RUM`}},
		{"no such base", files{"Dockerfile": "FROM nobody/nothing:1\n"}, nil, 5, []string{`nobody/nothing:1`}},
		{"another registry's tag", files{"docker-bake.hcl": "target \"default\" { tags = [\"ghcr.io/a/b:1\"] }\n", "Dockerfile": "FROM busybox\n"}, nil, 5, []string{`ghcr\.io`, `rewrite-registries`}},
		{"missing secret", files{"docker-bake.hcl": "target \"default\" { secret = [\"id=npm\"] }\n", "Dockerfile": "FROM busybox\nRUN --mount=type=secret,id=npm true\n"}, nil, 5, []string{`--secret id=npm`}},
		{"missing file", files{"Dockerfile": "FROM busybox\nCOPY nope /\n"}, nil, 4, []string{`nope`, `Dockerfile:2`}},
		{"file that is not there", plain, []string{"-f", "nope.hcl"}, 5, []string{`nope\.hcl`}},
		{"context outside", files{"docker-bake.hcl": "target \"default\" { context = \"../..\" }\n", "Dockerfile": "FROM busybox\n"}, nil, 5, []string{`outside|leaves`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			build(t, folder(t, "codes", c.files), c.args...).want(c.code, c.says...)
		})
	}
	t.Run("no such folder", func(t *testing.T) {
		build(t, missing).want(2, `neither a folder nor a git URL`)
	})
	t.Run("no server there", func(t *testing.T) {
		slipway(t, "build", folder(t, "codes", plain), "--server", "127.0.0.1:1").want(1, `127\.0\.0\.1:1`, `connection refused`)
	})
}

func options(t *testing.T, build func(*testing.T, string, ...string) result) {
	dir := folder(t, "options", files{
		"docker-bake.hcl": `variable "GREETING" { default = "hello" }
group "default" { targets = ["app", "other"] }
target "base" { target = "base" }
target "app" {
  target = "app"
  contexts = { base = "target:base" }
  args = { GREETING = GREETING, VERSION = "1" }
  tags = ["options/app"]
}
target "other" {
  target = "other"
  tags = ["options/other"]
}
`,
		"other.hcl": `target "default" {
  dockerfile = "other.Dockerfile"
  tags = ["options/file"]
}`,
		"Dockerfile": `FROM busybox AS base
COPY base.txt /
FROM base AS app
ARG GREETING
ARG VERSION
COPY a.txt b.txt /
RUN echo "$GREETING from $VERSION"
FROM busybox AS other
RUN echo other
`,
		"other.Dockerfile": "FROM busybox\nRUN echo other file\n",
		"base.txt":         "base", "a.txt": "a", "b.txt": "b",
	})
	build(t, dir).want(0, `hello from 1`, `\[app\] verdict: build`, `\[other\] verdict: build`)
	build(t, dir).want(0, `\[app\] verdict: reused`, `\[other\] verdict: reused`, `!hello from 1`)
	change(t, dir, files{"a.txt": "A", "b.txt": "B"})
	build(t, dir, "--explain").want(0, `\[app\].*because .*a\.txt.*changed`, `\[app\].*because .*b\.txt`, `\[base\] verdict: reused`, `\[other\] verdict: reused`)
	build(t, dir, "--set", "app.args.VERSION=2").want(0, `hello from 2`, `\[app\].*because .*VERSION`)
	build(t, dir, "--var", "GREETING=good morning").want(0, `good morning from 1`, `\[app\].*because .*GREETING`)
	build(t, dir, "--target", "other").want(0, `\[other\] verdict: reused`, `!\[app\] verdict`)
	build(t, dir, "--force=base").want(0, `\[base\].*because forced`, `\[app\].*because target base was forced`, `\[other\] verdict: reused`)
	build(t, dir, "--force").want(0, `\[base\].*because forced`, `\[app\].*because forced`, `\[other\].*because forced`, `!\(cached\)`)
	build(t, dir, "--file", "other.hcl").want(0, `read other\.hcl`, `other file`, `options/file:`)
	build(t, dir, "--project", "renamed", "--file", "other.hcl").want(0, `Run 1 of renamed`)
}

const token = "s3cret-Token-0123456789"

// printing shows a secret whole, in base64, and in two parts with a pause between.
const printing = `FROM busybox
RUN --mount=type=secret,id=tok cat /run/secrets/tok; echo; base64 /run/secrets/tok; head -c 9 /run/secrets/tok; sleep 0.3; tail -c +10 /run/secrets/tok; echo; echo that was it
`

func secrets(t *testing.T, data string) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	bake := "target \"default\" { secret = [\"id=tok\"] }\n"
	for i, flag := range []string{"id=tok,env=TOKEN", "id=tok,src=" + file} {
		dir := folder(t, fmt.Sprintf("secrets%d", i), files{"docker-bake.hcl": bake, "Dockerfile": printing})
		hidden := []string{`that was it`, `!` + token, `!Token-0123456789`, `!s3cret-To`, `!czNjcmV0`}
		command(t, []string{"TOKEN=" + token}, "build", dir, "--data", data, "--secret", flag).want(0, hidden...)
		slipway(t, "logs", filepath.Base(dir), "--data", data).want(0, hidden...)
		// Its value is no input.
		command(t, []string{"TOKEN=another-secret-value"}, "build", dir, "--data", data, "--secret", "id=tok,env=TOKEN").want(0, `verdict: reused`)
	}
}

// terminal draws on one, by way of script(1).
func terminal(t *testing.T, data string) {
	script := harness.Tool(t, "script")
	for _, c := range []struct {
		name, step, progress string
		code                 int
		says                 []string
	}{
		{"passes", "echo drawn; echo " + "done", "auto", 0, []string{`Finished: passed`, `\x1b\[`}},
		{"fails", "echo drawn; exit 5", "tty", 4, []string{`Finished: failed`, `slipway: run 1 of .* failed`, `\x1b\[`}},
		{"is plain", "echo drawn", "plain", 0, []string{`\| drawn`, `!\x1b\[`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t, "terminal-"+strings.ReplaceAll(c.name, " ", "-"), files{"Dockerfile": "FROM busybox\nRUN " + c.step + "\n"})
			line := fmt.Sprintf("stty cols 100 rows 30; exec %s build %s --data %s --progress %s", harness.Binary(t), dir, data, c.progress)
			p := harness.Command{Path: script, Args: []string{"-qec", line, "/dev/null"}, Env: []string{"TERM=xterm", "SHELL=/bin/sh"}}.Go(t)
			r := result{t: t, code: p.Exit(), stdout: p.Stdout()}
			r.want(c.code, c.says...)
			// The cursor is left visible, and at the start of a line.
			if strings.Count(r.stdout, "\x1b[?25l") != strings.Count(r.stdout, "\x1b[?25h") || !strings.HasSuffix(r.stdout, "\n") {
				t.Errorf("the terminal is left as %q", r.stdout[max(0, len(r.stdout)-200):])
			}
		})
	}
	t.Run("hides secrets", func(t *testing.T) {
		dir := folder(t, "terminal-secret", files{"docker-bake.hcl": "target \"default\" { secret = [\"id=tok\"] }\n", "Dockerfile": printing})
		line := fmt.Sprintf("stty cols 100 rows 30; exec %s build %s --data %s --progress tty --secret id=tok,env=TOKEN", harness.Binary(t), dir, data)
		p := harness.Command{Path: script, Args: []string{"-qec", line, "/dev/null"}, Env: []string{"TERM=xterm", "SHELL=/bin/sh", "TOKEN=" + token}}.Go(t)
		r := result{t: t, code: p.Exit(), stdout: p.Stdout()}
		r.want(0, `Finished: passed`, `!`+token, `!Token-0123456789`, `!s3cret-To`, `!czNjcmV0`)
	})
}
