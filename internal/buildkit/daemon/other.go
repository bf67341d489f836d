//go:build !linux

package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"

	"github.com/moby/buildkit/client"
)

// Daemon needs Linux.
type Daemon struct{}

// Check says that building needs Linux.
func Check(Config) error {
	return fmt.Errorf("%w: that needs Linux; name a buildkitd that runs on one by its address", ErrUnavailable)
}

// Start says that building needs Linux.
func Start(context.Context, Config) (*Daemon, error) { return nil, Check(Config{}) }

// Address is empty.
func (*Daemon) Address() string { return "" }

// Subnet is not valid.
func (*Daemon) Subnet() netip.Prefix { return netip.Prefix{} }

// Client says that building needs Linux.
func (*Daemon) Client(context.Context) (*client.Client, error) { return nil, Check(Config{}) }

// Register says that building needs Linux.
func (*Daemon) Register(string, Run) (func(), error) { return nil, Check(Config{}) }

// Recycle does nothing.
func (*Daemon) Recycle() {}

// Close does nothing.
func (*Daemon) Close() error { return nil }

func program(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return name
}
