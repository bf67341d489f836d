package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"slipway/internal/remote"
	"slipway/internal/trust"
)

// trustOptions are the flags of trust.
type trustOptions struct {
	fingerprint string
	yes         bool
	tools       []string
	system      bool
	undo        bool
	dryRun      bool
	caFile      string
	kubernetes  bool
	withLogin   bool
	namespace   string
	output      string
	root        string
}

func newTrustCommand() *cobra.Command {
	o := &trustOptions{}
	cmd := &cobra.Command{
		Use:   "trust HOST[:PORT]",
		Short: "Make this machine's container tools trust a registry",
		Long: `Make the container tools of this machine trust a registry whose certificate
comes from an authority of its own, as that of 'slipway serve' does. No tool's
daemon.json changes, and Docker and Podman need no restart.

It fetches the authority's certificate, shows its fingerprint and asks. Compare
the fingerprint with what the server printed at its start: who is in between
could send another. In scripts, --fingerprint says which one it must be.

It writes for what is installed here, as root for root's programs, as a user for
the user's own. What it cannot do itself, such as a restart, it prints.

With -o json: {"host", "authority": {"subject", "fingerprint", "expires"},
"dryRun", "steps": [{"tool", "files": [{"path", "action", "why", "content",
"done"}], "restart", "run", "todo", "note", "failed"}], "warnings"}; action is
write, keep, remove or leave.`,
		Example: `  slipway trust registry.lan:5000
  slipway trust registry.lan:5000 --fingerprint sha256:… --for docker,podman
  slipway trust registry.lan:5000 --dry-run
  slipway trust registry.lan:5000 --undo
  slipway trust registry.lan:5000 --kubernetes | kubectl apply -f -`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("give one registry; it is used as '%s'", cmd.UseLine())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&o.fingerprint, "fingerprint", "", "trust only the authority with this `FINGERPRINT`, without asking")
	f.BoolVarP(&o.yes, "yes", "y", false, "trust whatever authority comes, without asking")
	f.StringSliceVar(&o.tools, "for", nil, "only these `TOOLS`: "+strings.Join(trust.Tools(), ", "))
	f.BoolVar(&o.system, "system", false, "also put the authority among the system's, which vouch for every name")
	f.BoolVar(&o.undo, "undo", false, "take back what trust wrote for this registry")
	f.BoolVar(&o.dryRun, "dry-run", false, "only print what would be written")
	f.StringVar(&o.caFile, "ca-file", "", "trust the certificate in `FILE` instead of asking the registry for it")
	f.BoolVar(&o.kubernetes, "kubernetes", false, "write nothing; print YAML that makes a cluster's nodes trust the registry")
	f.BoolVar(&o.withLogin, "with-login", false, "with --kubernetes: also print a pull secret, with the password that 'docker login' stored")
	f.StringVar(&o.namespace, "namespace", "default", "with --with-login: the `NAMESPACE` of the pull secret")
	f.StringVarP(&o.output, "output", "o", "text", "print `FORMAT`: text or json")
	f.StringVar(&o.root, "root", "", "write below `DIR`, for a machine that is being made")
	_ = f.MarkHidden("root") // it exists
	return cmd
}

// trustResult is what trust did, or would do.
type trustResult struct {
	Host      string          `json:"host"`
	Authority *trustAuthority `json:"authority,omitempty"`
	DryRun    bool            `json:"dryRun"`
	*trust.Plan
}

type trustAuthority struct {
	Subject     string    `json:"subject"`
	Fingerprint string    `json:"fingerprint"`
	Expires     time.Time `json:"expires"`
}

