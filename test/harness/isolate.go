//go:build linux

package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const isolatedVar = "SLIPWAY_TEST_ISOLATED"

// Isolate runs a package's tests in network, mount and process namespaces of
// their own and returns the exit code. Call it from TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(harness.Isolate(m)) }
//
// A container engine changes firewall rules, makes bridges and mounts, and
// leaves processes behind when it is killed. In here all of that ends with the
// test, port 5000 is always free, and there is no other network than loopback
// and what the engine makes. It needs root, or sudo without a password;
// without either the tests run, and those that call [Isolated] end there.
func Isolate(m *testing.M) int {
	if os.Getenv(isolatedVar) != "" {
		if err := loopbackUp(); err != nil {
			fmt.Fprintf(os.Stderr, "isolated tests: bringing up loopback: %v\n", err)
			return 1
		}
		return m.Run()
	}
	enter, err := isolation()
	if err != nil {
		errIsolation = err
		return m.Run()
	}
	// Built out here, where Go can fetch modules.
	bin := os.Getenv("SLIPWAY_BIN")
	if bin == "" {
		dir, err := findRoot()
		if err != nil {
			fmt.Fprintf(os.Stderr, "isolated tests: finding go.mod: %v\n", err)
			return 1
		}
		if bin, err = build(dir); err != nil {
			fmt.Fprintf(os.Stderr, "isolated tests: building the program under test: %v\n", err)
			return 1
		}
	}
	// The shell is process 1 in there: it collects orphans, which a Go program
	// does not.
	enter = append(enter, "sh", "-c", `"$0" "$@"; exit $?`)
	enter = append(enter, os.Args...)
	cmd := exec.Command(enter[0], enter[1:]...)
	cmd.Env = append(os.Environ(), isolatedVar+"=1", "SLIPWAY_BIN="+bin)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var exit *exec.ExitError
	switch err := cmd.Run(); {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	default:
		fmt.Fprintf(os.Stderr, "isolated tests: %v\n", err)
		return 1
	}
}

var errIsolation = errors.New("TestMain does not call harness.Isolate")

// Isolated ends the test through [Missing] unless it runs inside [Isolate].
func Isolated(tb testing.TB) {
	tb.Helper()
	if os.Getenv(isolatedVar) == "" {
		Missing(tb, "namespaces of its own: %v", errIsolation)
	}
}

// isolation returns the command that enters new namespaces, tried once.
func isolation() ([]string, error) {
	enter := []string{"unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if os.Geteuid() != 0 {
		enter = append([]string{"sudo", "-n", "--preserve-env", "env", "PATH=" + os.Getenv("PATH")}, enter...)
	}
	try := append(append([]string(nil), enter...), "true")
	if out, err := exec.Command(try[0], try[1:]...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%v: %w: %s", try, err, out)
	}
	return enter, nil
}

// loopbackUp does what `ip link set lo up` does, without needing iproute2.
func loopbackUp() (err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return err
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}
