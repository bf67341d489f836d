package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// layoutDigest is the digest of the only image of an OCI layout.
func layoutDigest(dir string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return "", err
	}
	var index struct {
		Manifests []struct{ Digest string }
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return "", err
	}
	if len(index.Manifests) != 1 {
		return "", fmt.Errorf("%s has %d images", dir, len(index.Manifests))
	}
	return index.Manifests[0].Digest, nil
}

func of(list []sample, name string) (values []float64) {
	for _, s := range list {
		values = append(values, s[name])
	}
	return values
}

// ratio is the median of one contender's time over another's, within rounds.
func ratio(list []sample, a, b string) float64 {
	var values []float64
	for _, s := range list {
		values = append(values, s[a]/s[b])
	}
	return median(values)
}

// verdict compares a figure with the most that it may be.
func verdict(measured, most float64) string {
	if measured <= most {
		return "PASS"
	}
	return "MISSED"
}

func (r *results) markdown(rounds, files int) string {
	var b strings.Builder
	load, _ := os.ReadFile("/proc/loadavg") // for the reader; its absence says enough
	fmt.Fprintf(&b, "Measured on %s; medians of %d rounds; load average at the end %s.\n\n", time.Now().UTC().Format(time.DateOnly), rounds, strings.Join(strings.Fields(string(load))[:3], " "))
	fmt.Fprintln(&b, "| what | at most | measured | |\n|---|---|---:|---|")
	line := func(what string, most, measured float64, unit string) {
		fmt.Fprintf(&b, "| %s | %g%s | %.2f%s | %s |\n", what, most, unit, measured, unit, verdict(measured, most))
	}
	line("first build, of the script with the classic builder", 1.1, ratio(r.first, "slipway", "script"), " x")
	line("first build, of the script with BuildKit", 1.1, ratio(r.first, "slipway", "script-buildkit"), " x")
	line("changed app, of the script with the classic builder", 1, ratio(r.changed, "slipway", "script"), " x")
	line("changed app, of the script with BuildKit", 1, ratio(r.changed, "slipway", "script-buildkit"), " x")
	line("nothing changed, small project", 0.1, median(of(r.same, "slipway")), " s")
	line("changed build, of buildctl on the same daemon", 1.1, ratio(r.over, "slipway", "buildctl"), " x")
	line(fmt.Sprintf("nothing changed, %d files, warm", files), 0.3, median(of(r.tenThousand, "warm")), " s")
	fmt.Fprintln(&b, "\nMedian seconds, for a feeling only:\n\n| | slipway | script, classic | script, BuildKit |\n|---|---:|---:|---:|")
	for _, row := range []struct {
		name string
		list []sample
	}{{"first build", r.first}, {"changed app", r.changed}, {"nothing changed", r.same}} {
		fmt.Fprintf(&b, "| %s | %.2f | %.2f | %.2f |\n", row.name, median(of(row.list, "slipway")), median(of(row.list, "script")), median(of(row.list, "script-buildkit")))
	}
	fmt.Fprintf(&b, "\nBeside buildctl: %.2f s and %.2f s. %d files: one changed %.2f s, then %.2f s and %.2f s.\n",
		median(of(r.over, "slipway")), median(of(r.over, "buildctl")), files,
		median(of(r.tenThousand, "changed")), median(of(r.tenThousand, "unchanged")), median(of(r.tenThousand, "warm")))
	return b.String()
}
