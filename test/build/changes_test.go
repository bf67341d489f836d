//go:build linux

package build

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"slipway/internal/oci"
	"slipway/internal/pipeline"
	"slipway/test/harness"
)

// change is one row of the table: what happens to a project between two runs,
// and what becomes of its target app. BuildKit itself is asked, too.
type change struct {
	with func(*project) // before the first run
	edit func(*project) // between the runs
	want pipeline.Verdict
	// all are the verdicts where there is more than the target app on the native
	// platform: by "TARGET PLATFORM".
	all map[string]pipeline.Verdict
	// conservative says why we build where BuildKit has the same image already.
	// The table is wrong if it has one and BuildKit disagrees.
	conservative string
	// because is what --explain must say.
	because string
	// deliberate says why Slipway builds something else than BuildKit by itself.
	deliberate string
}

// dockerfile runs nothing: starting containers is what takes time. The rows
// that need a RUN add one.
const dockerfile = `# A service, in stages.
ARG BASE=busybox:1
FROM busybox:1 AS tools
COPY row tools.txt /out/

FROM busybox:1 AS unused
COPY row unused.txt /

FROM ${BASE} AS app
ARG VERSION=1
ENV MODE=plain
LABEL team=one
COPY row /row
COPY src/ /src/
COPY *.conf /etc/
COPY --from=tools /out /tools

COPY <<END /version
# says which
$VERSION
END
`

const bakefile = `target "app" {
  args = {
    VERSION = "1"
  }
  tags = ["app:1"]
}
group "default" {
  targets = ["app"]
}
`

// newApp is the project that the rows change. The file row gives each of them
// steps of its own, so that none finds results of another in the builder.
func newApp(w *world, row string) *project {
	return w.newProject("app", map[string]string{
		"Dockerfile": dockerfile, "docker-bake.hcl": bakefile, "row": row,
		"src/main.sh": "echo main", "src/lib/lib.sh": "echo lib", "a.conf": "a", "b.conf": "b",
		"tools.txt": "tools", "unused.txt": "unused", "notes/readme.txt": "not copied",
	})
}

func TestChanges(t *testing.T) {
	if len(everyday) < 40 {
		t.Fatalf("the table has only %d rows", len(everyday))
	}
	for name := range everyday {
		if _, ok := changes[name]; !ok {
			t.Errorf("there is no row %s", name)
		}
	}
	builder(t)
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		if !everyday[name] && !harness.Long() {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changes[name].check(t, name)
		})
	}
}

func (c change) check(t *testing.T, name string) {
	p := newApp(newWorld(t, builder(t)), name)
	if c.with != nil {
		c.with(p)
	}
	first := p.mustRun()
	o := newOracle(p)
	before := o.build()
	if c.deliberate == "" {
		sameImages(t, "before the change", first, before)
	}

	c.edit(p)
	after := o.build() // first, so that what it runs is what the change causes
	second := p.mustRun()
	if c.deliberate == "" {
		sameImages(t, "after the change", second, after)
	}

	want := c.all
	if want == nil {
		want = map[string]pipeline.Verdict{"app " + p.config.Platform: c.want}
	}
	got := verdicts(second)
	if !maps.Equal(got, want) {
		t.Errorf("verdicts are %v, want %v, because %s", got, want, reasons(second))
	}
	if c.because != "" && !strings.Contains(reasons(second), c.because) {
		t.Errorf("the reasons are %q, want %q among them", reasons(second), c.because)
	}
	idle := false // something was built that BuildKit had
	for target, m := range after {
		same := len(m.ran) == 0 && isOneOf(m.digest, before)
		switch {
		case got[target] == pipeline.Reused && !same && c.deliberate == "":
			t.Errorf("WRONG REUSE of %s: BuildKit makes %s of it, which was %s, and runs %q", target, m.digest, before[target].digest, m.ran)
		case got[target] == pipeline.Built && same:
			idle = true
		}
	}
	if idle && c.conservative == "" {
		t.Errorf("it was built for nothing: BuildKit has the image, and ran nothing; reasons: %s", reasons(second))
	}
	if !idle && c.conservative != "" {
		t.Errorf("the row says that building is only for safety (%s), and BuildKit builds, too", c.conservative)
	}
}

func isOneOf(d oci.Digest, list map[string]made) bool {
	for _, m := range list {
		if m.digest == d {
			return true
		}
	}
	return false
}

// sameImages checks that our images are those that BuildKit makes of the whole
// folder: nothing that counts was left out.
func sameImages(t *testing.T, when string, ours pipeline.Outcome, theirs map[string]made) {
	t.Helper()
	for target, d := range images(ours) {
		if m, ok := theirs[target]; !ok || m.digest != d {
			t.Errorf("%s, image %s is %s, and BuildKit's own is %s", when, target, d, m.digest)
		}
	}
}
