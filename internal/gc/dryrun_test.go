package gc_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"slipway/internal/gc"
	"slipway/internal/registry/registrytest"
)

// A dry run changes nothing and says exactly what a real one then frees.
func TestDryRunPredicts(t *testing.T) {
	config := []byte(`{"architecture":"amd64","os":"linux"}`)
	for name, prepare := range map[string]func(w *world){
		"nothing":    func(*world) {},
		"stray blob": func(w *world) { w.PutBlob("app", large("x")); w.PutBlob("other", large("x")) },
		"shared blob of which one repository lets go": func(w *world) {
			w.PutImage("app", "v1", large("x"))
			w.PutBlob("other", large("x"))
		},
		"untagged image": func(w *world) {
			w.PutImage("app", "", large("x"))
			w.deleteUntagged("app")
		},
		"untagged tree": func(w *world) {
			w.PutImage("app", "", large("x"))
			inner := registrytest.Index(registrytest.Image(config, large("x")))
			w.PutManifest("app", inner)
			outer := registrytest.Index(inner)
			w.PutManifest("app", outer)
			w.PutBlob("app", []byte("{}"))
			w.PutManifest("app", registrytest.Artifact("text/sbom", outer, nil))
			w.PutImage("app", "v1", large("y"))
			w.deleteUntagged("app")
		},
		"deleted": func(w *world) { w.deleteManifest("app", w.PutImage("app", "v1", large("x"))) },
		"deleted repository": func(w *world) {
			w.PutImage("app", "v1", large("x"))
			if err := w.DeleteRepository(ctx, "app", registrytest.Change); err != nil {
				w.t.Fatal(err)
			}
		},
		"emptied repository": func(w *world) {
			w.PutImage("app", "v1", large("x"))
			w.PutBlob("only-a-blob", large("x"))
		},
		"abandoned uploads": func(w *world) { w.startUpload(large("x")); w.startUpload(small("x")) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			prepare(w)
			w.clock.Advance(25 * time.Hour)
			before := w.Contents()
			dry := w.dryRun()
			if !before.Equal(w.Contents()) {
				t.Error("the dry run changed something")
			}
			if w.Last() != nil {
				t.Error("the dry run counts as the last collection")
			}
			r := w.collect()
			if dry.Freed != r.Freed {
				t.Errorf("the dry run said %+v, the real one freed %+v", dry.Freed, r.Freed)
			}
			if a, b := freedSubjects(dry), freedSubjects(r); !maps.Equal(a, b) {
				t.Errorf("the dry run named %v, the real one freed %v", a, b)
			}
			if !slices.Equal(keptReasons(dry), keptReasons(r)) {
				t.Errorf("kept: the dry run said %v, the real one %v", keptReasons(dry), keptReasons(r))
			}
			if !dry.DryRun || r.DryRun || w.Last() == nil || w.Last().Freed != r.Freed {
				t.Error("the reports do not say which run they are of")
			}
		})
	}
}

func freedSubjects(r gc.Report) map[string]bool {
	set := map[string]bool{}
	for _, d := range r.Details {
		if d.Freed {
			set[d.Kind+" "+d.Repository+" "+d.Subject] = true
		}
	}
	return set
}
