//go:build unix

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"slipway/internal/auth"
	"slipway/internal/rest"
)

// closing is one walk from a server that is open to one that is closed.
type closing struct {
	*apiCommand
	in          *bufio.Reader // answers of a person; nil: nobody is asked
	data        string
	days        int
	networks    []string // whose clients may go on pushing without a login
	graceRepos  []string // to where
	until       string
	end         *time.Time
	keepPull    []string // where everybody may pull for good
	admin       string
	dryRun, yes bool
}

func newSecureCommand() *cobra.Command {
	s := &closing{}
	cmd := &cobra.Command{
		Use:   "secure",
		Short: "Close a server that everybody may push to, without locking anybody out",
		Long: `Prepare a server that was open, as with --anonymous push or --http allow, to be
closed: show who pushed lately and from where, make sure that there is an
administrator, let chosen networks go on pushing to chosen repositories without
a login until a date, and say what is left to do. Each use of what a network may
is in the audit log.

It runs on the server's machine, while the server runs or not, changes nothing
about how the server is started, and may run again: what is there already stays.
On a terminal it asks for what no flag says.`,
		Example: `  slipway secure --data /var/lib/slipway
  slipway secure --data /var/lib/slipway --dry-run
  slipway secure --data /var/lib/slipway --grace-network 10.0.0.0/8 --grace-repositories 'team/**' \
      --until 2026-12-31 --keep-pull 'public/**'`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&s.data, "data", os.Getenv("SLIPWAY_DATA"), "data folder of the server on this machine (default $SLIPWAY_DATA)")
	f.IntVar(&s.days, "days", 14, "show who pushed in the last so many days")
	f.StringSliceVar(&s.networks, "grace-network", nil, "a `NETWORK` such as 10.0.0.0/8 whose clients may go on pushing and pulling without a login until --until; may be repeated")
	f.StringSliceVar(&s.graceRepos, "grace-repositories", nil, "the repositories that they may go on with, as a `GLOB` such as 'team/**'; may be repeated")
	f.StringVar(&s.until, "until", "", "when that ends: a day such as 2026-12-31, which is included, or a time such as 30d")
	f.StringSliceVar(&s.keepPull, "keep-pull", nil, "repositories that everybody may go on pulling from, for good, as a `GLOB` such as 'public/**'; may be repeated")
	f.StringVar(&s.admin, "admin", "admin", "name of the administrator that is made if there is none")
	f.BoolVar(&s.dryRun, "dry-run", false, "only say what would be done")
	f.BoolVarP(&s.yes, "yes", "y", false, "do it without asking")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if s.data == "" {
			return usageError{errors.New("name the server's data folder with --data DIR")}
		}
		if s.days < 1 {
			return usageError{fmt.Errorf("--days is %d: it must be at least 1", s.days)}
		}
		if isatty.IsTerminal(os.Stdin.Fd()) && !s.yes {
			s.in = bufio.NewReader(cmd.InOrStdin())
		}
		if err := s.check(); err != nil {
			return usageError{err}
		}
		return withLocalAPI(cmd.Context(), s.data, false, func(e *endpoint) error {
			s.apiCommand = &apiCommand{endpoint: e, cmd: cmd, flags: &apiFlags{}}
			w := &stickyWriter{w: cmd.OutOrStdout()}
			return errors.Join(s.run(w), w.err)
		})
	}
	return cmd
}

