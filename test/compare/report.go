package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"slipway/internal/bench"
)

// target is what Slipway is meant to reach: a ratio against another server, or
// operations per second when against is empty.
type target struct {
	workload string
	against  string
	least    float64
}

var targets = []target{
	{"push-10k", floorName, 0.7},
	{"push-1m", floorName, 0.7},
	{"push-10k", registryName, 3},
	{"push-1m", registryName, 3},
	{"pull-10k", floorName, 0.6},
	{"pull-10k", registryName, 8},
	{"pull-100m", floorName, 0.95},
	{manyTags, "", 5000},
}

// judge says what was measured for a target, and PASS or MISS; both are empty
// when it was not measured.
func (m *measurements) judge(t target) (measured, verdict string) {
	var value float64
	if t.against == "" {
		ops, ok := m.medianOf(t.workload, slipwayName, func(r bench.Result) float64 { return r.OpsPerSecond })
		if !ok {
			return "", ""
		}
		value, measured = ops, fmt.Sprintf("%.0f/s", ops)
	} else {
		r, ok := m.ratio(t.workload, t.against)
		if !ok {
			return "", ""
		}
		value, measured = r.Median, r.String()
	}
	if value >= t.least {
		return measured, "PASS"
	}
	return measured, "MISS"
}

const busyWarning = "**The machine was busy with other work when this began: these figures are only indicative.**"

func (r ratio) String() string { return fmt.Sprintf("%.2f (%.2f–%.2f)", r.Median, r.Min, r.Max) }

func (m *measurements) markdown(o *options, mach *machine, servers []*server) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s: %s, %d cores, %.0f GB RAM, Linux %s, %s; an fsync after 4 KiB takes %.2f ms; load average at the start %s.\n",
		time.Now().UTC().Format("2006-01-02"), mach.cpu, mach.cores, mach.ramGB, mach.kernel, mach.fileSystem, float64(mach.sync)/1e6, mach.load)
	fmt.Fprintf(&b, "Client and servers share the machine. %d workers; medians of %d rounds of %s.\n\n", o.concurrency, o.rounds, o.duration)
	if mach.busy() {
		b.WriteString(busyWarning + "\n\n")
	}
	for _, s := range servers {
		fmt.Fprintf(&b, "- %s: %s\n", s.name, s.version)
	}
	m.writeTargets(&b)
	m.writeRatios(&b)
	m.writeResults(&b, servers)
	for _, why := range m.excluded {
		fmt.Fprintf(&b, "\n%s.\n", why)
	}
	return strings.TrimRight(b.String(), "\n")
}

func (m *measurements) writeTargets(b *strings.Builder) {
	var rows strings.Builder
	for _, t := range targets {
		measured, verdict := m.judge(t)
		if verdict == "" {
			continue
		}
		goal := fmt.Sprintf("%g of %s", t.least, t.against)
		if t.against == "" {
			goal = fmt.Sprintf("%g/s", t.least)
		}
		fmt.Fprintf(&rows, "| %s | ≥ %s | %s | %s |\n", t.workload, goal, measured, verdict)
	}
	if rows.Len() > 0 {
		fmt.Fprintf(b, "\n### Targets\n\n| workload | target | measured | |\n|---|---|---:|---|\n%s", rows.String())
	}
}

func (m *measurements) writeRatios(b *strings.Builder) {
	var rows strings.Builder
	for _, w := range m.workloads {
		floor, okFloor := m.ratio(w, floorName)
		registry, okRegistry := m.ratio(w, registryName)
		if !okFloor && !okRegistry {
			continue
		}
		cells := [2]string{"—", "—"}
		if okFloor {
			cells[0] = floor.String()
		}
		if okRegistry {
			cells[1] = registry.String()
		}
		fmt.Fprintf(&rows, "| %s | %s | %s |\n", w, cells[0], cells[1])
	}
	if rows.Len() > 0 {
		fmt.Fprintf(b, "\n### Slipway's throughput, relative\n\nMedian of the rounds' ratios (least–greatest).\n\n| workload | of the floor's | of docker-registry's |\n|---|---:|---:|\n%s", rows.String())
	}
}

func (m *measurements) writeResults(b *strings.Builder, servers []*server) {
	b.WriteString("\n### All figures\n\n| workload | server | ops/s | MB/s | p50 ms | p99 ms |\n|---|---|---:|---:|---:|---:|\n")
	for _, w := range m.workloads {
		for _, s := range servers {
			ops, ok := m.medianOf(w, s.name, func(r bench.Result) float64 { return r.OpsPerSecond })
			if !ok {
				continue
			}
			mb, _ := m.medianOf(w, s.name, func(r bench.Result) float64 { return r.MBPerSecond })
			p50, _ := m.medianOf(w, s.name, func(r bench.Result) float64 { return r.P50 })
			p99, _ := m.medianOf(w, s.name, func(r bench.Result) float64 { return r.P99 })
			fmt.Fprintf(b, "| %s | %s | %.1f | %.1f | %.2f | %.2f |\n", w, s.name, ops, mb, p50, p99)
		}
	}
}

const (
	beginMark = "<!-- bench:begin -->"
	endMark   = "<!-- bench:end -->"
)

// newDocument is what a document starts as; only what is between the marks is
// ever written again.
const newDocument = `# Performance

` + "`make bench`" + ` measures Slipway beside two other servers on the same machine
and writes the tables below. ` + "`slipway bench URL`" + ` runs the same client against
any registry; ` + "`slipway bench --help`" + ` lists the workloads. Every answer is
checked: pulled bytes are compared with what was pushed, pages with the names
that were made.

The **floor** (` + "`test/floor`" + `) is the least that a durable registry can do: receive,
hash, write, fsync, rename, fsync the folder, answer; send files with sendfile;
list names from memory. It checks no manifest, knows no access control and
collects no garbage. **docker-registry** is Debian's package with its delivered
configuration, except for the folder, the port and the password file. It syncs
files as it writes them, most of them twice, 30 times for one small image, but
no folder: the bytes that it acknowledged are on disk, the names that lead to
them may not be (2.8.2, seen with strace).

A push is one image: a layer of the named size and a config, each with POST and
PUT, and a manifest by tag; all of it is new to the registry. A pull is one blob.
manifest-get alternates between tag and digest; tag-put gives a manifest that is
there another tag; a page has 100 names, of 1,000 tags or 200 repositories;
` + manyTags + ` is a page of 100 of 100,000 tags.

The servers run at the same time and are measured in turn, each round beginning
with another one, after a sync of the disk. A ratio is taken within a round.
The client runs on the same cores, so its own work is part of every figure and
draws all ratios towards 1.

` + beginMark + "\n" + endMark + "\n"

// writeDocument replaces what is between the marks of the document at path.
func writeDocument(path, report string) error {
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		old, err = []byte(newDocument), nil
	}
	if err != nil {
		return err
	}
	text, err := splice(string(old), report)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

func splice(document, report string) (string, error) {
	before, rest, ok := strings.Cut(document, beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return "", fmt.Errorf("it has no %s and %s to write between", beginMark, endMark)
	}
	return before + beginMark + "\n" + report + "\n" + endMark + after, nil
}
