//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"slipway/internal/rest"
)

func newLogsCommand() *cobra.Command {
	var api apiFlags
	var output, file string
	cmd := &cobra.Command{
		Use:   "logs PROJECT[/NUMBER]",
		Short: "Show the log of a build, or a report of its tests",
		Long: `Show the log that a run of a project left: the last one, or the one with a
number. --file shows another of its files, such as a report of a test; -o json
shows what it did with each target and lists its files.` + apiHelp,
		Example: `  slipway logs cool-app
  slipway logs cool-app/44
  slipway logs cool-app/44 -o json
  slipway logs cool-app/44 --file reports/test/src/junit.xml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			project, number, err := parseRun(args[0])
			if err != nil {
				return usageError{err}
			}
			if output != "text" && output != "json" {
				return usageError{fmt.Errorf("output is %q: use text or json", output)}
			}
			return api.withAPI(cmd, true, func(e *endpoint) error {
				return showRun(cmd.Context(), cmd.OutOrStdout(), e, project, number, file, output)
			})
		},
	}
	f := cmd.Flags()
	api.add(f, defaultDataDir())
	f.StringVar(&file, "file", "log", "which of the run's files to show")
	f.StringVarP(&output, "output", "o", "text", "text, or json: the run instead of its log")
	return cmd
}

func parseRun(s string) (project string, number int64, err error) {
	project, last, ok := strings.Cut(s, "/")
	if !ok {
		return project, 0, nil
	}
	number, err = strconv.ParseInt(last, 10, 64)
	if err != nil || number < 1 || project == "" {
		return "", 0, fmt.Errorf("%q is not PROJECT or PROJECT/NUMBER", s)
	}
	return project, number, nil
}

func showRun(ctx context.Context, w io.Writer, e *endpoint, project string, number int64, file, output string) error {
	if output == "json" {
		run, err := ask[rest.Run](e, "logs", func(c *rest.Client) (*http.Response, error) { return c.GetRun(ctx, project, number) })
		if err != nil {
			return err
		}
		return printJSON(w, run)
	}
	resp, err := e.send("logs", func(c *rest.Client) (*http.Response, error) { return c.GetRunFile(ctx, project, number, file) })
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	_, err = io.Copy(w, resp.Body)
	return err
}