// check reads what was given, before anything is done.
func (s *closing) check() error {
	for _, n := range s.networks {
		if _, err := auth.ParseSubject("network:" + n); err != nil {
			return fmt.Errorf("--grace-network: %w", err)
		}
	}
	for name, globs := range map[string][]string{"--grace-repositories": s.graceRepos, "--keep-pull": s.keepPull} {
		for _, g := range globs {
			if _, err := auth.ParseGlob(g); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if err := auth.CheckName(s.admin); err != nil {
		return fmt.Errorf("--admin: %w", err)
	}
	var err error
	if s.end, err = parseEnd(s.until, time.Now()); err != nil {
		return fmt.Errorf("--until: %w", err)
	}
	switch given := len(s.networks) > 0; {
	case !given && (len(s.graceRepos) > 0 || s.until != "") && s.in == nil:
		return errors.New("--grace-repositories and --until are about the networks of --grace-network: give one")
	case given && len(s.graceRepos) == 0 && s.in == nil:
		return errors.New("--grace-network needs --grace-repositories: to which repositories may the network go on pushing?")
	case given && s.end == nil && s.in == nil:
		return errors.New("--grace-network needs --until: whoever is in a network needs no login, so that has to end")
	case s.end != nil && !s.end.After(time.Now()):
		return fmt.Errorf("--until is %s, which is over", s.until)
	}
	return nil
}

// run is the walk. Rules come before the administrator: a server that is open
// only until there are accounts closes with the first one, and what may go on
// must hold by then.
func (s *closing) run(w io.Writer) error {
	now, err := s.observe()
	if err != nil {
		return err
	}
	now.print(w, s)
	if s.in != nil {
		if err := s.ask(now); err != nil {
			return err
		}
	}
	rules := s.newRules(now.rules)
	s.printPlan(w, now, rules)
	switch {
	case s.dryRun:
		fmt.Fprintln(w, "\nNothing was changed: this was a dry run.")
		return nil
	case s.in != nil:
		if ok, err := s.confirm("Do that?"); err != nil || !ok {
			return errors.Join(err, errors.New("not confirmed; nothing was changed"))
		}
	}
	fmt.Fprintln(w)
	for _, r := range rules {
		rule, err := ask[rest.Rule](s.endpoint, "add rule", func(c *rest.Client) (*http.Response, error) { return c.CreateRule(s.cmd.Context(), r) })
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "Added rule %d: %s may %s in %s\n", rule.Id, rule.Subject, strings.Join(rule.Actions, ","), rule.Repositories)
	}
	if now.administrator == "" {
		if err := s.makeAdmin(w); err != nil {
			return err
		}
	}
	return s.printRest(w, now)
}

// sameEnd is by how much a rule may end earlier than was asked for and count as
// there: a time such as 30d is another moment when the command runs again.
const sameEnd = time.Hour

// newRules are those that are not there yet.
func (s *closing) newRules(have []rest.Rule) (list []rest.NewRule) {
	add := func(subject, repositories, note string, end *time.Time, actions ...string) {
		parsed, _ := auth.ParseSubject(subject) // was checked
		subject = parsed.String()
		if slices.ContainsFunc(have, func(r rest.Rule) bool {
			return r.Subject == subject && r.Repositories == repositories && !slices.ContainsFunc(actions, func(a string) bool { return !slices.Contains(r.Actions, a) }) &&
				(r.ExpiresAt == nil || (end != nil && !r.ExpiresAt.Before(end.Add(-sameEnd))))
		}) {
			return
		}
		r := rest.NewRule{Subject: subject, Repositories: repositories, ExpiresAt: end, Note: &note}
		for _, a := range actions {
			r.Actions = append(r.Actions, rest.NewRuleActions(a))
		}
		list = append(list, r)
	}
	for _, network := range s.networks {
		for _, glob := range s.graceRepos {
			add("network:"+network, glob, "slipway secure: until its clients log in", s.end, string(auth.Pull), string(auth.Push))
		}
	}
	for _, glob := range s.keepPull {
		add("anyone", glob, "slipway secure: open for pulling as before", nil, string(auth.Pull))
	}
	return list
}

func (s *closing) makeAdmin(w io.Writer) error {
	password := newPassword()
	u, err := ask[rest.User](s.endpoint, "make user "+s.admin, func(c *rest.Client) (*http.Response, error) {
		return c.CreateUser(s.cmd.Context(), rest.NewUser{Name: s.admin, Password: &password, Groups: &[]string{auth.GroupAdmins}})
	})
	if err != nil {
		return fmt.Errorf("%w; the rules above were added: run this again with --admin and another name, or 'slipway user groups %s %s --data %s'", err, s.admin, auth.GroupAdmins, s.data)
	}
	fmt.Fprintf(w, "Made the user %s, an administrator. Its password, which is shown this once: %s\n", u.Name, password)
	return nil
}
