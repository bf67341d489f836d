//go:build unix

package main

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway/internal/auth"
	"slipway/internal/remote"
	"slipway/internal/rest"
)

func newPolicyCommand() *cobra.Command {
	return newGroup("policy", "Rules: who may do what in which repositories",
		`Rules allow a subject some actions in some repositories. What no rule allows is
refused, except to the group admins; adding a rule never takes a right away.

  SUBJECT       user:NAME, group:NAME, robot:NAME, authenticated, anyone,
                network:ADDRESS/BITS, workload:issuer=NAME,CLAIM=VALUE
  ACTIONS       pull, push, delete, build, admin, joined by commas, or * for all;
                none includes another
  REPOSITORIES  a name, in which * stands for a part of one part of it and ** for
                any parts: team/app, team/*, team/**; ** alone for everything

Rules about tags hold for everybody who may push: see protect and immutable.`,
		newPolicyAddCommand(), newPolicyListCommand(), newPolicyRmCommand(), newPolicyCheckCommand(),
		newPolicyProtectCommand(), newPolicyImmutableCommand(), newPolicyUnprotectCommand())
}

func newPolicyAddCommand() *cobra.Command {
	var expires, note string
	cmd := &cobra.Command{
		Use:   "add SUBJECT ACTIONS REPOSITORIES",
		Short: "Allow something",
		Example: `  slipway policy add group:dev pull,push 'team/**'
  slipway policy add anyone pull 'public/**'
  slipway policy add robot:ci '*' team/app --expires 2027-03-31
  slipway policy add network:10.1.0.0/16 push 'old/**' --expires 30d --note "until the CI has a token"`,
		Args: cobra.ExactArgs(3),
	}
	cmd.Flags().StringVar(&expires, "expires", "", "end after a time such as 30d, or with a day such as 2027-03-31 (default never)")
	cmd.Flags().StringVar(&note, "note", "", "why, for whoever reads the rules")
	return newAPICommand(cmd, true, func(c *apiCommand) error {
		end, err := parseEnd(expires, time.Now())
		if err != nil {
			return usageError{fmt.Errorf("--expires: %w", err)}
		}
		actions, err := auth.ParseActions(c.args[1])
		if err != nil {
			return usageError{err}
		}
		request := rest.NewRule{Subject: c.args[0], Repositories: c.args[2], ExpiresAt: end, Note: &note}
		for _, a := range actions {
			request.Actions = append(request.Actions, rest.NewRuleActions(a))
		}
		rule, err := ask[rest.Rule](c.endpoint, "add rule", func(r *rest.Client) (*http.Response, error) { return r.CreateRule(cmd.Context(), request) })
		if err != nil {
			return err
		}
		return c.print(rule, func(w io.Writer) {
			fmt.Fprintf(w, "rule %d: %s may %s in %s\n", rule.Id, rule.Subject, strings.Join(rule.Actions, ","), rule.Repositories)
		})
	})
}

// allRules is what 'policy list' prints.
type allRules struct {
	Rules    []rest.Rule    `json:"rules"`
	TagRules []rest.TagRule `json:"tag_rules"`
}

func newPolicyListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the rules, and those about tags", Args: cobra.NoArgs}
	return newAPICommand(cmd, true, func(c *apiCommand) error {
		rules, err := ask[rest.Rules](c.endpoint, "list rules", func(r *rest.Client) (*http.Response, error) { return r.ListRules(cmd.Context()) })
		if err != nil {
			return err
		}
		tags, err := ask[rest.TagRules](c.endpoint, "list tag rules", func(r *rest.Client) (*http.Response, error) { return r.ListTagRules(cmd.Context()) })
		if err != nil {
			return err
		}
		return c.print(allRules{rules.Rules, tags.Rules}, func(w io.Writer) {
			rows := [][]string{{"ID", "SUBJECT", "ACTIONS", "REPOSITORIES", "EXPIRES", "NOTE"}}
			for _, r := range rules.Rules {
				rows = append(rows, []string{strconv.FormatInt(r.Id, 10), r.Subject, strings.Join(r.Actions, ","), r.Repositories, momentText(r.ExpiresAt), dash(r.Note)})
			}
			table(w, rows)
			if len(tags.Rules) > 0 {
				fmt.Fprintln(w)
				table(w, tagRows(tags.Rules))
			}
		})
	})
}

func tagRows(rules []rest.TagRule) [][]string {
	rows := [][]string{{"TAG RULE", "KIND", "REPOSITORIES", "TAGS", "MOVED BY", "NOTE"}}
	for _, r := range rules {
		movers := "nobody"
		if r.Kind == rest.TagRuleKindProtected || r.AdminOverride {
			movers = strings.Join(append([]string{"administrators"}, r.Movers...), ", ")
		}
		rows = append(rows, []string{strconv.FormatInt(r.Id, 10), string(r.Kind), r.Repositories, r.Tags, movers, dash(r.Note)})
	}
	return rows
}

func newPolicyRmCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "rm ID...", Short: "Remove rules: what they allowed is refused again", Args: cobra.MinimumNArgs(1)}
	return newAPICommand(cmd, false, func(c *apiCommand) error {
		return c.each("remove rule", func(r *rest.Client, id int64) (*http.Response, error) { return r.DeleteRule(cmd.Context(), id) })
	})
}

func newPolicyCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check SUBJECT ACTION [REPOSITORY]",
		Short: "Say whether somebody may do something, and which rule decides",
		Long: `Say whether somebody may do something, and which rule decides. The exit code is 0
if it is allowed and 1 if not. The subject is user:NAME, robot:NAME or
anonymous, with the groups that the account has now; or group:NAME, authenticated,
network:ADDRESS or workload:issuer=NAME,CLAIM=VALUE, for somebody of whom no more
is known. Without a repository it is about what belongs to none, such as the
server's settings.
Everybody may ask about themselves.` + apiHelp,
		Example: `  slipway policy check user:anna push team/app
  slipway policy check anonymous pull public/tool`,
		Args: cobra.RangeArgs(2, 3),
	}
	return newAPICommand(cmd, true, func(c *apiCommand) error {
		params := &rest.CheckPolicyParams{Subject: c.args[0], Action: rest.CheckPolicyParamsAction(c.args[1])}
		where := "what belongs to no repository"
		if len(c.args) == 3 {
			params.Repository, where = &c.args[2], c.args[2]
		}
		d, err := ask[rest.Decision](c.endpoint, "check", func(r *rest.Client) (*http.Response, error) { return r.CheckPolicy(cmd.Context(), params) })
		if err != nil {
			return err
		}
		if c.own {
			c.note("No server uses this data folder: what its setting 'anonymous' would allow is not counted.")
		}
		verdict := "denied"
		if d.Allowed {
			verdict = "allowed"
		}
		if err := c.print(d, func(w io.Writer) { fmt.Fprintf(w, "%s: %s\n", verdict, remote.CleanText(d.Why)) }); err != nil || d.Allowed {
			return err
		}
		return exitError{fmt.Errorf("%s may not %s in %s", c.args[0], c.args[1], where), exitFailure}
	})
}

// addTagRule adds a rule about tags and prints it.
func (c *apiCommand) addTagRule(request rest.NewTagRule) error {
	rule, err := ask[rest.TagRule](c.endpoint, "add tag rule", func(r *rest.Client) (*http.Response, error) { return r.CreateTagRule(c.cmd.Context(), request) })
	if err != nil {
		return err
	}
	return c.print(rule, func(w io.Writer) { table(w, tagRows([]rest.TagRule{rule})) })
}

func newPolicyProtectCommand() *cobra.Command {
	var movers []string
	var note string
	cmd := &cobra.Command{
		Use:   "protect REPOSITORIES TAGS",
		Short: "Let only chosen hands make, move and delete tags",
		Long: `Let only administrators and the movers make, move and delete tags. They still
need a rule that lets them push or delete.` + apiHelp,
		Example: `  slipway policy protect 'team/**' 'v*' --mover group:release --mover robot:ci`,
		Args:    cobra.ExactArgs(2),
	}
	cmd.Flags().StringArrayVar(&movers, "mover", nil, "a `SUBJECT` that may move them; may be repeated (default: administrators only)")
	cmd.Flags().StringVar(&note, "note", "", "why, for whoever reads the rules")
	return newAPICommand(cmd, true, func(c *apiCommand) error {
		request := rest.NewTagRule{Kind: rest.NewTagRuleKindProtected, Repositories: c.args[0], Tags: c.args[1], Note: &note}
		if len(movers) > 0 {
			request.Movers = &movers
		}
		return c.addTagRule(request)
	})
}

func newPolicyImmutableCommand() *cobra.Command {
	var override bool
	var note string
	cmd := &cobra.Command{
		Use:     "immutable REPOSITORIES TAGS",
		Short:   "Let nobody move or delete tags once they are made",
		Example: `  slipway policy immutable 'team/**' 'v*'`,
		Args:    cobra.ExactArgs(2),
	}
	cmd.Flags().BoolVar(&override, "admin-override", false, "let administrators move and delete them all the same")
	cmd.Flags().StringVar(&note, "note", "", "why, for whoever reads the rules")
	return newAPICommand(cmd, true, func(c *apiCommand) error {
		return c.addTagRule(rest.NewTagRule{Kind: rest.NewTagRuleKindImmutable, Repositories: c.args[0], Tags: c.args[1], AdminOverride: &override, Note: &note})
	})
}

func newPolicyUnprotectCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "unprotect ID...", Short: "Remove rules about tags, protecting and immutable ones", Args: cobra.MinimumNArgs(1)}
	return newAPICommand(cmd, false, func(c *apiCommand) error {
		return c.each("remove tag rule", func(r *rest.Client, id int64) (*http.Response, error) { return r.DeleteTagRule(cmd.Context(), id) })
	})
}
