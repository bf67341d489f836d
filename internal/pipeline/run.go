package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"slipway/internal/bake"
	"slipway/internal/oci"
	"slipway/internal/tree"
)

// pinTime is how long a run's pins last if nothing lets go of them.
const pinTime = 24 * time.Hour

// run is one run while it goes on.
type run struct {
	*Engine
	req     Request
	log     *runLog
	outcome Outcome
	ended   bool // the outcome is in the database
	project *bake.Project
	tags    map[string][]tag
	nodes   []*node
	secrets map[string][]byte

	mu       sync.Mutex
	resolved map[string]Resolved
	trees    map[string]*treeOnce
	checkout map[string]*checkoutOnce
	release  []func()
}

type treeOnce struct {
	sync.Once
	tree *tree.Tree
	err  error
}

// Run carries out a request and tells sink what happens; the last event is the
// outcome. The error says why the run failed, as a *Failure; ctx's end cancels
// it. Whatever happens, the run is recorded and its pins are let go.
func (e *Engine) Run(ctx context.Context, req Request, sink Sink) (Outcome, error) {
	if sink == nil {
		sink = func(Event) {}
	}
	if err := req.check(); err != nil {
		return e.refuse(req, sink, &Failure{KindProject, err})
	}
	ctx, leave, err := e.underWay.enter(ctx)
	if err != nil {
		return e.refuse(req, sink, err)
	}
	defer leave()
	o, err := e.begin(ctx, req)
	if err != nil {
		return e.refuse(req, sink, &Failure{KindInternal, err})
	}
	r := &run{Engine: e, req: req, outcome: o, secrets: maps.Clone(req.Secrets),
		resolved: map[string]Resolved{}, trees: map[string]*treeOnce{}, checkout: map[string]*checkoutOnce{}}
	if r.secrets == nil {
		r.secrets = map[string][]byte{}
	}
	r.log = newLog(slices.Collect(maps.Values(req.Secrets)), sink, e.DB.Now)
	err = r.carryOut(ctx)
	err = r.finish(context.WithoutCancel(ctx), err)
	sink(Event{At: e.DB.Now().UTC(), Outcome: &r.outcome})
	return r.outcome, err
}

// refuse tells of a run that did not begin: it has no number.
func (e *Engine) refuse(req Request, sink Sink, err error) (Outcome, error) {
	now := e.DB.Now().UTC()
	o := Outcome{Project: req.Project, State: Cancelled, Error: err.Error(), Targets: []TargetOutcome{}, Tags: []MovedTag{}, Started: now, Ended: now}
	var f *Failure
	if errors.As(err, &f) {
		o.State, o.Failure = Failed, f.Kind
	}
	sink(Event{At: now, Outcome: &o})
	return o, err
}

func (req *Request) check() error {
	if req.Project == "" || oci.CheckRepository(req.Project) != nil {
		return fmt.Errorf("project %q: a project's name is like an image's: lower case letters, digits, dots, dashes and underscores", req.Project)
	}
	if !filepath.IsAbs(req.Dir) {
		return fmt.Errorf("folder %q is not absolute", req.Dir)
	}
	if req.Trust != "" && (oci.CheckRepository(req.Trust) != nil || strings.Contains(req.Trust, "/")) {
		return fmt.Errorf("trust level %q: use lower case letters, digits and dashes", req.Trust)
	}
	return nil
}

// carryOut is the run without its records.
func (r *run) carryOut(ctx context.Context) error {
	defer func() {
		for _, f := range r.release {
			f()
		}
	}()
	if err := r.Store.Prepare(ctx, builds(r.req.Project, r.req.Trust)); err != nil {
		return failure(KindInternal, err)
	}
	r.log.Section("Run %d of %s", r.outcome.Number, r.req.Project)
	r.log.Linef("", "asked for by %s: %s", orNone(r.req.Actor), orNone(r.req.Cause))
	if r.req.Source.Commit != "" {
		dirty := ""
		if r.req.Source.Dirty {
			dirty = ", with uncommitted changes"
		}
		r.log.Linef("", "commit %s of %s%s", r.req.Source.Commit, orNone(r.req.Source.Branch), dirty)
	}
	if err := r.readProject(ctx); err != nil {
		return failure(KindProject, err)
	}
	if err := r.Space(); err != nil {
		return failure(KindBuilder, err)
	}
	r.log.Section("Targets")
	var group sync.WaitGroup
	for _, n := range r.nodes {
		group.Go(func() {
			defer close(n.done)
			defer r.recovered(n)
			r.work(ctx, n)
		})
	}
	group.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return r.publishAll(ctx)
}

