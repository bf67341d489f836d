package main

import (
	"strings"
	"testing"

	"slipway/internal/bench"
)

func rates(perSecond ...float64) []bench.Result {
	var rs []bench.Result
	for _, v := range perSecond {
		rs = append(rs, bench.Result{Ops: 1, OpsPerSecond: v})
	}
	return rs
}

func TestMedian(t *testing.T) {
	tests := []struct {
		in   []float64
		want float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 3, 2}, 2.5},
	}
	for _, tt := range tests {
		if got := median(tt.in); got != tt.want {
			t.Errorf("median(%v) = %v, want %v", tt.in, got, tt.want)
		}
	}
}

func TestRatioIsTakenWithinARound(t *testing.T) {
	m := &measurements{results: map[string]map[string][]bench.Result{
		"push-1m": {slipwayName: rates(10, 20, 90), floorName: rates(20, 25, 100)},
	}}
	got, ok := m.ratio("push-1m", floorName)
	if want := (ratio{"push-1m", floorName, 0.8, 0.5, 0.9}); !ok || got != want {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
	if r, ok := m.ratio("push-1m", registryName); ok {
		t.Errorf("against a server without figures: %+v", r)
	}
}

func TestJudge(t *testing.T) {
	m := &measurements{results: map[string]map[string][]bench.Result{
		"push-1m": {slipwayName: rates(7, 7, 7), floorName: rates(10, 10, 10), registryName: rates(3, 2, 3)},
		manyTags:  {slipwayName: rates(4999, 4000, 6000)},
	}}
	tests := []struct {
		target            target
		measured, verdict string
	}{
		{target{"push-1m", floorName, 0.7}, "0.70 (0.70–0.70)", "PASS"},
		{target{"push-1m", floorName, 0.71}, "0.70 (0.70–0.70)", "MISS"},
		{target{"push-1m", registryName, 3}, "2.33 (2.33–3.50)", "MISS"},
		{target{manyTags, "", 5000}, "4999/s", "MISS"},
		{target{manyTags, "", 4999}, "4999/s", "PASS"},
		{target{"pull-10k", floorName, 0.6}, "", ""},
	}
	for _, tt := range tests {
		measured, verdict := m.judge(tt.target)
		if measured != tt.measured || verdict != tt.verdict {
			t.Errorf("%+v: %q %q, want %q %q", tt.target, measured, verdict, tt.measured, tt.verdict)
		}
	}
}

func TestSpliceKeepsTheRest(t *testing.T) {
	doc := "# Mine\n" + beginMark + "\nold\n" + endMark + "\nalso mine\n"
	got, err := splice(doc, "new")
	if want := "# Mine\n" + beginMark + "\nnew\n" + endMark + "\nalso mine\n"; err != nil || got != want {
		t.Errorf("%v, %q, want %q", err, got, want)
	}
	again, err := splice(got, "new")
	if err != nil || again != got {
		t.Errorf("the second time: %v, %q", err, again)
	}
	if _, err := splice("# Mine\n", "new"); err == nil {
		t.Error("a document without marks was written")
	}
	if _, err := splice(newDocument, "new"); err != nil {
		t.Errorf("a fresh document: %v", err)
	}
}

func TestABusyMachineIsSaid(t *testing.T) {
	m, o := &measurements{}, &options{}
	for load, want := range map[string]bool{"9.08 5.84 3.22": true, "0.12 3.00 3.00": false, "unknown": false} {
		if got := strings.Contains(m.markdown(o, &machine{load: load}, nil), busyWarning); got != want {
			t.Errorf("load %s: said %v, want %v", load, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	o, err := parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(o.workloads, " ")
	for _, target := range targets {
		if !strings.Contains(all, target.workload) {
			t.Errorf("the default run leaves out %s, which has a target", target.workload)
		}
	}
	for _, bad := range []string{"--workloads=nope", "--workloads=push-1m,", "--servers=nope", "--rounds=0", "extra"} {
		if _, err := parse([]string{bad}); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
