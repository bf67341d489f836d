//go:build linux

// Slipway-runc stands between buildkitd and runc; package shim explains it. It
// is started by Slipway and by buildkitd, never by a person.
package main

import (
	"os"

	"slipway/internal/buildkit/shim"
)

func main() { os.Exit(shim.Main(os.Args)) }