// recovered makes a failure of a panic: reports and Dockerfiles are hostile
// input, and a server serves more than this run.
func (r *run) recovered(n *node) {
	p := recover()
	if p == nil {
		return
	}
	r.Log.Error("a target's build panicked", "project", r.req.Project, "run", r.outcome.Number, "target", n.key, "err", p, "stack", string(debug.Stack()))
	n.err = failure(KindInternal, fmt.Errorf("Slipway has a defect that this target met: %v; the server's log has the details", p))
	n.outcome.Verdict = FailedOne
}

// readProject reads the files of the project and lays out its targets.
func (r *run) readProject(ctx context.Context) error {
	r.log.Section("Project")
	vars := map[string]string{
		"BUILD_NUMBER": strconv.FormatInt(r.outcome.Number, 10), "GIT_SHA": r.req.Source.Commit,
		"GIT_BRANCH": r.req.Source.Branch, "GIT_TAG": r.req.Source.Tag,
	}
	maps.Copy(vars, r.req.Vars)
	p, err := r.Read(ctx, bake.Request{Dir: r.req.Dir, Files: r.req.Files, Targets: r.req.Targets, Set: r.req.Set, Vars: vars})
	if err != nil {
		return err
	}
	r.project = p
	r.log.Linef("", "read %s", strings.Join(p.Files, ", "))
	for _, w := range p.Warnings {
		r.log.Linef("", "warning: %s", w)
	}
	if err := r.readSecrets(); err != nil {
		return err
	}
	tests := r.testTargets()
	isTest := func(name string) bool { return tests[name] }
	if r.tags, err = r.tagsOf(p, r.req.Project, r.outcome.Number, isTest); err == nil {
		err = r.mayPublish(ctx) // before anything is built
	}
	if err != nil {
		return err
	}
	for _, name := range r.req.ForceTargets {
		if p.Targets[name] == nil {
			return fmt.Errorf("--force names target %s, which this run does not have: it has %s", name, strings.Join(slices.Sorted(maps.Keys(p.Targets)), ", "))
		}
	}
	return r.layOut(tests)
}

// readSecrets reads the values of the project's secrets, so that none of them
// ever gets into the log. One that is missing is an error where it is needed.
func (r *run) readSecrets() error {
	for _, name := range r.order() {
		t := r.project.Targets[name]
		for _, s := range t.Secrets {
			if _, given := r.secrets[s.ID]; given || s.Path == "" {
				continue
			}
			value, err := readWithin(r.req.Dir, s.Path, maxSecret)
			if errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("there is no file %s", s.Path)
			}
			if err != nil {
				return fmt.Errorf("%starget %s: secret %s: %w", at(t.Position), name, s.ID, err)
			}
			r.secrets[s.ID] = value
		}
	}
	r.log.hide(slices.Collect(maps.Values(r.secrets)))
	return nil
}

// maxSecret is BuildKit's own limit, in bytes.
const maxSecret = 500 << 10

// layOut makes the nodes, each after what it needs.
func (r *run) layOut(tests map[string]bool) error {
	byKey := map[string]*node{}
	key := func(name, platform string) string { return name + " " + platform }
	for _, name := range r.order() {
		t := r.project.Targets[name]
		platforms := slices.Clone(t.Platforms)
		if len(platforms) == 0 {
			platforms = []string{r.Platform}
		}
		for _, platform := range platforms {
			if byKey[key(name, platform)] != nil {
				continue
			}
			n := &node{target: t, platform: platform, test: tests[name], key: name, done: make(chan struct{})}
			if len(platforms) > 1 {
				n.key = key(name, platform)
			}
			n.outcome = TargetOutcome{Target: name, Platform: platform, Test: n.test}
			for _, need := range t.Needs {
				for _, other := range r.nodes {
					if other.target.Name == need {
						n.needs = append(n.needs, other)
					}
				}
				if len(n.needs) == 0 {
					return fmt.Errorf("%starget %s is built on target %s, which comes after it", at(t.Position), name, need)
				}
			}
			n.forced = r.forced(n)
			byKey[key(name, platform)] = n
			r.nodes = append(r.nodes, n)
		}
	}
	r.gate()
	return nil
}

