//go:build unix

package main

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"github.com/moby/buildkit/client"

	"slipway/internal/buildkit"
	"slipway/internal/buildkit/child"
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
		return []buildDaemon{childDaemon{child.New(c)}}
	}
	for _, address := range s.builders {
		switch address {
		case "none":
		case "own":
			list = append(list, childDaemon{child.New(c)})
		default:
			list = append(list, &externalDaemon{address: address})
		}
	}
	return list
}

// childDaemon is our own buildkitd.
type childDaemon struct{ *child.Daemon }

func (d childDaemon) subnet() (netip.Prefix, bool) { return d.Subnet() }

func (d childDaemon) close() error { return d.Close() }

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
