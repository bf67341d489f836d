package buildkit

import (
	"testing"

	"slipway/internal/pipeline"
)

// A project's arguments don't open another project's cache mounts.
func TestCacheMountsAreKeptApart(t *testing.T) {
	a := attrs(pipeline.Solve{Project: "mine", Trust: "fork", Args: map[string]string{"BUILDKIT_CACHE_MOUNT_NS": "yours/", "VERSION": "1"}}, "")
	if got := a["build-arg:BUILDKIT_CACHE_MOUNT_NS"]; got != "mine/fork" {
		t.Errorf("the cache mounts are those of %q", got)
	}
	if a["build-arg:VERSION"] != "1" {
		t.Error("the project's arguments are lost")
	}
}
