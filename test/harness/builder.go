//go:build linux

package harness

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// BaseImage is the image that [StartBuilder] imports, as a Dockerfile names it. It
// has busybox and nothing else.
const BaseImage = "busybox"

// IsolateBuilder is [Isolate] for a package whose tests build: what builds is made
// out here too. With namespaces of its own, a test can ask for every process,
// mount and interface that a build left.
func IsolateBuilder(m *testing.M) int {
	if os.Getenv(isolatedVar) == "" && os.Getenv("SLIPWAY_BIN") == "" {
		path, err := buildWithBuilder()
		if err != nil {
			fmt.Fprintf(os.Stderr, "building the program under test: %v\n", err)
			return 1
		}
		if err := os.Setenv("SLIPWAY_BIN", path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return Isolate(m)
}

// buildWithBuilder builds slipway, and beside it links to buildkitd, slipway-runc
// and slipway-bake, which hack/buildkitd.sh has put into .build.
func buildWithBuilder() (path string, err error) {
	dir, err := findRoot()
	if err != nil {
		return "", fmt.Errorf("finding go.mod: %w", err)
	}
	if path, err = build(dir); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".build", "buildkitd.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("locking %s: %w", lock.Name(), err)
	}
	cmd := exec.Command(filepath.Join(dir, "hack", "buildkitd.sh"), ".build")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	for _, name := range []string{"buildkitd", "slipway-runc", "slipway-bake"} {
		link := filepath.Join(filepath.Dir(path), name)
		if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		if err := os.Symlink(filepath.Join(dir, ".build", name), link); err != nil {
			return "", err
		}
	}
	return path, nil
}

// StartBuilder runs a server that builds, and that has [BaseImage]. A machine that
// cannot build ends the test through [Missing].
func StartBuilder(tb testing.TB, o Options) *Server {
	tb.Helper()
	NeedBuilder(tb)
	s := Start(tb, o)
	ImportBase(tb, s.Host())
	return s
}

// NeedBuilder ends the test through [Missing] where builds are impossible.
func NeedBuilder(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		Missing(tb, "root")
	}
	for _, name := range []string{"runc", "iptables", "busybox"} {
		Tool(tb, name)
	}
	folder := filepath.Dir(Binary(tb))
	for _, path := range []string{folder + "/buildkitd", folder + "/slipway-runc", folder + "/slipway-bake", "/usr/lib/cni/ptp"} {
		if _, err := os.Stat(path); err != nil {
			Missing(tb, "%v", err)
		}
	}
}

// ImportBase imports [BaseImage] under the mirror's name, as somebody without
// access to Docker Hub does.
func ImportBase(tb testing.TB, host string) {
	tb.Helper()
	file := filepath.Join(tempDir(tb, "slipway-base-"), "root.tar")
	if err := os.WriteFile(file, busybox(tb), 0o600); err != nil {
		tb.Fatal(err)
	}
	Run(tb, Binary(tb), "import", file, host+"/docker.io/library/"+BaseImage+":latest", "--cmd", "sh", "--env", "PATH=/bin")
}

// applets are the names under which the base image has busybox.
var applets = strings.Fields("[ awk base64 cat chmod cp cut date dd echo env expr false find grep head id kill ln ls mkdir mv nc printf ps pwd readlink rm sed seq setsid sh sha256sum sleep sort stat sync tail tar test touch tr true wc wget xargs")

// busybox is a root file system as a tar.
func busybox(tb testing.TB) []byte {
	tb.Helper()
	program, err := os.ReadFile(Tool(tb, "busybox"))
	if err != nil {
		tb.Fatal(err)
	}
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	add := func(h *tar.Header, body []byte) {
		h.Size = int64(len(body))
		if err := w.WriteHeader(h); err != nil {
			tb.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			tb.Fatal(err)
		}
	}
	for _, name := range []string{"bin/", "etc/", "root/", "tmp/"} {
		add(&tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	add(&tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, program)
	for _, name := range applets {
		add(&tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return content.Bytes()
}
