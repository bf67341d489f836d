//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway/internal/gc"
	"slipway/internal/rest"
)

func newGCCommand() *cobra.Command {
	var server, data, output string
	var dryRun bool
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Collect now: free what nothing needs, and say what was kept and why",
		Long: `Free content that no tag, manifest, pin or recent use needs, while the server
goes on serving. With --server it asks a server over the network; with --data
the one that uses that data folder, or does it itself while none runs.`,
		Example: `  slipway gc --server http://127.0.0.1:5000 --dry-run
  slipway gc --data /var/lib/slipway
  slipway gc --server http://127.0.0.1:5000 --grace 0 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			request := rest.CollectionRequest{DryRun: &dryRun}
			if cmd.Flags().Changed("grace") {
				if grace < 0 {
					return usageError{fmt.Errorf("grace is %s: it must not be negative", grace)}
				}
				sec := int64((grace + time.Second - 1) / time.Second) // never 0 by rounding
				request.GraceSeconds = &sec
			}
			if output != "text" && output != "json" {
				return usageError{fmt.Errorf("output is %q: use text or json", output)}
			}
			var report rest.Collection
			var err error
			switch {
			case cmd.Flags().Changed("server") && cmd.Flags().Changed("data"):
				return usageError{errors.New("--server and --data exclude each other: name the server or its data folder")}
			case server != "" && !cmd.Flags().Changed("data"):
				report, err = collectRemote(cmd.Context(), server, http.DefaultClient, request)
			case data != "":
				report, err = collectLocal(cmd.Context(), data, request)
			default:
				return usageError{errors.New("name the server with --server URL, or its data folder with --data DIR")}
			}
			if err != nil {
				return err
			}
			if output == "json" {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(report)
			}
			return printCollection(cmd.OutOrStdout(), report)
		},
	}
	f := cmd.Flags()
	f.StringVar(&server, "server", os.Getenv("SLIPWAY_SERVER"), "address of the server, such as http://127.0.0.1:5000 (default $SLIPWAY_SERVER)")
	f.StringVar(&data, "data", os.Getenv("SLIPWAY_DATA"), "data folder of the server on this machine (default $SLIPWAY_DATA)")
	f.BoolVar(&dryRun, "dry-run", false, "only say what would be freed")
	f.DurationVar(&grace, "grace", 0, "instead of the server's gc.grace; 0 may fail pushes that are under way")
	f.StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

func collectRemote(ctx context.Context, server string, doer rest.HttpRequestDoer, request rest.CollectionRequest) (rest.Collection, error) {
	if !strings.Contains(server, "://") {
		server = "http://" + server
	}
	if u, err := url.Parse(server); err != nil || u.Host == "" {
		return rest.Collection{}, usageError{fmt.Errorf("server is %q: it must be an address such as http://127.0.0.1:5000", server)}
	}
	client, err := rest.NewClientWithResponses(server, rest.WithHTTPClient(doer))
	if err != nil {
		return rest.Collection{}, err
	}
	answer, err := client.RunCollectionWithResponse(ctx, request)
	if err != nil {
		return rest.Collection{}, fmt.Errorf("collect on %s: %w", server, err)
	}
	switch {
	case answer.JSON200 != nil:
		return *answer.JSON200, nil
	case answer.ApplicationproblemJSONDefault != nil:
		return rest.Collection{}, fmt.Errorf("collect on %s: %s", server, answer.ApplicationproblemJSONDefault.Title)
	}
	return rest.Collection{}, fmt.Errorf("collect on %s: it answered %s: is this a Slipway server?", server, answer.Status())
}

// collectLocal asks the process that uses the data folder, or, if there is
// none, collects by itself.
func collectLocal(ctx context.Context, data string, request rest.CollectionRequest) (rest.Collection, error) {
	if _, err := os.Stat(filepath.Join(data, databaseFile)); err != nil {
		return rest.Collection{}, fmt.Errorf("%s is not a data folder of Slipway: %w", data, err)
	}
	st, err := openStore(ctx, storeSettings{data: data}, slog.New(slog.DiscardHandler), nil)
	if errors.Is(err, errLocked) {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(data, controlSocket))
		}
		return collectRemote(ctx, "http://local", &http.Client{Transport: &http.Transport{DialContext: dial}}, request)
	}
	if err != nil {
		return rest.Collection{}, err
	}
	o := gc.Options{DryRun: *request.DryRun}
	if request.GraceSeconds != nil {
		g := time.Duration(*request.GraceSeconds) * time.Second
		o.Grace = &g
	}
	report, err := st.collector.Run(ctx, o)
	return rest.FromReport(report), errors.Join(err, st.close(context.WithoutCancel(ctx)))
}

func printCollection(w io.Writer, c rest.Collection) error {
	var b strings.Builder
	freed := "Freed"
	if c.DryRun {
		freed = "Would free"
	}
	fmt.Fprintf(&b, "%s %s: %d blobs, %d manifests, %d blobs from repositories that do not use them, %d abandoned uploads, %d files without rows, %d empty repositories (grace %s, took %s)\n",
		freed, sizeText(c.Freed.Bytes), c.Freed.Blobs, c.Freed.Manifests, c.Freed.Memberships, c.Freed.Uploads, c.Freed.Files, c.Freed.Repositories,
		time.Duration(c.GraceSeconds)*time.Second, c.FinishedAt.Sub(c.StartedAt).Round(time.Millisecond))
	for _, d := range c.Details {
		if d.Reason == gc.ReasonGrace {
			continue // whatever was used lately: the sum below says how much
		}
		verb := "kept"
		if d.Freed {
			verb = strings.ToLower(freed)
		}
		what := string(d.Kind)
		if d.Kind == rest.Membership {
			what = "blob"
		}
		if d.Repository != nil {
			what += " of " + *d.Repository
		}
		fmt.Fprintf(&b, "  %s %s %s (%s): %s\n", verb, what, d.Subject, sizeText(d.Bytes), d.Reason)
	}
	if c.DetailsCut {
		fmt.Fprintln(&b, "  … and more")
	}
	if len(c.Kept) > 0 {
		fmt.Fprintln(&b, "Kept:")
	}
	for _, k := range c.Kept {
		what := map[string]string{"membership": "blobs of repositories", "manifest": "manifests of repositories", "blob": "blobs and manifests, each once", "file": "files"}[k.Kind]
		fmt.Fprintf(&b, "  %8d  %10s  %s: %s\n", k.Count, sizeText(k.Bytes), what, k.Reason)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// sizeText is a size for people, in powers of 1024.
func sizeText(n int64) string {
	const units = "KMGT"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}
