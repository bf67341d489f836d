package bench

import "fmt"

// TableHeader stands over rows of Result.TableRow.
var TableHeader = fmt.Sprintf("%-13s %8s %9s %9s %9s %9s %9s %9s %7s",
	"WORKLOAD", "OPS", "OPS/S", "MB/S", "P50 MS", "P90 MS", "P99 MS", "MAX MS", "ERRORS")

// TableRow is a result as one line for a person.
func (r Result) TableRow() string {
	return fmt.Sprintf("%-13s %8d %9.1f %9.1f %9.2f %9.2f %9.2f %9.2f %7d",
		r.Workload, r.Ops, r.OpsPerSecond, r.MBPerSecond, r.P50, r.P90, r.P99, r.Max, r.Errors)
}
