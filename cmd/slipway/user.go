//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"slipway/internal/auth"
	"slipway/internal/rest"
)

func newUserCommand() *cobra.Command {
	return newGroup("user", "Users: people who log in with a password",
		`Add, change and remove the users of a server. Who is in the group admins may do
everything; everybody else what rules give them, see 'slipway policy'. Anybody
may change their own password.`,
		newUserAddCommand(), newUserListCommand(), newUserPasswdCommand(), newUserAbleCommand(true), newUserAbleCommand(false), newUserGroupsCommand(), newUserRmCommand())
}

// withPassword is a user and the password that was made for it.
type withPassword struct {
	rest.User
	Secret string `json:"generated_password,omitempty"`
}

// newUserPassword is the password that a command sets, and the same if it was
// made up, to be shown this once.
func newUserPassword(c *apiCommand, stdin bool) (password, shown string, err error) {
	if stdin {
		password, err = c.flags.password(c.cmd, true, "")
		return password, "", err
	}
	password = newPassword()
	return password, password, nil
}

func (c *apiCommand) userWithPassword(u rest.User, shown string) error {
	if shown == "" {
		return c.print(u, func(w io.Writer) { fmt.Fprintln(w, u.Name) })
	}
	c.note("The password of %s, which is shown this once:", u.Name)
	return c.secret(withPassword{u, shown}, shown)
}

func newUserAddCommand() *cobra.Command {
	var groups []string
	var stdin bool
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user, with a password that is made up and shown once",
		Example: `  slipway user add anna --group dev
  slipway user add root --group admins --password-stdin < password
  slipway user add anna --data /var/lib/slipway`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringArrayVar(&groups, "group", nil, "put the user into this `GROUP`; may be repeated; admins may do everything")
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read the user's password from a line of standard input")
	return newAPICommand(cmd, true, func(c *apiCommand) error {
		ctx := cmd.Context()
		before, err := ask[rest.Users](c.endpoint, "add user", func(r *rest.Client) (*http.Response, error) { return r.ListUsers(ctx) })
		if err != nil {
			return err
		}
		password, shown, err := newUserPassword(c, stdin)
		if err != nil {
			return err
		}
		u, err := ask[rest.User](c.endpoint, "add user", func(r *rest.Client) (*http.Response, error) {
			return r.CreateUser(ctx, rest.NewUser{Name: c.args[0], Password: &password, Groups: &groups})
		})
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(append(before.Users, u), isAdministrator) {
			c.note("The server asks for a login from now on, and nobody is its administrator: on its machine run 'slipway user add NAME --group %s --data DIR'.", auth.GroupAdmins)
		}
		return c.userWithPassword(u, shown)
	})
}

func isAdministrator(u rest.User) bool {
	return !u.Disabled && slices.Contains(u.Groups, auth.GroupAdmins)
}

func newUserListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the users", Args: cobra.NoArgs}
	return newAPICommand(cmd, true, func(c *apiCommand) error {
		list, err := ask[rest.Users](c.endpoint, "list users", func(r *rest.Client) (*http.Response, error) { return r.ListUsers(cmd.Context()) })
		if err != nil {
			return err
		}
		return c.print(list.Users, func(w io.Writer) {
			rows := [][]string{{"NAME", "GROUPS", "STATE", "LAST LOGIN"}}
			for _, u := range list.Users {
				state := "enabled"
				switch {
				case u.Disabled:
					state = "disabled"
				case !u.Password:
					state = "no password"
				}
				rows = append(rows, []string{u.Name, dash(strings.Join(u.Groups, ",")), state, momentText(u.UsedAt)})
			}
			table(w, rows)
		})
	})
}

// update changes a user.
func (c *apiCommand) update(op string, u rest.UserUpdate) (rest.User, error) {
	return ask[rest.User](c.endpoint, op, func(r *rest.Client) (*http.Response, error) {
		return r.UpdateUser(c.cmd.Context(), c.args[0], u)
	})
}

func newUserPasswdCommand() *cobra.Command {
	var stdin bool
	cmd := &cobra.Command{
		Use:   "passwd NAME",
		Short: "Give a user another password, which is made up and shown once",
		Long: `Give a user another password. Whoever had logged in with the old one has to log
in again; tokens stay as they are.

Who has lost the password of the last administrator runs this on the server's
machine with --data, while the server runs or not.` + apiHelp,
		Example: `  slipway user passwd anna --password-stdin < password
  slipway user passwd admin --data /var/lib/slipway`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read the new password from a line of standard input")
	return newAPICommand(cmd, true, func(c *apiCommand) error {
		password, shown, err := newUserPassword(c, stdin)
		if err != nil {
			return err
		}
		u, err := c.update("change the password", rest.UserUpdate{Password: &password})
		if err != nil {
			return err
		}
		if u.Disabled {
			c.note("%s is disabled and cannot log in: 'slipway user enable %s' changes that.", u.Name, u.Name)
		}
		return c.userWithPassword(u, shown)
	})
}

func newUserAbleCommand(disable bool) *cobra.Command {
	cmd := &cobra.Command{Use: "enable NAME", Short: "Let a user in again", Args: cobra.ExactArgs(1)}
	if disable {
		cmd.Use, cmd.Short = "disable NAME", "Shut a user out, with all tokens, until it is enabled"
	}
	return newAPICommand(cmd, true, func(c *apiCommand) error {
		u, err := c.update("change user", rest.UserUpdate{Disabled: &disable})
		if err != nil {
			return err
		}
		return c.print(u, func(w io.Writer) { fmt.Fprintln(w, u.Name) })
	})
}

func newUserGroupsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "groups NAME [GROUP]...",
		Short: "Put a user into these groups and no others",
		Args:  cobra.MinimumNArgs(1),
	}
	return newAPICommand(cmd, true, func(c *apiCommand) error {
		groups := append([]string{}, c.args[1:]...)
		u, err := c.update("change user", rest.UserUpdate{Groups: &groups})
		if err != nil {
			return err
		}
		return c.print(u, func(w io.Writer) { fmt.Fprintf(w, "%s: %s\n", u.Name, dash(strings.Join(u.Groups, ", "))) })
	})
}

func newUserRmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rm NAME...",
		Short: "Remove users with all of their tokens",
		Args:  cobra.MinimumNArgs(1),
	}
	return newAPICommand(cmd, false, func(c *apiCommand) error {
		var failed error
		for _, name := range c.args {
			_, err := ask[done](c.endpoint, "remove user", func(r *rest.Client) (*http.Response, error) { return r.DeleteUser(cmd.Context(), name) })
			if err == nil {
				err = c.rulesLeft("user:" + name)
			}
			failed = errors.Join(failed, err)
		}
		return failed
	})
}

// rulesLeft says which rules are about an account that is gone: an account of
// that name would have them.
func (c *apiCommand) rulesLeft(subject string) error {
	list, err := ask[rest.Rules](c.endpoint, "list rules", func(r *rest.Client) (*http.Response, error) { return r.ListRules(c.cmd.Context()) })
	for _, r := range list.Rules {
		if r.Subject == subject {
			c.note("Rule %d still names %s, and a new one of that name would have it: 'slipway policy rm %d' removes it.", r.Id, subject, r.Id)
		}
	}
	return err
}