// work decides a node, and builds it if it must be.
func (r *run) work(ctx context.Context, n *node) {
	began := time.Now()
	err := r.wait(ctx, n)
	if err == nil {
		err = r.decide(ctx, n)
	}
	n.outcome.Millis = time.Since(began).Milliseconds()
	if err == nil {
		return
	}
	n.err = err
	n.outcome.Verdict = FailedOne
	var held *heldError
	if errors.As(err, &held) {
		n.outcome.Verdict = Held
		n.outcome.Reasons = []Reason{{What: held.Error()}}
		r.log.Linef(n.key, "%s: %s", Held, held)
		return
	}
	if n.outcome.Reasons == nil {
		n.outcome.Reasons = []Reason{}
	}
	if ctx.Err() == nil {
		r.logFailure(n, err)
	}
}

// heldError says that a target was not built because of another one.
type heldError struct{ by, why string }

func (e *heldError) Error() string { return e.by + " " + e.why }

// wait waits for what a node is built on, and for the tests that gate it.
func (r *run) wait(ctx context.Context, n *node) error {
	for _, other := range slices.Concat(n.needs, n.gates) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-other.done:
		}
		if other.err == nil {
			continue
		}
		var held *heldError
		if errors.As(other.err, &held) {
			return held
		}
		return &heldError{other.key, "failed"}
	}
	return nil
}

// decide finds a result for a node's inputs, or has it built.
func (r *run) decide(ctx context.Context, n *node) error {
	p, err := r.plan(ctx, n)
	if err != nil {
		return failure(KindProject, err)
	}
	n.outcome.Inputs, n.bases = p.digest, p.bases
	unlock, err := r.building.lock(ctx, fmt.Sprintf("%s\x00%s\x00%s\x00%t", r.req.Project, r.req.Trust, p.digest, n.test))
	if err != nil {
		return err
	}
	defer unlock()
	last, err := r.lastResult(ctx, r.req, n.target.Name, n.platform)
	if err != nil {
		return failure(KindInternal, err)
	}
	if last != nil {
		n.outcome.Previous = last.inputs
	}
	found, reasons, err := r.reusable(ctx, n, p, last)
	if err != nil {
		return failure(KindInternal, err)
	}
	n.outcome.Reasons = reasons
	if found != nil {
		r.take(n, *found, builds(r.req.Project, found.trust))
		n.outcome.Verdict = Reused
		r.sayVerdict(n, last, fmt.Sprintf("run %d", found.number))
		return r.use(ctx, r.req, *found, n.target.Name, n.platform)
	}
	n.outcome.Verdict = Built
	if n.test {
		n.outcome.Verdict = TestedOK
	}
	r.sayVerdict(n, last, "")
	return r.solve(ctx, n, p)
}

func (r *run) take(n *node, found result, where string) {
	n.result, n.where = found, where
	n.outcome.Manifest = found.manifest
}

// reusable finds the result to reuse, or says why there is none.
func (r *run) reusable(ctx context.Context, n *node, p *plan, last *result) (*result, []Reason, error) {
	if n.forced != "" {
		return nil, []Reason{{What: n.forced}}, nil
	}
	if n.target.NoCache || len(n.target.NoCacheFilter) > 0 {
		return nil, []Reason{{What: "no-cache is set"}}, nil
	}
	for _, u := range p.unpinned {
		if u.Kind != "run" {
			p.solve.NoCache = false // the builder asks the origin by itself
			return nil, []Reason{{What: "unpinned input", Name: u.What, How: fmt.Sprintf("(%s:%d) may have changed", p.solve.DockerfileName, u.Line)}}, nil
		}
	}
	found, err := r.findResult(ctx, r.req, p.digest, n.test)
	if err != nil {
		return nil, nil, err
	}
	if found == nil {
		reasons, err := r.explain(ctx, p, last)
		return nil, reasons, err
	}
	if age := r.DB.Now().Sub(found.builtAt); len(p.unpinned) > 0 && r.maxAge() > 0 && age > r.maxAge() {
		p.solve.NoCache = true // the builder's own cache is as old
		return nil, []Reason{{What: "max-age", Name: r.maxAge().String(), How: fmt.Sprintf("is over: %s (%s:%d) was run %s ago", p.unpinned[0].What, p.solve.DockerfileName, p.unpinned[0].Line, age.Round(time.Second))}}, nil
	}
	if n.test {
		return found, []Reason{{What: "the inputs are those of a test that passed"}}, nil
	}
	// The pin first: what is whole then stays so.
	if err := r.Store.Pin(ctx, holder(r.outcome.Run), pinTime, found.manifest, found.listing, found.provenance); err != nil {
		return nil, nil, err
	}
	whole, err := r.Store.Whole(ctx, builds(r.req.Project, found.trust), found.manifest)
	if err != nil {
		return nil, nil, err
	}
	if !whole {
		return nil, []Reason{{What: "image", Name: found.manifest.String(), How: "is no longer whole"}}, nil
	}
	return found, []Reason{{What: "the inputs are the same"}}, nil
}

