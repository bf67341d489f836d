//go:build !unix

package main

import "github.com/spf13/cobra"

// accessCommands need a Unix system, as the server does.
func accessCommands() []*cobra.Command { return nil }
