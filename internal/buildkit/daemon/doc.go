// Package daemon runs a stock buildkitd as a child that can be trusted to leave
// nothing behind.
//
//	d, err := daemon.Start(ctx, daemon.Config{Root: dir, Log: log})
//	c, err := d.Client(ctx) // starts buildkitd if it does not run, waits until it answers
//	defer d.Close()
//
// # A sealed child
//
// buildkitd and all that it starts live in process, mount and network namespaces
// of their own, whose first process is `slipway-runc init` (package shim).
//
//	slipway                       lock on Root, supervision, DNS relay
//	└── slipway-runc init         dies with slipway; when it dies, all below dies
//	    └── buildkitd             its own root, socket and configuration
//	        └── slipway-runc → runc → a RUN step
//
// The kernel does the cleaning: the end of the first process, by whatever means,
// kills every process of the namespace, and with them go the mounts and the
// network. What is left on the host are rules that name a network interface which
// no longer exists, and empty control groups; both are removed when the daemon
// ends, or at the next start. The lock on Root is held by slipway and by the
// first process, so whoever gets it knows that nothing of a predecessor runs.
//
// # Network
//
// One pair of virtual interfaces joins the namespace to the host, which forwards
// and masquerades what comes out of it, and refuses what is meant for itself:
// RUN steps have the network, but not Slipway, nor anything else on its machine,
// nor each other. The prefix is chosen free; two daemons on one machine share
// nothing. Name servers of the host work inside; one that listens on loopback is
// reached through a relay. Without the means for this network there are no builds:
// the host's own network is never lent to a build.
//
// # Limits
//
// All builds together are below one control group with limits for processors,
// memory and processes, at a low weight and priority, so that serving comes first.
package daemon
