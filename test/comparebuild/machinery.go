package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// machinery is everything that runs beside: a Slipway server, a Docker engine,
// docker-registry, and the base image in both stores.
type machinery struct {
	dir      string
	running  []*exec.Cmd
	slipway  string // its program
	data     string
	host     string // Slipway's address
	registry string // docker-registry's
	docker   []string
	buildctl string
}

func (m *machinery) start(ctx context.Context) (err error) {
	if m.slipway, err = filepath.Abs("bin/slipway"); err != nil {
		return err
	}
	m.data = filepath.Join(m.dir, "slipway")
	if m.host, err = freeAddress(); err != nil {
		return err
	}
	if err := m.launch("slipway", exec.Command(m.slipway, "serve", "--data", m.data, "--listen", m.host, "--mirror.offline", "--log.access=false")); err != nil {
		return err
	}
	if m.registry, err = freeAddress(); err != nil {
		return err
	}
	config := filepath.Join(m.dir, "registry.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: %s}\n", filepath.Join(m.dir, "registry"), m.registry), 0o600); err != nil {
		return err
	}
	if err := m.launch("docker-registry", exec.Command("docker-registry", "serve", config)); err != nil {
		return err
	}
	socket := "unix://" + filepath.Join(m.dir, "docker.sock")
	m.docker = []string{"docker", "--host", socket}
	engine := exec.Command("dockerd", "--host", socket, "--data-root", filepath.Join(m.dir, "docker"), "--exec-root", filepath.Join(m.dir, "docker-run"),
		"--pidfile", filepath.Join(m.dir, "docker.pid"), "--bridge", "none", "--iptables=false", "--insecure-registry", m.registry)
	if err := m.launch("dockerd", engine); err != nil {
		return err
	}
	// The engine's client builds with BuildKit through a plugin.
	plugin := filepath.Join(m.dir, "docker-config", "cli-plugins", "docker-buildx")
	if err := errors.Join(os.MkdirAll(filepath.Dir(plugin), 0o755), command(ctx, nil, "hack/tools.sh", "buildx"), command(ctx, nil, "cp", ".build/tools/buildx", plugin)); err != nil {
		return err
	}
	m.buildctl = filepath.Join(m.dir, "buildctl")
	if err := command(ctx, nil, "go", "build", "-o", m.buildctl, "github.com/moby/buildkit/cmd/buildctl"); err != nil {
		return err
	}
	if err := wait(ctx, func() error { return command(ctx, nil, append(m.docker, "info")...) }); err != nil {
		return err
	}
	if err := wait(ctx, func() error { return dial(m.host) }); err != nil {
		return err
	}
	return m.base(ctx)
}

// base makes one base image, of busybox, and gives it to both.
func (m *machinery) base(ctx context.Context) error {
	root := filepath.Join(m.dir, "rootfs")
	if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
		return err
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("busybox-static is needed for the base image: %w", err)
	}
	content, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "bin", "busybox"), content, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"sh", "cat", "sha256sum", "seq", "mkdir", "cp", "find", "sort", "xargs", "head", "gzip"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			return err
		}
	}
	tar := filepath.Join(m.dir, "rootfs.tar")
	if err := command(ctx, nil, "tar", "-C", root, "--owner=0", "--group=0", "-cf", tar, "."); err != nil {
		return err
	}
	if err := command(ctx, nil, m.slipway, "import", tar, m.host+"/docker.io/library/busybox:latest", "--env", "PATH=/bin"); err != nil {
		return err
	}
	return command(ctx, nil, append(m.docker, "import", "--change", "ENV PATH=/bin", tar, "busybox:latest")...)
}

func (m *machinery) launch(name string, cmd *exec.Cmd) error {
	log, err := os.Create(filepath.Join(m.dir, name+".log"))
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	m.running = append(m.running, cmd)
	return nil
}

func (m *machinery) stop() {
	for i := len(m.running) - 1; i >= 0; i-- {
		cmd := m.running[i]
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		done := make(chan struct{})
		go func() { _ = cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-done
		}
	}
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func dial(address string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	return c.Close()
}

func wait(ctx context.Context, probe func() error) (err error) {
	for range 300 {
		if err = probe(); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return err
}

// command runs a program; its output is in the error.
func command(ctx context.Context, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), errors.Join(err, ctx.Err()), said.String())
	}
	return nil
}
