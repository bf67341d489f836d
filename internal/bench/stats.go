package bench

import (
	"slices"
	"time"
)

// Result is what one measurement of one workload gave. Times are in
// milliseconds, a MB is 1,000,000 bytes of content; failed operations count
// only as errors.
type Result struct {
	Workload     string  `json:"workload"`
	Ops          int     `json:"ops"`
	Seconds      float64 `json:"seconds"`
	OpsPerSecond float64 `json:"ops_per_second"`
	MBPerSecond  float64 `json:"mb_per_second"`
	P50          float64 `json:"p50_ms"`
	P90          float64 `json:"p90_ms"`
	P99          float64 `json:"p99_ms"`
	Max          float64 `json:"max_ms"`
	Errors       int     `json:"errors"`
	FirstError   string  `json:"first_error,omitempty"`
}

// summarize sorts the latencies of all workers and reduces them.
func summarize(workload string, latencies []time.Duration, bytes int64, elapsed time.Duration) Result {
	slices.Sort(latencies)
	r := Result{
		Workload: workload,
		Ops:      len(latencies),
		Seconds:  elapsed.Seconds(),
		P50:      milliseconds(percentile(latencies, 50)),
		P90:      milliseconds(percentile(latencies, 90)),
		P99:      milliseconds(percentile(latencies, 99)),
		Max:      milliseconds(percentile(latencies, 100)),
	}
	if r.Seconds > 0 {
		r.OpsPerSecond = float64(r.Ops) / r.Seconds
		r.MBPerSecond = float64(bytes) / 1e6 / r.Seconds
	}
	return r
}

// percentile is by nearest rank: the smallest value that p percent of all do
// not exceed. Zero when there are none.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
