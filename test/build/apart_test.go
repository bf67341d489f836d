//go:build linux

package build

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"slipway/internal/buildkit"
	"slipway/internal/oci"
	"slipway/internal/pipeline"
	"slipway/internal/pipeline/local"
)

// TestSameLooks has files of one name, size and time with different content, in
// two projects and in two states of one: nobody ever gets another's.
func TestSameLooks(t *testing.T) {
	w := newWorld(t, builder(t))
	text := map[bool]string{false: "aaaa", true: "bbbb"}
	build := func(p *project, content string) oci.Digest {
		t.Helper()
		p.write("f", content)
		p.old("f")
		// The step fails if it finds anything else.
		p.request.Set = []string{"default.args.WANT=" + content}
		return images(p.mustRun())["default "+nativeName]
	}
	newProject := func(name string) *project {
		return w.newProject(name, map[string]string{"Dockerfile": "FROM busybox:1\nCOPY f /f\nARG WANT\nRUN test \"$(cat /f)\" = \"$WANT\"\n"})
	}
	one, two := newProject("one"), newProject("two")
	seen := map[string]oci.Digest{}
	for round := range 3 {
		for i, p := range []*project{one, two} {
			content := text[(round+i)%2 == 1]
			d := build(p, content)
			if before, ok := seen[content]; ok && d != before {
				t.Errorf("%s with %s gives %s, and %s before", p.request.Project, content, d, before)
			}
			seen[content] = d
		}
	}
	if seen["aaaa"] == seen["bbbb"] {
		t.Error("both contents give one image")
	}
}

// TestOneDigest builds the same project on two clean stores with two builders
// that have nothing in common, from checkouts of different times and umasks.
func TestOneDigest(t *testing.T) {
	worlds := []*world{newWorld(t, builder(t)), newWorld(t, otherBuilder(t, nil))}
	for _, compression := range []string{"gzip", "zstd"} {
		var digests []oci.Digest
		for i, w := range worlds {
			w.config.Compression = compression
			w.restart()
			p := w.newProject(fmt.Sprintf("same%d", i), map[string]string{
				"Dockerfile": "FROM busybox:1\nCOPY src /src\nRUN cat /src/f > /made; mkdir -p /d/e; touch /d/e/f\nLABEL a=b\n", "src/f": "f", "src/x": "run",
			})
			p.chmod("src/x", 0o755)
			p.mkdir("src/empty")
			p.must(os.Chtimes(p.path("src/f"), time.Unix(int64(1e9*(i+1)), 0), time.Unix(int64(1e9*(i+1)), 0)))
			p.must(os.Lchown(p.path("src/f"), 1000*i, 1000*i))
			o := p.mustRun()
			if v := verdicts(o)["default "+nativeName]; v != pipeline.Built {
				t.Errorf("builder %d: verdict %s", i, v)
			}
			digests = append(digests, images(o)["default "+nativeName])
		}
		if digests[0] != digests[1] {
			t.Errorf("%s: the digests are %v", compression, digests)
		}
	}
}

// TestCacheMounts has steps that keep something in a cache mount of one name:
// it is there for the same project and trust level, and for nobody else.
func TestCacheMounts(t *testing.T) {
	w := newWorld(t, builder(t))
	step := func(p *project, trust, finds, leaves string) {
		t.Helper()
		p.request.Trust = trust
		p.write("Dockerfile", fmt.Sprintf("FROM busybox:1\nRUN --mount=type=cache,id=shared,target=/c test \"$(cat /c/who 2>/dev/null)\" = \"%s\" && echo -n %s > /c/who\n", finds, leaves))
		if _, err := p.run(); err != nil {
			t.Errorf("%s with trust %q, which should find %q: %v\n%s", p.request.Project, trust, finds, err, p.text())
		}
	}
	one, two := w.newProject("cache-one", nil), w.newProject("cache-two", nil)
	step(one, "", "", "one")
	step(two, "", "", "two")
	step(one, "pull-request", "", "stranger")
	step(one, "", "one", "one again")
	step(one, "pull-request", "stranger", "x")
	step(two, "", "two", "x")
}

