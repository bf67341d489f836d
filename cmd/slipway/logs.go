//go:build unix

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"slipway/internal/auth"
	"slipway/internal/rest"
)

func newLogsCommand() *cobra.Command {
	var server, data, output, file string
	cmd := &cobra.Command{
		Use:   "logs PROJECT[/NUMBER]",
		Short: "Show the log of a build, or a report of its tests",
		Long: `Show the log that a run of a project left: the last one, or the one with a
number. --file shows another of its files, such as a report of a test; -o json
shows what it did with each target and lists its files.`,
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
			if server != "" && !cmd.Flags().Changed("data") {
				if !strings.Contains(server, "://") {
					server = "http://" + server
				}
				return showRun(cmd.Context(), cmd.OutOrStdout(), server, http.DefaultClient, project, number, file, output)
			}
			return withLocalAPI(cmd.Context(), data, func(client rest.HttpRequestDoer) error {
				return showRun(cmd.Context(), cmd.OutOrStdout(), "http://local", client, project, number, file, output)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&server, "server", os.Getenv("SLIPWAY_SERVER"), "address of the server (default $SLIPWAY_SERVER)")
	f.StringVar(&data, "data", cmp.Or(os.Getenv("SLIPWAY_DATA"), defaultDataDir()), "data folder on this machine (default $SLIPWAY_DATA)")
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

func showRun(ctx context.Context, w io.Writer, server string, client rest.HttpRequestDoer, project string, number int64, file, output string) error {
	c, err := rest.NewClientWithResponses(server, rest.WithHTTPClient(client))
	if err != nil {
		return err
	}
	if output == "json" {
		answer, err := c.GetRunWithResponse(ctx, project, number)
		switch {
		case err != nil:
			return fmt.Errorf("logs: %w", err)
		case answer.JSON200 != nil:
			return printJSON(w, answer.JSON200)
		case answer.ApplicationproblemJSONDefault != nil:
			return errors.New(answer.ApplicationproblemJSONDefault.Title)
		}
		return fmt.Errorf("%s answered %s: is this a Slipway server?", server, answer.Status())
	}
	answer, err := c.GetRunFileWithResponse(ctx, project, number, file)
	switch {
	case err != nil:
		return fmt.Errorf("logs: %w", err)
	case answer.StatusCode() == http.StatusOK:
		_, err = w.Write(answer.Body)
		return err
	case answer.ApplicationproblemJSONDefault != nil:
		return errors.New(answer.ApplicationproblemJSONDefault.Title)
	}
	return fmt.Errorf("%s answered %s: is this a Slipway server?", server, answer.Status())
}

// withLocalAPI calls fn with a client of the API of a data folder: of the
// server that uses it or, while none does, of this process.
func withLocalAPI(ctx context.Context, data string, fn func(rest.HttpRequestDoer) error) (err error) {
	log := slog.New(slog.DiscardHandler)
	if _, err := os.Stat(data); err != nil {
		return fmt.Errorf("%s is not a data folder of Slipway: %w", data, err)
	}
	st, err := openStore(ctx, storeSettings{data: data}, log, nil)
	if errors.Is(err, errLocked) {
		return fn(socketClient(data))
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close(context.WithoutCancel(ctx))) }()
	b, err := openBuilder(ctx, st, buildSettings{builders: stringList{"none"}, compression: "gzip", parallel: 1}, nil, nil, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	// This process is the server of the folder for as long as the call takes.
	control, err := listenControl(data)
	if err != nil {
		return err
	}
	own := &http.Server{Handler: rest.New(rest.Config{
		DB: st.db, Registry: st.registry, Collector: st.collector, Log: log,
		Authorize: func(*http.Request, auth.Action, string) error { return nil },
		Actor:     func(*http.Request) string { return "local administrator" },
		Builds:    &rest.Builds{Engine: b.engine, Checkout: b.checkout, Local: true},
	})}
	go func() { _ = own.Serve(control) }() // ends with Close
	defer func() { err = errors.Join(err, own.Close()) }()
	return fn(socketClient(data))
}
