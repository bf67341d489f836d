package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"slipway/internal/remote"
)

// registryCommands are the commands that work on any registry.
func registryCommands() []*cobra.Command {
	return []*cobra.Command{
		newCatalogCommand(),
		newTagsCommand(),
		newInspectCommand(),
		newHistoryCommand(),
		newRmCommand(),
		newTagCommand(),
		newCpCommand(),
		newPullCommand(),
		newPushCommand(),
		newImportCommand(),
	}
}

// registryFlags are what these commands have in common.
type registryFlags struct {
	plainHTTP bool
	insecure  bool
	quiet     bool
	output    string
}

const registryHelp = `

Credentials are Docker's: 'docker login' stores them in config.json or in a
credential helper; without that file, Podman's auth.json or the file that
REGISTRY_AUTH_FILE names is read. Plain HTTP is tried by itself only on this
machine's own addresses.`

// newRegistryCommand makes a command with the shared flags. run gets the
// client; its progress is closed when it returns.
func newRegistryCommand(use, short, long, example string, args cobra.PositionalArgs, run func(*session) error) *cobra.Command {
	f := &registryFlags{}
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long + registryHelp, Example: example,
		Args: func(cmd *cobra.Command, given []string) error {
			if err := args(cmd, given); err != nil {
				return usageError{fmt.Errorf("%w; it is used as '%s'", err, cmd.UseLine())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args, run) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.output, "output", "o", "text", "print `FORMAT`: text or json")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "no progress")
	flags.BoolVar(&f.plainHTTP, "plain-http", false, "also try HTTP without TLS")
	flags.BoolVar(&f.insecure, "insecure", false, "accept any TLS certificate")
	return cmd
}

// withJobs adds --jobs to a command that transfers blobs.
func withJobs(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().Int("jobs", remote.DefaultJobs, "transfer `N` blobs at once")
	return cmd
}

// session is one run of a command.
type session struct {
	*remote.Client
	cmd  *cobra.Command
	args []string
	json bool
	// settle ends the progress display, so that what follows stands below it.
	settle func()
}

func (f *registryFlags) run(cmd *cobra.Command, args []string, run func(*session) error) error {
	if f.output != "text" && f.output != "json" {
		return usageError{fmt.Errorf("--output is text or json, not %q", f.output)}
	}
	jobs := remote.DefaultJobs
	if flag := cmd.Flags().Lookup("jobs"); flag != nil {
		jobs, _ = cmd.Flags().GetInt("jobs")
		if jobs < 1 {
			return usageError{fmt.Errorf("--jobs must be at least 1, not %d", jobs)}
		}
	}
	progress, settle := newProgress(cmd.ErrOrStderr(), f.quiet)
	defer settle()
	client, err := remote.New(remote.Options{
		PlainHTTP: f.plainHTTP, SkipVerify: f.insecure, Roots: trustedRoots, Jobs: jobs,
		UserAgent: "slipway/" + strings.Trim(slipwayVersion(), "()"), Progress: progress,
	})
	if err != nil {
		return err
	}
	err = run(&session{Client: client, cmd: cmd, args: args, json: f.output == "json", settle: settle})
	if errors.Is(err, remote.ErrInvalid) {
		return usageError{err}
	}
	return err
}

// print writes a result to standard output: as JSON, or as text prints it.
func (s *session) print(result any, text func(w io.Writer)) error {
	s.settle()
	out := s.cmd.OutOrStdout()
	if s.json {
		return printJSON(out, result)
	}
	w := &stickyWriter{w: out}
	text(w)
	return w.err
}

// printJSON writes a result for programs.
func printJSON(w io.Writer, result any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(result)
}

// note tells a person something on standard error.
func (s *session) note(format string, args ...any) {
	s.settle()
	fmt.Fprintf(s.cmd.ErrOrStderr(), format+"\n", args...)
}

// stickyWriter remembers its first failure, so printing need not check each line.
type stickyWriter struct {
	w   io.Writer
	err error
}

func (s *stickyWriter) Write(p []byte) (int, error) {
	if s.err != nil {
		return len(p), nil
	}
	_, s.err = s.w.Write(p)
	return len(p), nil
}

// table lays rows out in columns. Cells are cleaned of control characters.
func table(w io.Writer, rows [][]string) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = remote.CleanText(row[i])
		}
		fmt.Fprintln(tw, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	tw.Flush()
}

// humanSize gives bytes in units of 1000, as registries and docker do.
func humanSize(n int64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	size, unit := float64(n)/1000, 0
	for size >= 999.95 && unit < len(units)-1 {
		size /= 1000
		unit++
	}
	return fmt.Sprintf("%.1f %cB", size, units[unit])
}

// shortDigest is enough of a digest to tell the rows of a table apart.
func shortDigest(d string) string {
	if i := strings.Index(d, ":"); i >= 0 && len(d) > i+13 {
		return d[:i+13]
	}
	return d
}

// age says how long ago t was, in its largest unit.
func age(t *time.Time, now time.Time) string {
	if t == nil {
		return "-"
	}
	d := now.Sub(*t)
	for _, u := range []struct {
		name string
		span time.Duration
	}{{"year", 365 * 24 * time.Hour}, {"month", 30 * 24 * time.Hour}, {"week", 7 * 24 * time.Hour}, {"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}} {
		if n := int64(d / u.span); n == 1 {
			return "1 " + u.name + " ago"
		} else if n > 1 {
			return fmt.Sprintf("%d %ss ago", n, u.name)
		}
	}
	return "just now"
}
