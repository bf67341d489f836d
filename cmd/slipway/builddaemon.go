//go:build unix

package main

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

// buildDaemon is a builder that the server keeps.
type buildDaemon interface {
	buildkit.Daemon
	subnet() (netip.Prefix, bool)
	close() error
}

// buildDaemons are the builders that the settings name.
func buildDaemons(s buildSettings, c daemon.Config) (list []buildDaemon) {
	if len(s.builders) == 0 {
		return []buildDaemon{&childDaemon{config: c}}
	}
	for _, address := range s.builders {
		switch address {
		case "none":
		case "own":
			list = append(list, &childDaemon{config: c})
		default:
			list = append(list, &externalDaemon{address: address})
		}
	}
	return list
}

// childDaemon is our own buildkitd, started when it is first needed.
type childDaemon struct {
	config daemon.Config

	mu     sync.Mutex
	child  *daemon.Daemon
	closed bool
}

func (d *childDaemon) start(ctx context.Context) (*daemon.Daemon, error) {
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
func (d *childDaemon) Client(ctx context.Context) (*client.Client, error) {
	child, err := d.start(ctx)
	if err != nil {
		return nil, err
	}
	return child.Client(ctx)
}

// Pod implements buildkit.Daemon.
func (d *childDaemon) Pod(ctx context.Context, hosts []string) (p buildkit.Pod, err error) {
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
func (d *childDaemon) Cancelled() {
	d.mu.Lock()
	child := d.child
	d.mu.Unlock()
	if child != nil {
		child.Recycle()
	}
}

func (d *childDaemon) subnet() (netip.Prefix, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.child == nil {
		return netip.Prefix{}, false
	}
	return d.child.Subnet(), true
}

func (d *childDaemon) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.child == nil {
		return nil
	}
	return d.child.Close()
}

// externalDaemon is a buildkitd that somebody else keeps.
type externalDaemon struct {
	address string

	mu     sync.Mutex
	client *client.Client
}

// Client implements buildkit.Daemon.
func (d *externalDaemon) Client(ctx context.Context) (*client.Client, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client != nil {
		return d.client, nil
	}
	c, err := client.New(ctx, d.address)
	if err != nil {
		return nil, err
	}
	d.client = c
	return c, nil
}

// Pod implements buildkit.Daemon.
func (d *externalDaemon) Pod(context.Context, []string) (buildkit.Pod, error) {
	return buildkit.Pod{}, errors.New("a builder that Slipway does not run has no private networks for services: leave build.builder out to use an own one")
}

// Cancelled implements buildkit.Daemon.
func (d *externalDaemon) Cancelled() {}

func (d *externalDaemon) subnet() (netip.Prefix, bool) { return netip.Prefix{}, false }

func (d *externalDaemon) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client == nil {
		return nil
	}
	return d.client.Close()
}
