// Package service checks the two ways in which Slipway runs for good: as a
// container that the engine restarts, started by the line that people know from
// registry:2, and as a systemd service.
//
// The container test kills the registry, and then the engine, as a crash would,
// and pulls again after each. It runs a Docker Engine with a real network in
// namespaces of its own, see [slipway/test/harness.Isolate].
package service
