// Command compare measures Slipway beside two other servers on the same
// machine and the same file system, and writes what it found to
// docs/performance.md:
//
//   - the floor (test/floor), the least a durable registry can do;
//   - Debian's docker-registry, as it is delivered.
//
// All run at once, each with a fresh data folder. A workload is measured on one
// server after the other, again and again, each round beginning with another
// server, with the disk's queue emptied in between. So what changes on the
// machine meanwhile falls on all, and a ratio is taken within a round.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"slipway/internal/bench"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == serveFloor {
		fail(runFloor(os.Args[2], os.Args[3]))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctx, o)
	}
	fail(err)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

type options struct {
	slipway     string
	registry    string
	servers     []string
	workloads   []string
	rounds      int
	duration    time.Duration
	concurrency int
	tags        int
	dir         string
	doc         string
	onlyRatio   bool
	keep        bool
}

// manyTags is tag-page over options.tags tags, on Slipway only: the others
// would take minutes to fill, or do not page.
const manyTags = "tag-page-many"

func parse(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.StringVar(&o.slipway, "slipway-bin", "bin/slipway", "Slipway's binary")
	f.StringVar(&o.registry, "docker-registry-bin", "/usr/bin/docker-registry", "docker-registry's binary")
	servers := f.String("servers", strings.Join(allServers, ","), "servers to measure")
	workloads := f.String("workloads", "", "workloads, with commas between them (default all but push-100m)")
	f.IntVar(&o.rounds, "rounds", 5, "times that each workload is measured on each server")
	f.DurationVar(&o.duration, "duration", 2*time.Second, "of one measurement")
	f.IntVar(&o.concurrency, "c", 8, "workers of the client")
	f.IntVar(&o.tags, "tags", 100_000, "tags that "+manyTags+" makes")
	f.StringVar(&o.dir, "dir", ".build/bench", "folder for the servers' data; what a run makes in it is deleted at the end")
	f.StringVar(&o.doc, "doc", "docs/performance.md", "document to write the tables to")
	f.BoolVar(&o.onlyRatio, "only-ratio", false, "print the ratios as JSON and leave the document alone")
	f.BoolVar(&o.keep, "keep", false, "keep the data and the servers' logs")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	if o.rounds < 1 || o.concurrency < 1 || o.duration <= 0 || o.tags < 1 {
		return nil, errors.New("--rounds, --duration, -c and --tags must be above 0")
	}
	o.servers = strings.Split(*servers, ",")
	for _, s := range o.servers {
		if !slices.Contains(allServers, s) {
			return nil, fmt.Errorf("no server is called %q; there are %s", s, strings.Join(allServers, ", "))
		}
	}
	return o, o.chooseWorkloads(*workloads)
}

func (o *options) chooseWorkloads(list string) error {
	if list == "" {
		o.workloads = append(bench.DefaultWorkloads(), manyTags)
		at := slices.Index(o.workloads, "manifest-get")
		o.workloads = slices.Insert(o.workloads, at, "pull-100m")
		return nil
	}
	for _, name := range strings.Split(list, ",") {
		if name != manyTags {
			if _, err := bench.ParseWorkloads(name); err != nil || name == "" || name == "all" {
				return fmt.Errorf("no workload is called %q; there are %s, %s", name, strings.Join(bench.Workloads(), ", "), manyTags)
			}
		}
		o.workloads = append(o.workloads, name)
	}
	return nil
}

func run(ctx context.Context, o *options) (err error) {
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "compare-")
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if !o.keep {
		defer os.RemoveAll(dir)
	}
	machine, err := lookAtMachine(dir)
	if err != nil {
		return err
	}
	servers, err := startAll(ctx, o, dir)
	defer func() {
		for _, s := range servers {
			err = errors.Join(err, s.stop())
		}
	}()
	if err != nil {
		return err
	}
	progress := io.Writer(os.Stdout)
	if o.onlyRatio {
		progress = os.Stderr
	}
	m, err := measure(ctx, o, servers, progress)
	if err != nil {
		return err
	}
	if o.onlyRatio {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(m.ratios())
	}
	report := m.markdown(o, machine, servers)
	fmt.Println()
	fmt.Println(report)
	return writeDocument(o.doc, report)
}
