// Package child is the builder that a server keeps for itself: package daemon's
// buildkitd, as package buildkit asks for one. It starts with the first build
// that needs it.
package child

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"sync"

	"github.com/moby/buildkit/client"

	"slipway/internal/buildkit"
	"slipway/internal/buildkit/daemon"
)

// Daemon implements buildkit.Daemon. It is safe for concurrent use.
type Daemon struct {
	config daemon.Config

	mu     sync.Mutex
	child  *daemon.Daemon
	closed bool
}

var _ buildkit.Daemon = (*Daemon)(nil)

// New starts nothing yet.
func New(c daemon.Config) *Daemon { return &Daemon{config: c} }

func (d *Daemon) start(ctx context.Context) (*daemon.Daemon, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errors.New("the server is stopping")
	}
	if d.child != nil {
		return d.child, nil
	}
	// The child outlives the build that started it.
	child, err := daemon.Start(context.WithoutCancel(ctx), d.config)
	if err != nil {
		return nil, err
	}
	d.child = child
	return child, nil
}

// Client implements buildkit.Daemon.
func (d *Daemon) Client(ctx context.Context) (*client.Client, error) {
	child, err := d.start(ctx)
	if err != nil {
		return nil, err
	}
	return child.Client(ctx)
}

// Pod implements buildkit.Daemon.
func (d *Daemon) Pod(ctx context.Context, hosts []string) (p buildkit.Pod, err error) {
	child, err := d.start(ctx)
	if err != nil {
		return p, err
	}
	var lines []string
	for _, host := range hosts {
		lines = append(lines, "127.0.0.1 "+host) // they share one network
	}
	token := rand.Text()
	p.Release, err = child.Register(token, daemon.Run{Pod: true, Hosts: lines})
	p.Marker, p.Service = daemon.Marker(token), []string{daemon.PodService}
	p.Check, p.Exit = []string{daemon.ReportExit}, daemon.ExitMark
	return p, err
}

// Cancelled implements buildkit.Daemon.
func (d *Daemon) Cancelled() {
	d.mu.Lock()
	child := d.child
	d.mu.Unlock()
	if child != nil {
		child.Recycle()
	}
}

// Subnet is where RUN steps come from, once something was built.
func (d *Daemon) Subnet() (netip.Prefix, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.child == nil {
		return netip.Prefix{}, false
	}
	return d.child.Subnet(), true
}

// Close ends the builder with all that it runs, for good.
func (d *Daemon) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.child == nil {
		return nil
	}
	return d.child.Close()
}
