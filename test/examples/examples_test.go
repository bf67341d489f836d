//go:build linux

package examples

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway/test/harness"
)

// limit is how long one build may take: cool-app's base image compiles some
// hundred packages.
const limit = 12 * time.Minute

// outcome is the part of `slipway build -o json` that is looked at.
type outcome struct {
	State   string
	Error   string
	Targets []struct{ Target, Verdict, Manifest string }
	Tags    []struct{ Repository, Tag, Digest string }
}

func TestExamples(t *testing.T) {
	if os.Geteuid() != 0 {
		harness.Missing(t, "root, which building needs")
	}
	for _, name := range []string{"runc", "iptables", "git", "mmdebstrap"} {
		harness.Tool(t, name)
	}
	srv := start(t)

	for _, test := range []struct {
		dir     string
		targets []string
		reports []string // of the target test
	}{
		{"cool-app", []string{"app", "base", "test"}, []string{"junit.xml", "coverage.out"}},
		{"greeter-py", []string{"app", "base", "test"}, []string{"junit.xml"}},
	} {
		t.Run(test.dir, func(t *testing.T) {
			first := build(t, srv, test.dir)
			wantVerdicts(t, first, test.targets, map[string]string{"app": "built", "base": "built", "test": "passed"})
			for repo, target := range map[string]string{test.dir: "app", test.dir + "-base": "base"} {
				for _, tag := range []string{"1", "latest"} {
					if got, want := srv.Digest(repo, tag), published(first, repo, tag); got != want {
						t.Errorf("%s:%s, built as %s, is %s, want %s", repo, tag, target, got, want)
					}
				}
			}
			run := harness.Run(t, harness.Binary(t), "logs", test.dir+"/1", "--data", srv.Data(), "-o", "json")
			for _, report := range test.reports {
				if !strings.Contains(run, "/"+report) {
					t.Errorf("the run lists no report %s: %s", report, run)
				}
			}

			second := build(t, srv, test.dir)
			wantVerdicts(t, second, test.targets, map[string]string{"app": "reused", "base": "reused", "test": "reused"})
			if got, want := srv.Digest(test.dir, "2"), srv.Digest(test.dir, "1"); got != want {
				t.Errorf("%s:2 is %s though nothing changed since 1, %s", test.dir, got, want)
			}
		})
	}
}

// start runs a server that builds and has the examples' base images.
func start(t *testing.T) *harness.Server {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	command(t, filepath.Join(root, "hack/buildkitd.sh"), ".build")
	o := harness.Options{Env: []string{"PATH=" + filepath.Join(root, ".build") + ":" + os.Getenv("PATH")}}
	// A machine with certificates of its own needs them for what builds fetch.
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		o.Args = []string{"--ca-certificates", file}
	}
	srv := harness.Start(t, o)
	t.Setenv("SLIPWAY_BIN", harness.Binary(t))
	command(t, filepath.Join(root, "hack/base-images.sh"), srv.Host())
	return srv
}

func build(t *testing.T, srv *harness.Server, dir string) (o outcome) {
	t.Helper()
	out := command(t, harness.Binary(t), "build", "../../examples/"+dir, "--data", srv.Data(), "--progress", "plain", "-o", "json")
	if err := json.Unmarshal([]byte(out), &o); err != nil {
		t.Fatalf("%v in the outcome:\n%s", err, out)
	}
	return o
}

func wantVerdicts(t *testing.T, o outcome, targets []string, want map[string]string) {
	t.Helper()
	if len(o.Targets) != len(targets) {
		t.Errorf("targets %v, want %v", o.Targets, targets)
	}
	for _, target := range o.Targets {
		if target.Verdict != want[target.Target] {
			t.Errorf("target %s: %s, want %s", target.Target, target.Verdict, want[target.Target])
		}
	}
}

func published(o outcome, repo, tag string) string {
	for _, t := range o.Tags {
		if t.Repository == repo && t.Tag == tag {
			return t.Digest
		}
	}
	return "not published"
}

// command is harness.Run for what takes longer.
func command(t *testing.T, path string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, log.String(), out)
	}
	return string(out)
}
