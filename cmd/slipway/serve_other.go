//go:build !unix

package main

import (
	"errors"

	"github.com/spf13/cobra"
)

// serverCommands are the commands that need a Unix system.
func serverCommands() []*cobra.Command {
	return []*cobra.Command{{
		Use:   "serve",
		Short: "Serve the registry (on Linux and other Unix systems)",
		RunE: func(*cobra.Command, []string) error {
			return errors.New("this system cannot serve: run 'slipway serve' on Linux, and use the other commands from here")
		},
	}}
}