func (o *trustOptions) run(cmd *cobra.Command, registry string) error {
	host, err := trust.ParseHost(registry)
	if err != nil {
		return usageError{err}
	}
	if err := o.check(); err != nil {
		return usageError{err}
	}
	machine, err := trust.ThisMachine(o.root)
	if err != nil {
		return err
	}
	if o.undo {
		plan, err := machine.PlanUndo(host, o.chosen())
		if err != nil {
			return err
		}
		return o.finish(cmd, machine, &trustResult{Host: host.String(), DryRun: o.dryRun, Plan: plan})
	}
	authority, err := o.authority(cmd, host)
	if err != nil || authority == nil {
		return err
	}
	if o.kubernetes {
		return o.printKubernetes(cmd.Context(), cmd.OutOrStdout(), host, authority)
	}
	plan, err := machine.Plan(host, authority, o.chosen())
	if err != nil {
		return err
	}
	if o.system && len(o.tools) == 0 {
		more, err := machine.Plan(host, authority, []string{"system"})
		if err != nil {
			return err
		}
		plan.Steps = append(plan.Steps, more.Steps...)
	}
	return o.finish(cmd, machine, &trustResult{host.String(),
		&trustAuthority{authority.Subject(), authority.Fingerprint(), authority.Expires()}, o.dryRun, plan})
}

func (o *trustOptions) check() error {
	switch {
	case o.output != "text" && o.output != "json":
		return fmt.Errorf("--output is text or json, not %q", o.output)
	case o.undo && (o.fingerprint != "" || o.caFile != "" || o.kubernetes):
		return errors.New("--undo goes with --for, --dry-run and --output alone: it asks no server")
	case o.withLogin && !o.kubernetes:
		return errors.New("--with-login is for --kubernetes")
	}
	for _, tool := range o.tools {
		if !slices.Contains(trust.Tools(), tool) {
			return fmt.Errorf("--for: there is no tool %q; choose of %s", tool, strings.Join(trust.Tools(), ", "))
		}
	}
	if o.fingerprint != "" {
		var err error
		if o.fingerprint, err = trust.ParseFingerprint(o.fingerprint); err != nil {
			return err
		}
	}
	return nil
}

func (o *trustOptions) chosen() []string {
	if o.system && len(o.tools) > 0 {
		return append(append([]string{}, o.tools...), "system")
	}
	return o.tools
}

// authority is the registry's, after a person or --fingerprint said that it is
// the right one, and after the registry proved to have a certificate of it. It
// is nil if there is nothing to trust.
func (o *trustOptions) authority(cmd *cobra.Command, host trust.Host) (*trust.Authority, error) {
	var given *trust.Authority
	if o.caFile != "" {
		text, err := os.ReadFile(o.caFile)
		if err != nil {
			return nil, err
		}
		if given, err = trust.NewAuthority(text); err != nil {
			return nil, fmt.Errorf("%s: %w", o.caFile, err)
		}
	}
	offer, err := trust.Fetch(cmd.Context(), host, given)
	if err != nil {
		return nil, err
	}
	if offer.Known {
		fmt.Fprintf(cmd.ErrOrStderr(), "This machine trusts %s already: a public authority signed its certificate. Nothing is to be done.\n", host)
		return nil, nil
	}
	a := offer.Authority
	if o.fingerprint != "" && o.fingerprint != a.Fingerprint() {
		return nil, fmt.Errorf("%s has another authority than the one to be trusted; nothing was written\n  expected %s\n  got      %s\n"+
			"somebody may be in between, or the server has a new authority: compare with what it printed at its start", host, o.fingerprint, a.Fingerprint())
	}
	if err := trust.Verify(cmd.Context(), host, a); err != nil {
		return nil, err
	}
	describe(cmd.ErrOrStderr(), host, offer)
	if o.fingerprint != "" || o.yes || o.dryRun {
		return a, nil
	}
	return a, confirm(cmd, host)
}

func describe(w io.Writer, host trust.Host, offer *trust.Offer) {
	a := offer.Authority
	fmt.Fprintf(w, "Authority of %s, from %s\n", host, offer.Source)
	table(w, [][]string{
		{"  Subject:", a.Subject()},
		{"  Expires:", a.Expires().Format(time.DateOnly)},
		{"  Fingerprint:", a.Fingerprint()},
		{"  Server is:", strings.Join(offer.Names, ", ")},
	})
	if a.SelfSigned() {
		fmt.Fprintf(w, "The server signed this itself: it has to be trusted again when it is renewed, at the latest on %s.\n", a.Expires().Format(time.DateOnly))
	}
}