// TestHostIsOutOfReach has a server on all addresses of this machine, as
// Slipway may be.
func TestHostIsOutOfReach(t *testing.T) {
	w := newWorld(t, builder(t))
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	port := l.Addr().(*net.TCPAddr).Port
	if _, err := w.daemon.Client(t.Context()); err != nil { // its interfaces count, too
		t.Fatal(err)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, a := range addrs {
		if n := a.(*net.IPNet); n.IP.To4() != nil {
			c, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", n.IP, port), time.Second)
			if err != nil {
				t.Fatalf("this machine can't reach itself: %v", err)
			}
			_ = c.Close()
			targets = append(targets, n.IP.String())
		}
	}
	p := w.newProject("reach", map[string]string{"Dockerfile": fmt.Sprintf(
		"FROM busybox:1\nRUN for a in %s; do if nc -w 2 $a %d </dev/null; then echo reached $a; fi; done; echo tried all\n", strings.Join(targets, " "), port)})
	p.mustRun()
	if log := p.stepOutput(); strings.Contains(log, "reached") || !strings.Contains(log, "tried all") {
		t.Errorf("a step reached this machine:\n%s", p.text())
	}
}

// stepOutput is what steps printed, without the lines that repeat their text.
func (p *project) stepOutput() string {
	var lines []string
	for _, line := range p.log {
		if _, text, ok := strings.Cut(line, " | "); ok {
			lines = append(lines, text)
		}
	}
	return strings.Join(lines, "\n")
}

// TestProxy has proxy variables, which steps see and digests do not.
func TestProxy(t *testing.T) {
	w := newWorld(t, builder(t))
	p := w.newProject("proxy", map[string]string{"Dockerfile": "FROM busybox:1\nRUN echo \"by <$HTTP_PROXY> <$http_proxy>\" >&2; echo made > /made\n"})
	var digests []oci.Digest
	var inputs []oci.Digest
	for _, proxy := range []string{"", "http://one.test:3128", "http://two.test:3128"} {
		w.config.Proxy = nil
		if proxy != "" {
			w.config.Proxy = map[string]string{"HTTP_PROXY": proxy, "http_proxy": proxy}
		}
		w.restart()
		p.request.Force = true
		o := p.mustRun()
		if want := fmt.Sprintf("by <%s> <%s>", proxy, proxy); !strings.Contains(p.stepOutput(), want) {
			t.Errorf("the step did not print %q:\n%s", want, p.text())
		}
		digests, inputs = append(digests, o.Targets[0].Manifest), append(inputs, o.Targets[0].Inputs)
	}
	if digests[0] != digests[1] || digests[1] != digests[2] || inputs[0] != inputs[1] || inputs[1] != inputs[2] {
		t.Errorf("with one proxy and another the digests are %v, those of the inputs %v", digests, inputs)
	}
	p.request.Force = false
	if o := p.mustRun(); o.Targets[0].Verdict != pipeline.Reused {
		t.Errorf("verdict %s: %s", o.Targets[0].Verdict, reasons(o))
	}
}

// TestEpoch has the time that an image claims to be of.
func TestEpoch(t *testing.T) {
	w := newWorld(t, builder(t))
	p := w.newProject("epoch", map[string]string{"Dockerfile": "FROM busybox:1\nCOPY f /\n", "f": "f"})
	p.request.Set = []string{"default.args.SOURCE_DATE_EPOCH=1000000000"}
	d := p.mustRun().Targets[0].Manifest
	created := w.imageOf("_builds/epoch", d).Created
	if created == nil || created.Unix() != 1000000000 {
		t.Errorf("the image was created at %v", created)
	}
}

// TestMissingEmulator has a target for a platform that nothing here builds.
func TestMissingEmulator(t *testing.T) {
	w := newWorld(t, builder(t))
	w.config.Solver = buildkit.NewFleet(buildkit.New(w.daemon, &local.Store{Registry: w.store.Registry}))
	w.restart()
	p := w.newProject("riscv", map[string]string{"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "f",
		"docker-bake.hcl": "target \"default\" {\n  platforms = [\"linux/amd64\", \"linux/mips64le\"]\n}\n"})
	p.mustFail(pipeline.KindBuilder, "linux/mips64le", "qemu-mips64")
}

// TestFailedTest has a test that leaves its report and fails.
func TestFailedTest(t *testing.T) {
	w := newWorld(t, builder(t))
	const report = `<testsuite name="unit" tests="2" failures="1"><testcase name="good"/><testcase name="bad"><failure message="no"/></testcase></testsuite>`
	p := w.newProject("tested", map[string]string{
		"Dockerfile":      "FROM busybox:1 AS app\nCOPY f /\nFROM app AS test\nWORKDIR /work\nRUN echo '" + report + "' > junit.xml; echo it went wrong; exit 5\n",
		"docker-bake.hcl": "target \"default\" {\n  target = \"app\"\n}\ntarget \"test\" {\n  target = \"test\"\n}\n", "f": "f",
	})
	o := p.mustFail(pipeline.KindTest, "Dockerfile:5", "exit code 5")
	if o.Record == "" {
		t.Error("the run has no record")
	}
	if !strings.Contains(p.text(), "it went wrong") || !strings.Contains(p.text(), "1 fail") {
		t.Errorf("the log says neither what the test printed nor what its report has:\n%s", p.text())
	}
}
