package pipeline

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"slipway/internal/bake"
	"slipway/internal/report"
)

// testName is the target or group that is a test without being told so.
const testName = "test"

// testTargets are the targets that are run for their result, not their image:
// those of gates, and those that the project says how to run as tests.
func (r *run) testTargets() map[string]bool {
	tests := map[string]bool{}
	for _, g := range r.project.Gates {
		for _, name := range g.Tests {
			tests[name] = true
		}
	}
	names := append(slices.Collect(maps.Keys(r.project.Settings.Tests)), testName)
	for _, name := range append(names, slices.Collect(maps.Keys(r.project.Settings.Gates))...) {
		for _, target := range append([]string{name}, r.project.Groups[name]...) {
			if r.project.Targets[target] != nil {
				tests[target] = true
			}
		}
	}
	return tests
}

// order lists the run's targets, each after what it needs: tests first, with
// what they are built on.
func (r *run) order() []string {
	var names []string
	for _, g := range r.project.Gates {
		names = append(names, g.Tests...)
	}
	return r.project.Order(append(names, r.project.Selected...)...)
}

// gate lets every node wait for the tests that hold it back. What a test is
// built on waits for no test: it is built first, and its tags stay all the same.
func (r *run) gate() {
	under := map[*node]bool{} // what a test is built on
	var mark func(n *node)
	mark = func(n *node) {
		for _, need := range n.needs {
			if !under[need] {
				under[need] = true
				mark(need)
			}
		}
	}
	for _, n := range r.nodes {
		if n.test {
			mark(n)
		}
	}
	for _, g := range r.project.Gates {
		for _, n := range r.nodes {
			if n.test || under[n] || !slices.Contains(g.Holds, n.target.Name) {
				continue
			}
			for _, test := range r.nodes {
				if slices.Contains(g.Tests, test.target.Name) {
					n.gates = append(n.gates, test)
				}
			}
		}
	}
}

// heldBack says whether the tags of a target stay because a test failed.
func (r *run) heldBack(target string) (test string, held bool) {
	for _, g := range r.project.Gates {
		if !slices.Contains(g.Holds, target) {
			continue
		}
		for _, n := range r.nodes {
			if n.err != nil && slices.Contains(g.Tests, n.target.Name) {
				return n.target.Name, true
			}
		}
	}
	return "", false
}

// testSettings are how a test is run.
func (r *run) testSettings(t *bake.Target) bake.TestSettings {
	var s bake.TestSettings
	if t.Test != nil {
		s = *t.Test
	}
	if len(s.Reports) == 0 {
		s.Reports = bake.DefaultReports
	}
	return s
}

// testInputs resolves a test's services and describes how it is run.
func (r *run) testInputs(ctx context.Context, n *node, p *plan) (*TestInputs, error) {
	s := r.testSettings(n.target)
	in := &TestInputs{Services: s.Services, Images: map[string]string{}, Reports: s.Reports, MinCoverage: s.MinCoverage}
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		service := s.Services[name]
		found, err := r.resolve(ctx, service.Image, n.platform)
		if err != nil {
			return nil, fmt.Errorf("service %s of target %s: %w", name, n.target.Name, err)
		}
		in.Images[name] = found.Digest.String()
		p.bases = append(p.bases, usedBase{service.Image, n.platform, found})
		p.solve.Services = append(p.solve.Services, Service{Name: name, Image: found.Base, Service: service})
	}
	p.solve.Reports = s.Reports
	return in, nil
}

// judge reads a test's reports, logs what they say, and fails a test that
// covers too little, or whose report has failures though it exited with 0.
func (r *run) judge(n *node, reports []Report) error {
	n.reports = reports
	var tests report.Tests
	var covers []report.Cover
	seen := 0
	for _, file := range reports {
		switch kind := report.Kind(file.Path, file.Content); {
		case kind == report.KindJUnit:
			t, err := report.JUnit(file.Content)
			if err != nil {
				r.log.Linef(n.key, "warning: %s: %v", file.Path, err)
				continue
			}
			seen++
			tests.Add(t)
		case report.IsCoverage(kind):
			c, err := report.Coverage(file.Path, file.Content)
			if err != nil {
				r.log.Linef(n.key, "warning: %v", err)
				continue
			}
			covers = append(covers, c)
		}
	}
	if seen > 0 {
		r.log.Linef(n.key, "tests: %d, %d failed, %d in error, %d skipped", tests.Tests, tests.Failures, tests.Errors, tests.Skipped)
		for _, c := range tests.Failed {
			r.log.Linef(n.key, "  failed: %s/%s: %s", c.Suite, c.Name, c.Message)
		}
	}
	floor := r.testSettings(n.target).MinCoverage
	if len(covers) > 0 {
		c := report.Merge(covers)
		n.cover = &c.Percent
		r.log.Linef(n.key, "coverage: %.1f %% (%d of %d)", c.Percent, c.Covered, c.Total)
	}
	switch {
	case !tests.Passed():
		return fmt.Errorf("test %s: its report has %d failures and %d errors, though its command exited with 0", n.key, tests.Failures, tests.Errors)
	case floor > 0 && n.cover == nil:
		return fmt.Errorf("test %s: min-coverage is %g %%, and it left no coverage report: looked for %v", n.key, floor, r.testSettings(n.target).Reports)
	case floor > 0 && *n.cover < floor:
		return fmt.Errorf("test %s: coverage is %.1f %%, and min-coverage is %g %%", n.key, *n.cover, floor)
	}
	return nil
}
