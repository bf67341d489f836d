package bench

import (
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	tests := []struct {
		name   string
		sorted []time.Duration
		p      int
		want   time.Duration
	}{
		{"none", nil, 50, 0},
		{"one, low", []time.Duration{7}, 1, 7},
		{"one, high", []time.Duration{7}, 99, 7},
		{"two, median is the lower", []time.Duration{1, 2}, 50, 1},
		{"two, p90", []time.Duration{1, 2}, 90, 2},
		{"three, median", []time.Duration{1, 5, 9}, 50, 5},
		{"hundred, p50", hundred, 50, 50},
		{"hundred, p99", hundred, 99, 99},
		{"hundred, max", hundred, 100, 100},
		{"hundred, min", hundred, 0, 1},
		{"99 values, p99 is the last", hundred[:99], 99, 99},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := percentile(tt.sorted, tt.p); got != tt.want {
				t.Errorf("percentile(%d) = %d, want %d", tt.p, got, tt.want)
			}
		})
	}
}

func TestSummarize(t *testing.T) {
	ms := time.Millisecond
	got := summarize("x", []time.Duration{4 * ms, 1 * ms, 3 * ms, 2 * ms}, 8e6, 2*time.Second)
	want := Result{Workload: "x", Ops: 4, Seconds: 2, OpsPerSecond: 2, MBPerSecond: 4, P50: 2, P90: 4, P99: 4, Max: 4}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if empty := summarize("x", nil, 0, 0); empty != (Result{Workload: "x"}) {
		t.Errorf("of nothing: %+v", empty)
	}
}
