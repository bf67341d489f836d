package pipeline

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"slipway/internal/bake"
	"slipway/internal/report"
)

// testName is the target or group that is a test without being told so, and
// that gates everything unless the project says otherwise.
const testName = "test"

// expand lists the targets of this run that a name stands for.
func (r *run) expand(name string) (targets []string) {
	if r.project.Targets[name] != nil {
		return []string{name}
	}
	for _, member := range r.project.Groups[name] {
		targets = append(targets, r.expand(member)...)
	}
	return targets
}

func (r *run) gates() map[string][]string {
	if r.project.Settings.Gates != nil {
		return r.project.Settings.Gates
	}
	return map[string][]string{testName: nil}
}

// testTargets are the targets that are run for their result, not their image.
func (r *run) testTargets() (map[string]bool, error) {
	tests := map[string]bool{}
	names := slices.Sorted(maps.Keys(r.gates()))
	names = append(names, testName)
	for name := range r.project.Settings.Tests {
		names = append(names, name)
	}
	for _, name := range names {
		for _, target := range r.expand(name) {
			tests[target] = true
		}
	}
	return tests, nil
}

// gate lets every node wait for the tests that hold it back. What a test is
// built on waits for no test.
func (r *run) gate(tests map[string]bool) error {
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
	for _, gate := range slices.Sorted(maps.Keys(r.gates())) {
		gated := map[string]bool{}
		for _, name := range r.gates()[gate] {
			for _, target := range r.expand(name) {
				gated[target] = true
			}
		}
		all := len(r.gates()[gate]) == 0
		for _, target := range r.expand(gate) {
			for _, test := range r.nodes {
				if test.target.Name != target {
					continue
				}
				for _, n := range r.nodes {
					if n.test || under[n] || !(all || gated[n.target.Name]) {
						continue
					}
					n.gates = append(n.gates, test)
				}
			}
		}
	}
	return nil
}

// heldBack says whether the tags of a target stay because a test failed,
// also of a target that tests are built on and that was built before them.
func (r *run) heldBack(target string) (test string, held bool) {
	for gate, names := range r.gates() {
		applies := len(names) == 0
		for _, name := range names {
			applies = applies || slices.Contains(r.expand(name), target)
		}
		if !applies {
			continue
		}
		for _, t := range r.expand(gate) {
			for _, n := range r.nodes {
				if n.target.Name == t && n.err != nil {
					return t, true
				}
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
