//go:build linux

package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/buildkit/client"

	"slipway/internal/buildkit/daemon"
)

// endless is a step whose process can be found by the number.
func endless(number string) string {
	return "RUN echo begun; /bin/busybox setsid /bin/busybox sleep " + number + " & /bin/busybox sleep " + number + "\n"
}

// begin runs an endless step and returns when it runs.
func begin(ctx context.Context, t *testing.T, c *client.Client, number string) (result chan error) {
	t.Helper()
	result = make(chan error, 1)
	go func() {
		_, err := build(ctx, t, c, endless(number), nil)
		result <- err
	}()
	until(t, "the step begins", func() bool { return len(processes("busybox sleep "+number)) >= 2 })
	return result
}

func gone(number string) func() bool {
	return func() bool { return len(processes("busybox sleep "+number)) == 0 }
}

func TestKilledDaemon(t *testing.T) {
	cfg := config(t)
	d := start(t, cfg)
	c := dial(t, d)
	result := begin(deadline(t), t, c, "1000001")
	daemons := processes(cfg.Binary + " --config " + cfg.Root)
	if len(daemons) != 1 {
		t.Fatalf("there are %d daemons", len(daemons))
	}
	if err := syscall.Kill(daemons[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the step's processes end", gone("1000001"))
	if err := <-result; err == nil {
		t.Error("the build succeeded")
	}
	mustBuild(t, dial(t, d), "RUN echo again\n", nil)
}

func TestKilledFirstProcess(t *testing.T) {
	cfg := config(t)
	d := start(t, cfg)
	result := begin(deadline(t), t, dial(t, d), "1000002")
	inits := processes(cfg.Shim + " init")
	if len(inits) != 1 {
		t.Fatalf("there are %d first processes", len(inits))
	}
	if err := syscall.Kill(inits[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the step's processes end", gone("1000002"))
	if err := <-result; err == nil {
		t.Error("the build succeeded")
	}
	mustBuild(t, dial(t, d), "RUN echo again\n", nil)
}

// victim is this test program as a slipway that is about to be killed.
func victim(root string) {
	fail := func(err error) {
		fmt.Println(err)
		os.Exit(1)
	}
	d, err := daemon.Start(context.Background(), daemon.Config{
		Root: root, Binary: os.Getenv("SLIPWAY_TEST_BINARY"), Shim: os.Getenv("SLIPWAY_TEST_SHIM"),
	})
	if err != nil {
		fail(err)
	}
	if _, err := d.Client(context.Background()); err != nil {
		fail(err)
	}
	fmt.Println("ready")
	select {}
}

func TestKilledParent(t *testing.T) {
	cfg := config(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "SLIPWAY_TEST_VICTIM="+cfg.Root, "SLIPWAY_TEST_BINARY="+cfg.Binary, "SLIPWAY_TEST_SHIM="+cfg.Shim)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	line := make([]byte, 200)
	if n, err := out.Read(line); err != nil || !strings.HasPrefix(string(line[:n]), "ready") {
		t.Fatalf("the victim said %q: %v", line[:n], err)
	}
	c, err := client.New(deadline(t), "unix://"+cfg.Root+"/buildkitd.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	result := begin(deadline(t), t, c, "1000003")

	// Its folder is its own while it lives.
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := daemon.Start(short, cfg); err == nil {
		t.Fatal("two daemons share a folder")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	until(t, "the step's processes end", gone("1000003"))
	until(t, "buildkitd ends", func() bool { return len(processes(cfg.Root)) == 0 })
	if err := <-result; err == nil {
		t.Error("the build succeeded")
	}
	mustBuild(t, dial(t, start(t, cfg)), "RUN echo again\n", nil)
}

// TestRecycle asks for a new buildkitd while a build and a run are under way: it
// comes when both have ended, and takes what still runs along.
func TestRecycle(t *testing.T) {
	cfg := config(t)
	d := start(t, cfg)
	c := dial(t, d)
	daemons := func() string { return fmt.Sprint(processes(cfg.Binary + " --config " + cfg.Root)) }
	first := daemons()
	release, err := d.Register("busy", daemon.Run{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(deadline(t))
	defer cancel()
	result := begin(ctx, t, c, "1000004")
	d.Recycle()
	d.Recycle()
	release()
	for i := range 3 { // each takes longer than it would take to see that nothing goes on
		mustBuild(t, dial(t, d), fmt.Sprintf("RUN echo while it is busy %d; /bin/busybox sleep 0.3\n", i), nil)
	}
	if now := daemons(); now != first || gone("1000004")() {
		t.Fatalf("the daemon was recycled under a build: it was %s and is %s", first, now)
	}
	cancel()
	if err := <-result; err == nil {
		t.Error("the build succeeded")
	}
	until(t, "the daemon is another", func() bool { now := daemons(); return now != first && now != "[]" })
	if !gone("1000004")() {
		t.Error("the step's processes live on")
	}
	mustBuild(t, dial(t, d), "RUN echo after\n", nil)
}

func TestCloseMidRun(t *testing.T) {
	cfg := config(t)
	d, err := daemon.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	result := begin(deadline(t), t, dial(t, d), "1000005")
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if !gone("1000005")() {
		t.Error("the step's processes live on")
	}
	nothingLeft(t, cfg.Root)
	if err := <-result; err == nil {
		t.Error("the build succeeded")
	}
	if _, err := d.Client(deadline(t)); err == nil {
		t.Error("a closed daemon gives a client")
	}
	if err := d.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

func TestDaemonThatDoesNotStart(t *testing.T) {
	cfg := config(t)
	cfg.Binary = "/bin/false"
	d := start(t, cfg)
	_, err := d.Client(deadline(t))
	if err == nil || !strings.Contains(err.Error(), "buildkitd does not start") || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
}

func TestLongRoot(t *testing.T) {
	cfg := config(t)
	cfg.Root = filepath.Join(cfg.Root, strings.Repeat("long/", 30), "root with a space")
	d := start(t, cfg)
	mustBuild(t, dial(t, d), "RUN echo here\n", nil)
	socket := strings.TrimPrefix(d.Address(), "unix://")
	for _, name := range []string{filepath.Dir(socket), cfg.Root} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(socket)); err == nil {
		t.Errorf("%s is left", filepath.Dir(socket))
	}
}

func TestLimits(t *testing.T) {
	cfg := config(t)
	cfg.Processes, cfg.Memory = 100, 200<<20
	d := start(t, cfg)
	c := dial(t, d)
	before := processes(cfg.Binary + " --config " + cfg.Root)
	out := newOutside(t)

	// A bomb that would be 2000 processes; it says how many it could start.
	// Not even a build that names another control group gets out of it.
	img, err := build(deadline(t), t, c, `RUN i=0; while test $i -lt 2000; do /bin/busybox sleep 1000006 & i=$((i+1)); done; echo all of them
`, map[string]string{"cgroup-parent": "/slipway-test-escape"})
	if err == nil || strings.Contains(img.log, "all of them") {
		t.Errorf("the bomb was not bounded: %v\n%s", err, img.log)
	}
	if !strings.Contains(img.log, "can't fork") {
		t.Errorf("the bomb failed in another way: %v\n%s", err, img.log)
	}
	if left, _ := filepath.Glob("/sys/fs/cgroup/*/slipway-test-escape"); len(left) > 0 {
		t.Errorf("the build made control groups: %v", left)
	}
	until(t, "the bomb's processes end", gone("1000006"))

	const hog = "RUN /bin/busybox dd if=/dev/zero of=/dev/null count=1 bs=%s 2>&1\n"
	mustBuild(t, c, fmt.Sprintf(hog, "50M"), nil)
	if img, err = build(deadline(t), t, c, fmt.Sprintf(hog, "500M"), nil); err == nil ||
		!strings.Contains(err.Error(), "137") && !strings.Contains(err.Error(), "cannot allocate memory") { // version 1 and 2 of control groups
		t.Errorf("the hog was not killed: %v\n%s", err, img.log)
	}
	mustBuild(t, c, "RUN /bin/busybox wget -q -O /dev/null http://"+out.addr+"/\n", nil)
	if after := processes(cfg.Binary + " --config " + cfg.Root); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("buildkitd was %v and is %v", before, after)
	}
	if _, err := http.Get("http://" + out.addr); err != nil {
		t.Error(err)
	}
}
