//go:build unix

package main

import (
	"log/slog"
	"net"
	"net/netip"
)

// sealedListener refuses connections from the network of the builder: a RUN
// step has the network, but not the store of whoever builds it. With one, a
// Dockerfile could push, pull what its project may not, or start builds.
type sealedListener struct {
	net.Listener
	subnet func() (netip.Prefix, bool)
	log    *slog.Logger
}

// Accept implements net.Listener.
func (l *sealedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		subnet, builds := l.subnet()
		if !builds {
			return c, nil
		}
		from, err := netip.ParseAddrPort(c.RemoteAddr().String())
		if err != nil || !subnet.Contains(from.Addr().Unmap()) {
			return c, nil
		}
		l.log.Warn("a build step tried to reach this server", "remote", from)
		_ = c.Close() // nothing was said on it
	}
}
