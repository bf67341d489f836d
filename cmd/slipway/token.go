//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway/internal/rest"
)

func newTokenCommand() *cobra.Command {
	return newGroup("token", "Tokens: what programs log in with in place of a password",
		`Make and revoke tokens of users and robots. A token may do what its owner may,
within its scopes, until it expires or is revoked. Clients use it as a password,
with its owner's name or the name token; Slipway's own commands take it from
SLIPWAY_TOKEN. Everybody may make tokens for themselves.`,
		newTokenCreateCommand(), newTokenListCommand(), newTokenRevokeCommand())
}

// ownerFlags say whose tokens are meant.
type ownerFlags struct{ robot, user string }

func (o *ownerFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.robot, "robot", "", "of the robot `NAME`")
	cmd.Flags().StringVar(&o.user, "user", "", "of the user `NAME` (default: of who asks)")
}

// owner is nil for who asks.
func (o *ownerFlags) owner() (*string, error) {
	owner := ""
	switch {
	case o.robot != "" && o.user != "":
		return nil, usageError{errors.New("--robot and --user exclude each other: a token has one owner")}
	case o.robot != "":
		owner = "robot:" + o.robot
	case o.user != "":
		owner = "user:" + o.user
	default:
		return nil, nil
	}
	return &owner, nil
}

func newTokenCreateCommand() *cobra.Command {
	var o ownerFlags
	var name, expires string
	var scopes []string
	cmd := &cobra.Command{
		Use:   "create --name NAME",
		Short: "Make a token, and print it this once",
		Long: `Make a token. Its secret is printed alone on standard output, what else there is
to say on standard error; the server keeps no more than its hash.

A scope is ACTIONS:REPOSITORIES, such as pull,push:team/**; the actions are pull,
push, delete, build, admin or * for all. Without scopes the token may do what its
owner may.` + apiHelp,
		Example: `  slipway token create --name laptop --expires 90d
  slipway token create --name runner --robot ci --scope 'pull,push:team/**'
  slipway token create --name runner --robot ci --data /var/lib/slipway > token`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	o.add(cmd)
	f.StringVar(&name, "name", "", "where the token is used")
	f.StringArrayVar(&scopes, "scope", nil, "allow no more than `ACTIONS:REPOSITORIES`; may be repeated")
	f.StringVar(&expires, "expires", "", "end after a time such as 90d, or with a day such as 2027-03-31 (default never)")
	return newAPICommand(cmd, true, func(c *apiCommand) error {
		end, err := parseEnd(expires, time.Now())
		if err != nil {
			return usageError{fmt.Errorf("--expires: %w", err)}
		}
		if name == "" {
			return usageError{errors.New("say where the token is used, with --name NAME: it is how you know which one to revoke")}
		}
		owner, err := o.owner()
		if err != nil {
			return err
		}
		request := rest.NewToken{Name: name, Owner: owner, ExpiresAt: end}
		if len(scopes) > 0 {
			request.Scopes = &scopes
		}
		made, err := ask[rest.CreatedToken](c.endpoint, "create token", func(r *rest.Client) (*http.Response, error) { return r.CreateToken(cmd.Context(), request) })
		if err != nil {
			return err
		}
		t := made.Token
		c.note("Token %d of %s, %s, ends: %s. Its secret is shown this once:", t.Id, t.Owner, scopesText(t.Scopes), momentText(t.ExpiresAt))
		return c.secret(made, made.Secret)
	})
}

func scopesText(scopes []string) string {
	if len(scopes) == 0 {
		return "for all that its owner may"
	}
	return "for " + strings.Join(scopes, " ")
}

func newTokenListCommand() *cobra.Command {
	var o ownerFlags
	cmd := &cobra.Command{Use: "list", Short: "List the tokens of an account", Args: cobra.NoArgs}
	o.add(cmd)
	return newAPICommand(cmd, true, func(c *apiCommand) error {
		owner, err := o.owner()
		if err != nil {
			return err
		}
		list, err := ask[rest.Tokens](c.endpoint, "list tokens", func(r *rest.Client) (*http.Response, error) {
			return r.ListTokens(cmd.Context(), &rest.ListTokensParams{Owner: owner})
		})
		if err != nil {
			return err
		}
		return c.print(list.Tokens, func(w io.Writer) {
			rows := [][]string{{"ID", "NAME", "OWNER", "SCOPES", "STATE", "EXPIRES", "LAST USE"}}
			for _, t := range list.Tokens {
				rows = append(rows, []string{strconv.FormatInt(t.Id, 10), t.Name, t.Owner, dash(strings.Join(t.Scopes, " ")), tokenState(t, time.Now()), momentText(t.ExpiresAt), momentText(t.UsedAt)})
			}
			table(w, rows)
		})
	})
}

func tokenState(t rest.Token, now time.Time) string {
	switch {
	case t.RevokedAt != nil:
		return "revoked"
	case t.ExpiresAt != nil && !now.Before(*t.ExpiresAt):
		return "expired"
	}
	return "valid"
}

func newTokenRevokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke ID...",
		Short: "End tokens, and whatever was logged in to with them",
		Args:  cobra.MinimumNArgs(1),
	}
	return newAPICommand(cmd, false, func(c *apiCommand) error {
		return c.each("revoke token", func(r *rest.Client, id int64) (*http.Response, error) { return r.RevokeToken(cmd.Context(), id) })
	})
}

// each makes a request for each id among the arguments.
func (c *apiCommand) each(op string, request func(*rest.Client, int64) (*http.Response, error)) error {
	ids := make([]int64, len(c.args))
	for i, arg := range c.args {
		var err error
		if ids[i], err = parseID(arg); err != nil {
			return err
		}
	}
	var failed error
	for _, id := range ids {
		_, err := ask[done](c.endpoint, op, func(r *rest.Client) (*http.Response, error) { return request(r, id) })
		failed = errors.Join(failed, err)
	}
	return failed
}
