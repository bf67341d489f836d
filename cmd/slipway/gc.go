//go:build unix

package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway/internal/gc"
	"slipway/internal/rest"
)

func newGCCommand() *cobra.Command {
	var api apiFlags
	var output string
	var dryRun bool
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Collect now: free what nothing needs, and say what was kept and why",
		Long: `Free content that no tag, manifest, pin or recent use needs, while the server
goes on serving.` + apiHelp,
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
			err := api.withAPI(cmd, false, func(e *endpoint) (err error) {
				report, err = ask[rest.Collection](e, "collect", func(c *rest.Client) (*http.Response, error) { return c.RunCollection(cmd.Context(), request) })
				return err
			})
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), report)
			}
			return printCollection(cmd.OutOrStdout(), report)
		},
	}
	f := cmd.Flags()
	api.add(f, "")
	f.BoolVar(&dryRun, "dry-run", false, "only say what would be freed")
	f.DurationVar(&grace, "grace", 0, "instead of the server's gc.grace; 0 may fail pushes that are under way")
	f.StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
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
