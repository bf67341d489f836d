package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"slipway/internal/pipeline"
)

func TestCancel(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.solver.during = func(string) { cancel() }
	o, err := w.engine.Run(ctx, w.request, nil)
	if err == nil || o.State != pipeline.Cancelled {
		t.Errorf("the run is %s, %v", o.State, err)
	}
	if w.tag("cool-app", "latest") != "" {
		t.Error("a tag moved")
	}
	w.solver.during = nil
	w.wantVerdicts(w.run(""), verdictMap{"base": pipeline.Built, "app": pipeline.Built})
}

func TestRecover(t *testing.T) {
	w := newWorld(t)
	crash := func(string) {
		if n, err := w.engine.Recover(t.Context()); err != nil || n != 1 {
			t.Errorf("recovered %d runs, %v", n, err)
		}
	}
	w.solver.during = crash
	w.project.Selected = []string{"base"}
	w.project.Targets["base"].Tags = []string{"cool-base:latest"}
	// The run goes on though the database says that it was cut off, as after a
	// restart of the server beside a hung one: its end must not rewrite that.
	_, _ = w.engine.Run(t.Context(), w.request, nil)
	r, err := w.engine.FindRun(t.Context(), "cool-app", 1)
	if err != nil || r.State != pipeline.Interrupted {
		t.Errorf("run 1 is %s, %v", r.State, err)
	}
	if w.tag("cool-base", "latest") != "" {
		t.Error("a run that was given up moved a tag")
	}
	if _, _, err := w.engine.RunFile(t.Context(), "cool-app", 2, "log"); !errors.Is(err, pipeline.ErrNotFound) {
		t.Errorf("the log of a run that there is not: %v", err)
	}
}

func TestStop(t *testing.T) {
	w := newWorld(t)
	stopped := make(chan error, 1)
	w.solver.during = func(string) {
		w.solver.during = nil
		go func() { stopped <- w.engine.Stop(t.Context()) }()
		for { // until Stop has begun
			if _, err := w.engine.Run(t.Context(), pipeline.Request{Project: "other", Dir: t.TempDir()}, nil); errors.Is(err, context.Canceled) {
				return
			}
		}
	}
	o, err := w.engine.Run(t.Context(), w.request, nil)
	if !errors.Is(err, context.Canceled) || o.State != pipeline.Cancelled {
		t.Errorf("the run is %s, %v", o.State, err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if r, err := w.engine.FindRun(t.Context(), "cool-app", 1); err != nil || r.State != pipeline.Cancelled || !slices.Contains(r.Files, "log") {
		t.Errorf("its record is %+v, %v", r, err)
	}
	if _, err := w.engine.Run(t.Context(), w.request, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a run after Stop: %v", err)
	}
}

func TestStopWithoutRuns(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		if err := w.engine.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestAPanicEndsTheRunOnly(t *testing.T) {
	w := newWorld(t)
	w.solver.during = func(target string) {
		if target == "app" {
			panic("hostile input")
		}
	}
	o := w.run(pipeline.KindInternal)
	w.wantVerdicts(o, verdictMap{"base": pipeline.Built, "app": pipeline.FailedOne})
	w.solver.during = nil
	w.run("")
}
