package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// searchPath is where programs are looked for, and PATH of buildkitd. A service
// may have a PATH without the folders in which Debian keeps iptables.
func searchPath() string { return os.Getenv("PATH") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin" }

// program finds a program beside the running one, else in the search path. It
// returns the bare name if there is none.
func program(name string) string {
	folders := filepath.SplitList(searchPath())
	if self, err := os.Executable(); err == nil {
		folders = append([]string{filepath.Dir(self)}, folders...)
	}
	for _, folder := range folders {
		path, err := exec.LookPath(filepath.Join(folder, name))
		if err == nil && filepath.IsAbs(path) {
			return path
		}
	}
	return name
}

// Check returns nil if this machine has all that building needs, else an error
// that lists what is missing and how to get it, which is an [ErrUnavailable].
func Check(c Config) error {
	c, err := c.withDefaults()
	if err != nil {
		return err
	}
	var missing []string
	lack := func(format string, args ...any) { missing = append(missing, fmt.Sprintf(format, args...)) }

	if err := privileged(); err != nil {
		lack("%v", err)
	}
	for _, need := range []struct{ path, from string }{
		{c.Binary, "comes with Slipway: put it beside the slipway program, or run `make build`"},
		{c.Shim, "comes with Slipway: put it beside the slipway program, or run `make build`"},
		{c.Runtime, "Debian package runc"},
		{program("iptables"), "Debian package iptables"},
		{program("iptables-restore"), "Debian package iptables"},
		{filepath.Join(c.CNIDir, "ptp"), "Debian package containernetworking-plugins"},
		{filepath.Join(c.CNIDir, "host-local"), "Debian package containernetworking-plugins"},
		{filepath.Join(c.CNIDir, "loopback"), "Debian package containernetworking-plugins"},
	} {
		if path, err := exec.LookPath(need.path); err != nil || !filepath.IsAbs(path) {
			lack("%s: %s", need.path, need.from)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%w; missing:\n  - %s", ErrUnavailable, strings.Join(missing, "\n  - "))
}

// privileged tells whether this process may make namespaces and networks.
func privileged() error {
	const how = "run it as root, in a container with --privileged, or name a buildkitd that runs elsewhere by its address"
	if os.Geteuid() != 0 {
		return errors.New("root: " + how)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		hex, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		caps, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		if err != nil {
			return fmt.Errorf("reading capabilities: %w", err)
		}
		for _, need := range []struct {
			bit  uint
			name string
		}{{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}} {
			if caps&(1<<need.bit) == 0 {
				return errors.New(need.name + ": " + how)
			}
		}
	}
	return nil
}
