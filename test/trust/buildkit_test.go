//go:build linux

package trust

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"

	"slipway/test/harness"
)

// buildkitd is a stock one with its defaults, which it reads when it starts.
type buildkitd struct {
	dir  string
	proc *harness.Client
}

func startBuildkitd(t *testing.T) *buildkitd {
	t.Helper()
	harness.NeedBuilder(t)
	dir, err := os.MkdirTemp("", "buildkitd-") // short: there is a socket inside
	if err != nil {
		t.Fatal(err)
	}
	b := &buildkitd{dir: dir}
	t.Cleanup(func() {
		b.stop()
		if t.Failed() {
			t.Logf("buildkitd:\n%s", b.proc.Stderr())
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Logf("left behind: %v", err)
		}
	})
	b.start(t)
	return b
}

func (b *buildkitd) address() string { return "unix://" + filepath.Join(b.dir, "sock") }

func (b *buildkitd) start(t *testing.T) {
	t.Helper()
	b.proc = harness.Command{
		Path: filepath.Join(filepath.Dir(harness.Binary(t)), "buildkitd"),
		Args: []string{"--root", b.dir + "/root", "--addr", b.address(), "--oci-worker-snapshotter", "native", "--containerd-worker=false"},
	}.Go(t)
	harness.Until(t, "buildkitd answers", harness.CommandTimeout, func() error {
		c, err := client.New(t.Context(), b.address())
		if err != nil {
			return err
		}
		_, err = c.ListWorkers(t.Context())
		return errors.Join(err, c.Close())
	})
}

func (b *buildkitd) stop() {
	b.proc.Signal(syscall.SIGTERM)
	b.proc.Exit()
}

// build makes something of a registry's image.
func (b *buildkitd) build(ctx context.Context, t *testing.T, ref string) error {
	t.Helper()
	c, err := client.New(ctx, b.address())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	definition, err := llb.Image(ref, llb.ResolveModeForcePull).File(llb.Mkfile("/made", 0o644, []byte("of it"))).Marshal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	if _, err := c.Solve(ctx, definition, client.SolveOpt{Exports: []client.ExportEntry{{Type: client.ExporterLocal, OutputDir: out}}}, nil); err != nil {
		return err
	}
	made, err := os.ReadFile(filepath.Join(out, "made"))
	if string(made) != "of it" {
		return fmt.Errorf("the build made %q, %w", made, err)
	}
	return nil
}

// TestBuildKit has the one restart that its daemon needs, and that trust names.
func TestBuildKit(t *testing.T) {
	cleanEtc(t)
	r := newRegistry(t)
	ref := r.Host() + "/team/app:1"
	b := startBuildkitd(t)
	untrusted := func(when string) {
		t.Helper()
		if err := b.build(t.Context(), t, ref); err == nil || !strings.Contains(err.Error(), "x509: certificate signed by unknown authority") {
			t.Fatalf("a build %s trust: %v", when, err)
		}
	}
	untrusted("before")
	if err := os.MkdirAll("/etc/buildkit", 0o755); err != nil {
		t.Fatal(err)
	}
	const theirs = "# of this machine\ndebug = true\n"
	if err := os.WriteFile("/etc/buildkit/buildkitd.toml", []byte(theirs), 0o644); err != nil {
		t.Fatal(err)
	}
	fingerprint, _ := r.announced(t)
	if out := slipway(t, "trust", r.Host(), "--fingerprint", fingerprint, "--for", "buildkit"); !strings.Contains(out, "restart needed: systemctl restart buildkit") {
		t.Errorf("it does not tell the restart:\n%s", out)
	}
	b.stop()
	b.start(t)
	if err := b.build(t.Context(), t, ref); err != nil {
		t.Fatalf("a build after trust and a restart: %v", err)
	}
	slipway(t, "trust", r.Host(), "--undo")
	if now, err := os.ReadFile("/etc/buildkit/buildkitd.toml"); err != nil || string(now) != theirs {
		t.Errorf("after undo: %q, %v", now, err)
	}
	b.stop()
	b.start(t)
	untrusted("after undoing")
}
