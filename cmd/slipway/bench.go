package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"

	"slipway/internal/bench"
)

func newBenchCommand() *cobra.Command {
	var (
		cfg       = bench.Config{Keychain: authn.DefaultKeychain}
		workloads string
		output    string
	)
	cmd := &cobra.Command{
		Use:   "bench URL",
		Short: "Measure the throughput and latency of any registry",
		Long: `Push to, pull from and list a registry, and report how fast it answers.

Every answer is checked: what is pulled is compared with what was pushed, and
every page of a listing with the names that were made. Any wrong answer makes
the command fail.

Workloads: ` + strings.Join(bench.Workloads(), ", ") + `.
Those with 100m move layers of 100 MB and run only when named, or with 'all'.

What is pushed stays in the registry unless --cleanup is given.`,
		Example: `  slipway bench 127.0.0.1:5000
  slipway bench https://registry.example.com --workload push-1m,pull-1m --duration 10s
  slipway bench registry.lan:5000 --workload tag-page --tags 100000 -o json --cleanup`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("bench needs the address of one registry, such as 127.0.0.1:5000")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg.URL = args[0]
			names, err := checkBenchFlags(cfg, workloads, output)
			if err != nil {
				return usageError{err}
			}
			return runBench(cmd.Context(), cmd.OutOrStdout(), cfg, names, output)
		},
	}
	f := cmd.Flags()
	f.IntVarP(&cfg.Concurrency, "concurrency", "c", 8, "workers, each with a connection of its own")
	f.DurationVar(&cfg.Duration, "duration", 3*time.Second, "how long to run each workload")
	f.IntVar(&cfg.Requests, "requests", 0, "operations per workload, in place of --duration")
	f.StringVar(&workloads, "workload", "", "workloads with commas between them, or 'all' (default all but 100m)")
	f.StringVar(&cfg.Repository, "repository", "bench", "push under this name")
	f.IntVar(&cfg.Tags, "tags", 1000, "tags in the repository that tag-page lists")
	f.BoolVar(&cfg.PlainHTTP, "plain-http", false, "use HTTP without TLS")
	f.BoolVar(&cfg.Insecure, "insecure", false, "accept any TLS certificate")
	f.BoolVar(&cfg.Cleanup, "cleanup", false, "delete the manifests and tags afterwards, as far as the registry allows")
	f.StringVarP(&output, "output", "o", "text", "print `FORMAT`: text or json")
	return cmd
}

func checkBenchFlags(cfg bench.Config, workloads, output string) ([]string, error) {
	if output != "text" && output != "json" {
		return nil, fmt.Errorf("--output is text or json, not %q", output)
	}
	if cfg.Concurrency < 1 || cfg.Tags < 1 || cfg.Duration <= 0 || cfg.Requests < 0 {
		return nil, errors.New("--concurrency, --tags and --duration must be above 0, --requests not below 0")
	}
	names, err := bench.ParseWorkloads(workloads)
	if err != nil {
		return nil, fmt.Errorf("--workload: %w", err)
	}
	return names, nil
}

// benchReport is the output of -o json.
type benchReport struct {
	Registry    string         `json:"registry"`
	Started     time.Time      `json:"started"`
	Concurrency int            `json:"concurrency"`
	Results     []bench.Result `json:"results"`
	Removed     *bench.Removed `json:"removed,omitempty"`
}

func runBench(ctx context.Context, out io.Writer, cfg bench.Config, names []string, output string) error {
	b, err := bench.Open(ctx, cfg)
	if errors.Is(err, bench.ErrInvalid) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	defer b.Close()
	table := io.Discard
	if output == "text" {
		table = out
	}
	report := benchReport{Registry: b.URL(), Started: time.Now().UTC().Truncate(time.Second), Concurrency: cfg.Concurrency}
	err = measureAll(ctx, b, names, table, &report)
	if cfg.Cleanup {
		err = errors.Join(err, cleanUpBench(ctx, b, table, &report))
	}
	if output == "json" {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		err = errors.Join(err, enc.Encode(report))
	}
	return err
}

func measureAll(ctx context.Context, b *bench.Bench, names []string, table io.Writer, report *benchReport) error {
	fmt.Fprintf(table, "%s, %d workers\n\n", report.Registry, report.Concurrency)
	fmt.Fprintln(table, bench.TableHeader)
	var failed []string
	for _, name := range names {
		r, err := b.Measure(ctx, name)
		if err != nil {
			return err
		}
		report.Results = append(report.Results, r)
		fmt.Fprintln(table, r.TableRow())
		if r.Errors > 0 {
			failed = append(failed, name)
			fmt.Fprintf(table, "  first error: %s\n", r.FirstError)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("%s answered wrongly in %s", report.Registry, strings.Join(failed, ", "))
	}
	return nil
}

func cleanUpBench(ctx context.Context, b *bench.Bench, table io.Writer, report *benchReport) error {
	removed, err := b.Cleanup(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	report.Removed = &removed
	fmt.Fprintf(table, "\ncleanup: %d manifests deleted with their tags, %d not; blobs are left to the registry's garbage collection\n", removed.Manifests, removed.Failed)
	if removed.Failed > 0 {
		fmt.Fprintf(table, "  first error: %s\n", removed.FirstError)
	}
	return nil
}
