//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"slipway/internal/rest"
)

func newRobotCommand() *cobra.Command {
	return newGroup("robot", "Robots: accounts of programs, which log in with tokens",
		`Add and remove robots. A robot has no password: 'slipway token create --robot'
makes what it logs in with. It may do what rules give it, see 'slipway policy'.`,
		newRobotAddCommand(), newRobotListCommand(), newRobotAbleCommand(true), newRobotAbleCommand(false), newRobotRmCommand())
}

func newRobotAddCommand() *cobra.Command {
	var description string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a robot",
		Example: `  slipway robot add ci --description "the runner in the cellar"
  slipway policy add robot:ci pull,push 'team/**'
  slipway token create --robot ci --name runner`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&description, "description", "", "what it is for")
	return newAPICommand(cmd, true, func(c *apiCommand) error {
		robot, err := ask[rest.Robot](c.endpoint, "add robot", func(r *rest.Client) (*http.Response, error) {
			return r.CreateRobot(cmd.Context(), rest.NewRobot{Name: c.args[0], Description: &description})
		})
		if err != nil {
			return err
		}
		return c.print(robot, func(w io.Writer) { fmt.Fprintln(w, robot.Name) })
	})
}

func newRobotListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the robots", Args: cobra.NoArgs}
	return newAPICommand(cmd, true, func(c *apiCommand) error {
		list, err := ask[rest.Robots](c.endpoint, "list robots", func(r *rest.Client) (*http.Response, error) { return r.ListRobots(cmd.Context()) })
		if err != nil {
			return err
		}
		return c.print(list.Robots, func(w io.Writer) {
			rows := [][]string{{"NAME", "STATE", "LAST USE", "DESCRIPTION"}}
			for _, r := range list.Robots {
				state := "enabled"
				if r.Disabled {
					state = "disabled"
				}
				rows = append(rows, []string{r.Name, state, momentText(r.UsedAt), dash(r.Description)})
			}
			table(w, rows)
		})
	})
}

func newRobotAbleCommand(disable bool) *cobra.Command {
	cmd := &cobra.Command{Use: "enable NAME", Short: "Let a robot in again", Args: cobra.ExactArgs(1)}
	if disable {
		cmd.Use, cmd.Short = "disable NAME", "Shut a robot out, with all tokens, until it is enabled"
	}
	return newAPICommand(cmd, true, func(c *apiCommand) error {
		robot, err := ask[rest.Robot](c.endpoint, "change robot", func(r *rest.Client) (*http.Response, error) {
			return r.UpdateRobot(cmd.Context(), c.args[0], rest.RobotUpdate{Disabled: &disable})
		})
		if err != nil {
			return err
		}
		return c.print(robot, func(w io.Writer) { fmt.Fprintln(w, robot.Name) })
	})
}

func newRobotRmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rm NAME...",
		Short: "Remove robots with all of their tokens",
		Args:  cobra.MinimumNArgs(1),
	}
	return newAPICommand(cmd, false, func(c *apiCommand) error {
		var failed error
		for _, name := range c.args {
			_, err := ask[done](c.endpoint, "remove robot", func(r *rest.Client) (*http.Response, error) { return r.DeleteRobot(cmd.Context(), name) })
			if err == nil {
				err = c.rulesLeft("robot:" + name)
			}
			failed = errors.Join(failed, err)
		}
		return failed
	})
}