// confirm asks a person. Without one there has to be a flag.
func confirm(cmd *cobra.Command, host trust.Host) error {
	if !isatty.IsTerminal(os.Stdin.Fd()) {
		return errors.New("nobody is there to say that this fingerprint is the server's: compare it with what the server printed, " +
			"and give that one with --fingerprint; or trust whatever comes, with --yes; nothing was written")
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Is that the fingerprint which the server printed, and shall this machine trust %s? [y/N] ", host)
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("not confirmed; nothing was written")
}

func (o *trustOptions) printKubernetes(ctx context.Context, w io.Writer, host trust.Host, a *trust.Authority) error {
	var login *trust.Login
	if o.withLogin {
		var err error
		if login, err = storedLogin(ctx, host); err != nil {
			return err
		}
	}
	_, err := w.Write(trust.Kubernetes(host, a, o.namespace, login))
	return err
}

// storedLogin is what 'docker login', or Podman's, stored for a registry.
func storedLogin(ctx context.Context, host trust.Host) (*trust.Login, error) {
	registry, err := name.NewRegistry(host.String())
	if err != nil {
		return nil, err
	}
	stored, err := authn.Resolve(ctx, authn.DefaultKeychain, registry)
	if err != nil {
		return nil, fmt.Errorf("read the login for %s: %w", host, err)
	}
	config, err := authn.Authorization(ctx, stored)
	if err != nil {
		return nil, fmt.Errorf("read the login for %s: %w", host, err)
	}
	if config.Username == "" || config.Password == "" {
		return nil, fmt.Errorf("no name and password are stored for %s: run 'docker login %s' first", host, host)
	}
	return &trust.Login{Username: config.Username, Password: config.Password}, nil
}

// finish applies a plan and prints it.
func (o *trustOptions) finish(cmd *cobra.Command, machine *trust.Machine, result *trustResult) error {
	var failed error
	if !o.dryRun {
		failed = machine.Apply(cmd.Context(), result.Plan)
	}
	if !o.undo && !slices.ContainsFunc(result.Steps, func(s trust.Step) bool { return len(s.Files) > 0 }) {
		failed = errors.New("nothing was written: do what stands above")
	}
	if o.output == "json" {
		return errors.Join(printJSON(cmd.OutOrStdout(), result), failed)
	}
	w := &stickyWriter{w: cmd.OutOrStdout()}
	result.print(w)
	switch {
	case o.undo && len(result.Steps) == 0:
		fmt.Fprintf(w, "There is nothing that trust wrote for %s.\n", result.Host)
	case !o.undo && !o.dryRun && failed == nil:
		fmt.Fprintf(w, "%s answers with a certificate of this authority.\n", result.Host)
	}
	return errors.Join(w.err, failed)
}

// print shows the steps for people.
func (r *trustResult) print(w io.Writer) {
	undone := map[trust.Action]string{trust.Write: "did not write", trust.Keep: "there already:", trust.Remove: "did not remove", trust.Leave: "left"}
	if r.DryRun {
		undone[trust.Write], undone[trust.Remove], undone[trust.Leave] = "would write", "would remove", "would leave"
	}
	done := map[trust.Action]string{trust.Write: "wrote", trust.Remove: "removed"}
	for _, s := range r.Steps {
		fmt.Fprintln(w, s.Tool)
		for _, f := range s.Files {
			said := undone
			if f.Done {
				said = done
			}
			fmt.Fprintf(w, "  %s %s", said[f.Action], f.Path)
			if f.Why != "" {
				fmt.Fprintf(w, " (%s)", remote.CleanText(f.Why))
			}
			fmt.Fprintln(w)
			if r.DryRun && f.Action == trust.Write {
				fmt.Fprintln(w, "    | "+strings.ReplaceAll(strings.TrimRight(f.Content, "\n"), "\n", "\n    | "))
			}
		}
		if s.Failed != "" {
			continue // that is the command's error
		}
		if s.Restart != "" {
			fmt.Fprintf(w, "  restart needed: %s\n", s.Restart)
		}
		if len(s.Run) > 0 {
			did := "ran"
			if r.DryRun {
				did = "would run"
			}
			fmt.Fprintf(w, "  %s %s\n", did, strings.Join(s.Run, " "))
		}
		for _, todo := range s.Todo {
			fmt.Fprintf(w, "  to do: %s\n", strings.ReplaceAll(todo, "\n", "\n      "))
		}
		if s.Note != "" && s.Changes() {
			fmt.Fprintf(w, "  %s\n", s.Note)
		}
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
}
