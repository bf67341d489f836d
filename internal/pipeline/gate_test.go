package pipeline_test

import (
	"errors"
	"slices"
	"testing"

	"slipway/internal/bake"
	"slipway/internal/pipeline"
)

func TestAFailedTestHoldsTagsBack(t *testing.T) {
	w := newWorld(t)
	w.addTest()
	w.project.Targets["base"].Tags = []string{"cool-base:latest"}
	w.solver.fail["test"] = &pipeline.StepError{Step: "[test 2/2] RUN go test", ExitCode: 1, Err: errors.New("exit code 1"), Output: []string{"--- FAIL: TestX"}}
	o := w.run(pipeline.KindTest)
	w.wantVerdicts(o, verdictMap{"base": pipeline.Built, "test": pipeline.FailedOne, "app": pipeline.Held})
	if w.solver.builds["app"] != 0 {
		t.Error("the app was built before its test passed")
	}
	if w.tag("cool-app", "latest") != "" || w.tag("cool-base", "latest") != "" {
		t.Error("a tag moved though the test failed")
	}
	w.wantLog("RUN go test", "--- FAIL: TestX")

	delete(w.solver.fail, "test")
	o = w.run("")
	w.wantVerdicts(o, verdictMap{"base": pipeline.Reused, "test": pipeline.TestedOK, "app": pipeline.Built})
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "test": pipeline.Reused, "app": pipeline.Reused})
	if w.tag("cool-app", "latest") == "" || w.tag("cool-base", "latest") == "" {
		t.Error("the tags did not move")
	}
}

func TestGatesBindToGroups(t *testing.T) {
	w := newWorld(t)
	w.addTest()
	w.project.Targets["other"] = &bake.Target{Name: "other", Context: here("app"), Dockerfile: "base/Dockerfile", DockerfileInline: "FROM scratch\nCOPY main.go /\n", Tags: []string{"other:latest"}}
	w.project.Selected = append(w.project.Selected, "other")
	w.project.Gates[0].Holds = []string{"app"}
	w.solver.fail["test"] = errors.New("red")
	o := w.run(pipeline.KindTest)
	w.wantVerdicts(o, verdictMap{"base": pipeline.Built, "test": pipeline.FailedOne, "app": pipeline.Held, "other": pipeline.Built})
	if w.tag("other", "latest") == "" || w.tag("cool-app", "latest") != "" {
		t.Errorf("other is %q, cool-app is %q", w.tag("other", "latest"), w.tag("cool-app", "latest"))
	}
	if o.State != pipeline.Failed {
		t.Errorf("the run is %s", o.State)
	}
}

func TestCoverageGates(t *testing.T) {
	profile := pipeline.Report{Path: "/src/coverage.out", Content: []byte("mode: set\na/a.go:1.1,2.2 1 1\na/a.go:3.1,4.2 1 0\n")}
	junit := pipeline.Report{Path: "/src/junit.xml", Content: []byte(`<testsuite tests="1" failures="0"><testcase name="TestX"/></testsuite>`)}
	red := pipeline.Report{Path: "/src/junit.xml", Content: []byte(`<testsuite tests="1" failures="1"><testcase name="TestX"><failure message="no"/></testcase></testsuite>`)}
	for name, c := range map[string]struct {
		floor   float64
		reports []pipeline.Report
		want    pipeline.Kind
		log     string
	}{
		"enough":              {50, []pipeline.Report{profile, junit}, "", "coverage: 50.0 %"},
		"too little":          {60, []pipeline.Report{profile}, pipeline.KindTest, "coverage is 50.0 %, and min-coverage is 60 %"},
		"no report":           {60, []pipeline.Report{junit}, pipeline.KindTest, "left no coverage report"},
		"failures and exit 0": {0, []pipeline.Report{red}, pipeline.KindTest, "failed: "},
		"no floor":            {0, nil, "", "verdict: run"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.addTest()
			w.project.Targets["test"].Test = &bake.TestSettings{MinCoverage: c.floor}
			w.solver.reports["test"] = c.reports
			o := w.run(c.want)
			w.wantLog(c.log)
			record, err := w.engine.FindRun(t.Context(), "cool-app", o.Number)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range c.reports {
				if !slices.Contains(record.Files, "reports/test"+r.Path) {
					t.Errorf("report %s was not kept: %v", r.Path, record.Files)
				}
			}
		})
	}
}

func TestAFailedBuildMovesNoTag(t *testing.T) {
	w := newWorld(t)
	w.project.Targets["base"].Tags = []string{"cool-base:latest"}
	w.solver.fail["app"] = &pipeline.StepError{Step: "[2/2] COPY", Err: errors.New("no such file")}
	o := w.run(pipeline.KindBuild)
	if w.tag("cool-base", "latest") != "" {
		t.Error("a tag moved")
	}
	record, err := w.engine.FindRun(t.Context(), "cool-app", o.Number)
	if err != nil || record.State != pipeline.Failed || record.Failure != pipeline.KindBuild {
		t.Errorf("the run is recorded as %+v, %v", record, err)
	}
	delete(w.solver.fail, "app")
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Reused, "app": pipeline.Built})
}
