//go:build unix

package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// accessCommands are the commands about who may do what, and who did.
func accessCommands() []*cobra.Command {
	return []*cobra.Command{newUserCommand(), newRobotCommand(), newTokenCommand(), newPolicyCommand(), newAuditCommand(), newQuotaCommand(), newSecureCommand()}
}

// newGroup is a command that only holds others.
func newGroup(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long + apiHelp,
		SuggestionsMinimumDistance: 2,
		Args:                       knownCommand,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// apiCommand is one call of a command that asks a server.
type apiCommand struct {
	*endpoint
	cmd   *cobra.Command
	args  []string
	flags *apiFlags
	json  bool
}

// newAPICommand makes a command that asks a server. run gets the server; with
// output it has the flag -o.
func newAPICommand(cmd *cobra.Command, output bool, run func(*apiCommand) error) *cobra.Command {
	c := &apiCommand{cmd: cmd, flags: &apiFlags{}}
	format := "text"
	c.flags.add(cmd.Flags(), "")
	if output {
		cmd.Flags().StringVarP(&format, "output", "o", "text", "print `FORMAT`: text or json")
	}
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if format != "text" && format != "json" {
			return usageError{fmt.Errorf("--output is text or json, not %q", format)}
		}
		c.json, c.args = format == "json", args
		return c.flags.withAPI(cmd, false, func(e *endpoint) error {
			c.endpoint = e
			return run(c)
		})
	}
	return cmd
}

// print writes a result to standard output: as JSON, or as text prints it.
func (c *apiCommand) print(result any, text func(io.Writer)) error {
	if c.json {
		return printJSON(c.cmd.OutOrStdout(), result)
	}
	w := &stickyWriter{w: c.cmd.OutOrStdout()}
	text(w)
	return w.err
}

// secret prints one alone on standard output, for programs; with -o json the
// result has it.
func (c *apiCommand) secret(result any, secret string) error {
	return c.print(result, func(w io.Writer) { fmt.Fprintln(w, secret) })
}

// note tells a person something on standard error.
func (c *apiCommand) note(format string, args ...any) {
	fmt.Fprintf(c.cmd.ErrOrStderr(), format+"\n", args...)
}

// parseID reads the id of a rule or token.
func parseID(s string) (int64, error) {
	id, err := strconv.ParseInt(s, 10, 64)
	if err != nil || id < 1 {
		return 0, usageError{fmt.Errorf("%q is not an id: 'list' shows them, such as 12", s)}
	}
	return id, nil
}

// parseSpan reads a duration that may have days and weeks, such as 90d or 12h.
func parseSpan(s string) (time.Duration, error) {
	for unit, length := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			if n, err := strconv.ParseUint(number, 10, 16); err == nil {
				return time.Duration(n) * length, nil
			}
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is neither a time such as 90d or 12h, nor a date such as 2027-03-31", s)
	}
	return d, nil
}

// parseEnd reads when something ends: a time from now, or a date, which is
// included. nil is never.
func parseEnd(s string, now time.Time) (*time.Time, error) {
	if s == "" {
		return nil, nil
	}
	if t, err := parseDate(s, now, 1); err == nil {
		return &t, nil
	}
	d, err := parseSpan(s)
	if err != nil {
		return nil, err
	}
	t := now.Add(d)
	return &t, nil
}

// parseStart reads since when: a time before now, or a date. nil is always.
func parseStart(s string, now time.Time) (*time.Time, error) {
	if s == "" {
		return nil, nil
	}
	if t, err := parseDate(s, now, 0); err == nil {
		return &t, nil
	}
	d, err := parseSpan(s)
	if err != nil {
		return nil, err
	}
	t := now.Add(-d)
	return &t, nil
}

// parseDate reads a moment, or the beginning of a day, days later.
func parseDate(s string, now time.Time, days int) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	t, err := time.ParseInLocation(time.DateOnly, s, now.Location())
	return t.AddDate(0, 0, days), err
}

// momentText is a time in a table; "never" where there is none.
func momentText(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.Local().Format("2006-01-02 15:04")
}

func dash(s string) string { return cmp.Or(s, "-") }
