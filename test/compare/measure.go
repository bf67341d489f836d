package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"syscall"

	"slipway/internal/bench"
)

// measurements holds a result per workload, server and round.
type measurements struct {
	workloads []string
	results   map[string]map[string][]bench.Result
	excluded  []string // why a server has no results for a workload
}

func measure(ctx context.Context, o *options, servers []*server, progress io.Writer) (m *measurements, err error) {
	m = &measurements{workloads: o.workloads, results: map[string]map[string][]bench.Result{}}
	benches := map[string]*bench.Bench{}
	for _, s := range servers {
		b, err := open(ctx, o, s, 1000)
		if err != nil {
			return nil, err
		}
		defer b.Close()
		benches[s.name] = b
	}
	for _, w := range o.workloads {
		m.results[w] = map[string][]bench.Result{}
		name, on, with := w, servers, benches
		if w == manyTags {
			var many *bench.Bench
			on, many, err = openMany(ctx, o, servers)
			if err != nil {
				return nil, err
			}
			if many == nil {
				continue
			}
			defer many.Close()
			name, with = "tag-page", map[string]*bench.Bench{slipwayName: many}
		}
		if err := m.rounds(ctx, o, w, name, on, with, progress); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func open(ctx context.Context, o *options, s *server, tags int) (*bench.Bench, error) {
	b, err := bench.Open(ctx, bench.Config{URL: "http://" + s.address, Concurrency: o.concurrency, Duration: o.duration, Tags: tags})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return b, nil
}

// openMany returns the only server that manyTags runs on, and nil for its
// bench when it is not there.
func openMany(ctx context.Context, o *options, servers []*server) ([]*server, *bench.Bench, error) {
	for _, s := range servers {
		if s.name == slipwayName {
			b, err := open(ctx, o, s, o.tags)
			return []*server{s}, b, err
		}
	}
	return nil, nil, nil
}

// rounds measures one workload on all servers in turn.
func (m *measurements) rounds(ctx context.Context, o *options, label, workload string, servers []*server, benches map[string]*bench.Bench, progress io.Writer) error {
	servers = slices.Clone(servers)
	for _, s := range servers {
		if err := benches[s.name].Prepare(ctx, workload); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	for round := range o.rounds {
		var broken []*server
		for i := range servers {
			s := servers[(i+round)%len(servers)]
			syscall.Sync() // one server's unwritten data must not wait in the next one's way
			r, err := benches[s.name].Measure(ctx, workload)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			fmt.Fprintf(progress, "%-13s round %d  %-15s %9.1f/s  p50 %8.2f ms  p99 %8.2f ms  %d errors\n", label, round+1, s.name, r.OpsPerSecond, r.P50, r.P99, r.Errors)
			if r.Errors > 0 {
				broken = append(broken, s)
				m.excluded = append(m.excluded, fmt.Sprintf("%s has no figures for %s: %s", s.name, label, r.FirstError))
				continue
			}
			m.results[label][s.name] = append(m.results[label][s.name], r)
		}
		for _, s := range broken {
			delete(m.results[label], s.name)
			servers = slices.DeleteFunc(servers, func(t *server) bool { return t == s })
		}
	}
	return nil
}

// ratio is Slipway's throughput over another server's in the same round.
type ratio struct {
	Workload string  `json:"workload"`
	Against  string  `json:"against"`
	Median   float64 `json:"median"`
	Min      float64 `json:"min"`
	Max      float64 `json:"max"`
}

func (m *measurements) ratios() []ratio {
	all := []ratio{}
	for _, w := range m.workloads {
		for _, against := range []string{floorName, registryName} {
			if r, ok := m.ratio(w, against); ok {
				all = append(all, r)
			}
		}
	}
	return all
}

func (m *measurements) ratio(workload, against string) (ratio, bool) {
	ours, theirs := m.results[workload][slipwayName], m.results[workload][against]
	var rs []float64
	for i := range min(len(ours), len(theirs)) {
		if theirs[i].OpsPerSecond > 0 {
			rs = append(rs, ours[i].OpsPerSecond/theirs[i].OpsPerSecond)
		}
	}
	if len(rs) == 0 {
		return ratio{}, false
	}
	return ratio{workload, against, median(rs), slices.Min(rs), slices.Max(rs)}, true
}

// medianOf reduces the rounds of one workload on one server.
func (m *measurements) medianOf(workload, server string, value func(bench.Result) float64) (float64, bool) {
	var vs []float64
	for _, r := range m.results[workload][server] {
		vs = append(vs, value(r))
	}
	if len(vs) == 0 {
		return 0, false
	}
	return median(vs), true
}

// median of an even number of values is the mean of the middle two.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
