// Slipway is a private container registry in one binary. This package is the
// command line: one file per subcommand, and the server that wires the parts
// together. Only this package knows every other one.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes that scripts may rely on.
const (
	exitFailure = 1 // the command was understood and failed
	exitUsage   = 2 // the command line or the configuration is wrong
)

// usageError marks a mistake in flags, arguments or configuration: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitError carries its own exit code.
type exitError struct {
	error
	code int
}

func (e exitError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once
	}()
	os.Exit(run(ctx, os.Args[1:]))
}

// run executes one command line and returns the process's exit code.
func run(ctx context.Context, args []string) int {
	root := newRootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "slipway: "+err.Error())
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	var own exitError
	if errors.As(err, &own) {
		return own.code
	}
	return exitFailure
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "slipway",
		Short: "A private container registry in one binary",
		Long: `Slipway serves a team's container images on its own network.

Start a registry with 'slipway serve'. The other commands look at and change
images in any registry that speaks the OCI distribution protocol.`,
		SilenceUsage:               true,
		SilenceErrors:              true,
		SuggestionsMinimumDistance: 2,
		Args:                       knownCommand,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; run '%s --help' for its flags", err, c.CommandPath())}
	})
	root.AddCommand(
		newBenchCommand(),
		newLoginCommand(),
		newLogoutCommand(),
		newTrustCommand(),
		newVersionCommand(),
	)
	root.AddCommand(serverCommands()...)
	root.AddCommand(accessCommands()...)
	root.AddCommand(registryCommands()...)
	countArguments(root)
	return root
}

// knownCommand refuses a command that there is not, below a command that only
// holds others.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("there is no command %q; '%s --help' lists them", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("there is no command %q; did you mean %s?", args[0], strings.Join(near, " or "))
	}
	return usageError{err}
}

// countArguments makes a wrong number of arguments a mistake in usage.
func countArguments(parent *cobra.Command) {
	for _, c := range parent.Commands() {
		countArguments(c)
		if check := c.Args; check != nil {
			c.Args = func(cmd *cobra.Command, args []string) error {
				err := check(cmd, args)
				if usage := (usageError{}); err == nil || errors.As(err, &usage) {
					return err
				}
				return usageError{fmt.Errorf("%w; run '%s --help'", err, cmd.CommandPath())}
			}
		}
	}
}