func (r *run) maxAge() time.Duration {
	if age := r.project.Settings.MaxAge; age > 0 {
		return age
	}
	return r.MaxAge
}

// forced says why a node is built whatever its inputs are, or "". What it is
// built on has been asked.
func (r *run) forced(n *node) string {
	if r.req.Force || slices.Contains(r.req.ForceTargets, n.target.Name) {
		return "forced"
	}
	for _, need := range n.needs {
		if need.forced != "" {
			return "target " + need.target.Name + " was forced"
		}
	}
	return ""
}

// explain compares the inputs with those of the result that was used last.
func (r *run) explain(ctx context.Context, p *plan, last *result) ([]Reason, error) {
	if last == nil {
		return []Reason{{What: "there is no earlier result"}}, nil
	}
	if last.inputs == p.digest {
		return []Reason{{What: "its last result was a failure, or of another kind"}}, nil
	}
	before, err := r.readInputs(ctx, *last)
	if err != nil {
		return []Reason{{What: "the inputs differ from those of", Name: fmt.Sprintf("run %d", last.number), How: "whose list is no longer here"}}, nil
	}
	reasons := Explain(before, p.inputs)
	if len(reasons) == 0 {
		// Such as the order of ulimits. What can't be named is no reason to fail.
		return []Reason{{What: "the inputs differ from those of", Name: fmt.Sprintf("run %d", last.number), How: "in an order"}}, nil
	}
	return reasons, nil
}

// maxReasons is how many reasons are shown unless --explain asks for all.
const maxReasons = 5

// sayVerdict logs what was decided, with both input digests.
func (r *run) sayVerdict(n *node, last *result, from string) {
	previous := "none"
	if last != nil {
		previous = last.inputs.String()
	}
	r.log.Linef(n.key, "inputs now:    %s", n.outcome.Inputs)
	r.log.Linef(n.key, "inputs before: %s", previous)
	switch n.outcome.Verdict {
	case Reused:
		what := "image " + n.outcome.Manifest.String()
		if n.test {
			what = "the test"
		}
		r.log.Linef(n.key, "verdict: reused, %s of %s", what, from)
	default:
		r.log.Linef(n.key, "verdict: %s", map[bool]string{false: "build", true: "run"}[n.test])
	}
	shown := n.outcome.Reasons
	if !r.req.Explain && len(shown) > maxReasons {
		shown = shown[:maxReasons]
	}
	for _, why := range shown {
		r.log.Linef(n.key, "  because %s", why)
	}
	if more := len(n.outcome.Reasons) - len(shown); more > 0 {
		r.log.Linef(n.key, "  and %d more reasons: --explain shows all", more)
	}
}

func (r *run) logFailure(n *node, err error) {
	var step *StepError
	if !errors.As(err, &step) {
		r.log.Linef(n.key, "failed: %v", err)
		return
	}
	r.log.Linef(n.key, "failed: %v", step)
	if len(step.Output) > 0 {
		r.log.Linef(n.key, "its last lines:")
		for _, line := range step.Output {
			r.log.Linef(n.key, "  %s", line)
		}
	}
}

func parseEpoch(value string) (time.Time, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return time.Time{}, fmt.Errorf("%q is no time", value)
	}
	return time.Unix(n, 0).UTC(), nil
}

// checkoutOnce is a remote context, fetched once per run.
type checkoutOnce struct {
	sync.Once
	dir, commit string
	err         error
}

// remote fetches a git context.
func (r *run) remote(ctx context.Context, url string) (dir, commit string, err error) {
	if r.Fetch == nil {
		return "", "", errors.New("this server fetches no git contexts")
	}
	r.mu.Lock()
	once, ok := r.checkout[url]
	if !ok {
		once = &checkoutOnce{}
		r.checkout[url] = once
	}
	r.mu.Unlock()
	once.Do(func() {
		var tmp string
		if tmp, once.err = os.MkdirTemp(r.Work, "context-"); once.err != nil {
			return
		}
		r.mu.Lock()
		r.release = append(r.release, func() { _ = os.RemoveAll(tmp) })
		r.mu.Unlock()
		once.dir, once.commit, once.err = r.Fetch(ctx, url, tmp)
	})
	return once.dir, once.commit, once.err
}
