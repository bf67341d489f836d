// Package buildkit builds with BuildKit. A solve is one target on one
// platform, with every base already resolved to a digest: the builder takes
// its bases from, and puts its result into, our own store over the session of
// that solve. It needs no registry, no login and no name look-up, and a source
// policy refuses whatever image it would look up by itself.
//
// The builder is a stock buildkitd: a child that package daemon keeps, or one
// that runs elsewhere.
package buildkit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
	"github.com/moby/buildkit/solver/llbsolver/compat"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/tonistiigi/fsutil"
	"google.golang.org/grpc/codes"

	"slipway/internal/oci"
	"slipway/internal/pipeline"
	"slipway/internal/tree"
)

// Compatibility is the BuildKit behaviour that results are made with. It is
// pinned: with another one the same inputs may give other digests.
const Compatibility = compat.CompatibilityVersion031

// Daemon is a builder that can be asked for clients.
type Daemon interface {
	// Client waits for the builder to be ready. The caller does not close it.
	Client(ctx context.Context) (*client.Client, error)
	// Pod opens a private network for the services of one solve, whose names
	// are hosts. An error says that the builder has no such networks.
	Pod(ctx context.Context, hosts []string) (Pod, error)
	// Cancelled says that a solve was cancelled, whose steps may live on.
	Cancelled()
}

// Pod is a private network of containers.
type Pod struct {
	Marker  string   // goes to every container, among the names that need no proxy
	Service []string // environment of the services
	Check   []string // environment of their health checks, which then end with 0 whatever they find
	Exit    string   // and end their output with this and their exit code
	Release func()
}

// Solver implements pipeline.Solver.
type Solver struct {
	daemon Daemon
	store  pipeline.Store
}

var _ pipeline.Solver = (*Solver)(nil)

// New makes a solver on a builder.
func New(d Daemon, s pipeline.Store) *Solver { return &Solver{daemon: d, store: s} }

// Version names what this solver does with equal inputs.
func Version() string { return fmt.Sprintf("buildkit compatibility %d", Compatibility) }

// Platforms implements pipeline.Solver.
func (s *Solver) Platforms(ctx context.Context) ([]string, error) {
	c, err := s.daemon.Client(ctx)
	if err != nil {
		return nil, &pipeline.NoBuilderError{Err: err}
	}
	workers, err := c.ListWorkers(ctx)
	if err != nil {
		return nil, &pipeline.NoBuilderError{Err: err}
	}
	var list []string
	for _, w := range workers {
		for _, p := range w.Platforms {
			if name := platforms.Format(platforms.Normalize(p)); !slices.Contains(list, name) {
				list = append(list, name)
			}
		}
	}
	return list, nil
}

// storeName is the name of a solve's view in its session.
const storeName = "slipway"

// localContext and localDockerfile are the frontend's names for its folders.
const (
	localContext    = "context"
	localDockerfile = "dockerfile"
)

// Solve implements pipeline.Solver.
func (s *Solver) Solve(ctx context.Context, t pipeline.Solve, p pipeline.Progress) (pipeline.Solved, error) {
	c, err := s.daemon.Client(ctx)
	if err != nil {
		return pipeline.Solved{}, &pipeline.NoBuilderError{Err: err}
	}
	v := newView(s.store, t.Repository, t.Pins, slices.Collect(maps.Values(bases(t))))
	defer v.Close()

	var pod Pod
	if len(t.Services) > 0 {
		if pod, err = s.daemon.Pod(ctx, serviceNames(t)); err != nil {
			return pipeline.Solved{}, fmt.Errorf("services of %s: %w", t.Target, err)
		}
		defer pod.Release()
	}
	solving, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A file that changed under the builder ends the solve: whoever sends it can
	// tell the builder nothing.
	opt, err := s.options(t, v, pod.Marker, cancel)
	if err != nil {
		return pipeline.Solved{}, err
	}
	watch := newWatch(p)
	status := make(chan *client.SolveStatus)
	drained := make(chan struct{})
	go func() { // always to the end: the builder blocks on it
		defer close(drained)
		for st := range status {
			watch.update(st)
		}
	}()
	run := &run{solver: s, solve: t, view: v, pod: pod, watch: watch}
	response, err := c.Build(solving, opt, "", run.build, status)
	<-drained
	if cause := context.Cause(solving); err != nil && errors.Is(cause, tree.ErrChanged) {
		return pipeline.Solved{}, cause
	}
	if run.err != nil {
		err = run.err
	}
	if err != nil {
		return pipeline.Solved{Reports: run.reports}, s.failure(ctx, err, watch, run)
	}
	solved := pipeline.Solved{Reports: run.reports}
	solved.Steps, solved.Cached = watch.counts()
	if t.Repository == "" {
		return solved, nil
	}
	solved.Manifest, err = v.publish(ctx, oci.Digest(response.ExporterResponse["containerimage.digest"]))
	solved.Config = oci.Digest(response.ExporterResponse["containerimage.config.digest"])
	return solved, err
}

// bases are the images that the solve's view may read.
func bases(t pipeline.Solve) map[string]pipeline.Base {
	all := maps.Clone(t.Images)
	if all == nil {
		all = map[string]pipeline.Base{}
	}
	for _, service := range t.Services {
		all["service "+service.Name] = service.Image
	}
	return all
}

func (s *Solver) options(t pipeline.Solve, v *view, marker string, changed func(error)) (client.SolveOpt, error) {
	opt := client.SolveOpt{
		CompatibilityVersion: Compatibility,
		SharedKey:            sharedKey(t),
		LocalMounts:          map[string]fsutil.FS{},
		OCIStores:            map[string]content.Store{storeName: v},
		FrontendAttrs:        attrs(t, marker),
		SourcePolicy:         onlyResolved(),
		Ref:                  identity.NewID(),
	}
	opt.LocalMounts[localDockerfile] = tree.NewMemFS(map[string][]byte{
		"Dockerfile": t.Dockerfile,
		// What is ignored was left out already. A file that says nothing keeps
		// the frontend from looking for another one.
		"Dockerfile.dockerignore": []byte("# applied before\n"),
	})
	opt.LocalMounts[localContext] = tree.NewMemFS(nil)
	if t.Context != nil {
		opt.LocalMounts[localContext] = sent(t.Context, changed)
	}
	for name, folder := range t.Contexts {
		opt.LocalMounts["context:"+name] = sent(folder, changed)
	}
	opt.Session = []session.Attachable{secretsprovider.FromMap(t.Secrets)}
	if len(t.SSH) > 0 {
		var agents []sshprovider.AgentConfig
		for _, id := range slices.Sorted(maps.Keys(t.SSH)) {
			agents = append(agents, sshprovider.AgentConfig{ID: id, Paths: t.SSH[id]})
		}
		a, err := sshprovider.NewSSHAgentProvider(agents)
		if err != nil {
			return opt, fmt.Errorf("ssh of %s: %w", t.Target, err)
		}
		opt.Session = append(opt.Session, a)
	}
	if t.Repository != "" {
		opt.Exports = []client.ExportEntry{{Type: client.ExporterOCI, Attrs: exportAttrs(t), OutputStore: v}}
	}
	return opt, nil
}

// sent is a folder on its way to the builder.
func sent(t *tree.Tree, changed func(error)) fsutil.FS {
	f := t.FS()
	f.OnFailure = changed
	return f
}

// attrs are the frontend's options.
func attrs(t pipeline.Solve, marker string) map[string]string {
	a := map[string]string{
		"filename": "Dockerfile",
		"platform": t.Platform,
	}
	if t.Stage != "" {
		a["target"] = t.Stage
	}
	// BuildKit takes the proxy variables out of what a step is known by.
	for name, value := range proxy(t.Proxy, marker) {
		a["build-arg:"+name] = value
	}
	for name, value := range t.Args {
		a["build-arg:"+name] = value
	}
	// After the project's own arguments: none of them opens the cache mounts of
	// another project.
	a["build-arg:BUILDKIT_CACHE_MOUNT_NS"] = t.Project + "/" + t.Trust
	for name, value := range t.Labels {
		a["label:"+name] = value
	}
	for name, base := range t.Images {
		a["context:"+name] = fmt.Sprintf("oci-layout://%s@%s", storeName, base.Digest)
	}
	for name := range t.Contexts {
		a["context:"+name] = "local:context:" + name
	}
	if t.Syntax != "" {
		a["source"] = t.Syntax
	} else {
		a["cmdline"] = "builtin" // the Dockerfile's own # syntax= was decided on before
	}
	switch {
	case t.NoCache:
		a["no-cache"] = ""
	case len(t.NoCacheFilter) > 0:
		a["no-cache"] = strings.Join(t.NoCacheFilter, ",")
	}
	if t.Network == "none" {
		a["force-network-mode"] = "none"
	}
	if len(t.ExtraHosts) > 0 {
		a["add-hosts"] = strings.Join(t.ExtraHosts, ",")
	}
	if t.ShmSize > 0 {
		a["shm-size"] = strconv.FormatInt(t.ShmSize, 10)
	}
	if len(t.Ulimits) > 0 {
		a["ulimit"] = strings.Join(t.Ulimits, ",")
	}
	if t.Provenance {
		a["attest:provenance"] = "mode=min"
	}
	return a
}

// proxy adds the marker of a pod to the names that need no proxy.
func proxy(variables map[string]string, marker string) map[string]string {
	if marker == "" {
		return variables
	}
	all := map[string]string{}
	maps.Copy(all, variables)
	none := all["NO_PROXY"]
	if none == "" {
		none = all["no_proxy"]
	}
	if none != "" {
		none += ","
	}
	delete(all, "no_proxy")
	all["NO_PROXY"] = none + marker
	return all
}

func exportAttrs(t pipeline.Solve) map[string]string {
	epoch := int64(0)
	if !t.Epoch.IsZero() {
		epoch = t.Epoch.Unix()
	}
	a := map[string]string{
		"tar":               "false",
		"oci-mediatypes":    "true",
		"source-date-epoch": strconv.FormatInt(epoch, 10),
		"rewrite-timestamp": "true",
		"compression":       t.Compression,
	}
	for key, value := range t.Annotations {
		a["annotation-manifest."+key] = value
	}
	return a
}

// onlyResolved lets a solve use the folders and the images that it was given,
// and what the Dockerfile itself fetches with ADD. An image that nobody
// resolved is refused: its digest would be in no input list.
func onlyResolved() *spb.Policy {
	return &spb.Policy{Version: 1, Rules: []*spb.Rule{{
		Action:   spb.PolicyAction_DENY,
		Selector: &spb.Selector{Identifier: "docker-image://*", MatchType: spb.MatchType_WILDCARD},
	}}}
}

// run is the part of a solve that runs in the builder's gateway.
type run struct {
	solver  *Solver
	solve   pipeline.Solve
	view    *view
	pod     Pod
	watch   *watch
	reports []pipeline.Report
	err     error // of build: on its way through the builder it loses its type
}

func (r *run) build(ctx context.Context, c gateway.Client) (result *gateway.Result, err error) {
	defer func() { r.err = err }()
	stop, err := r.startServices(ctx, c)
	defer stop()
	if err != nil {
		return nil, err
	}
	frontend := "dockerfile.v0"
	if r.solve.Syntax != "" {
		frontend = "gateway.v0"
	}
	result, err = c.Solve(ctx, gateway.SolveRequest{
		Evaluate:    true, // without it a test may never run
		Frontend:    frontend,
		FrontendOpt: c.BuildOpts().Opts,
	})
	if err != nil {
		r.reports = failedReports(ctx, c, err, r.solve.Reports)
		return nil, err
	}
	if len(r.solve.Reports) > 0 {
		ref, err := result.SingleRef()
		if err != nil {
			return nil, err
		}
		if r.reports, err = readReports(ctx, reference{ref}, workingDir(result), r.solve.Reports); err != nil {
			return nil, err
		}
	}
	return result, nil
}

// failure says what a failed solve means.
func (s *Solver) failure(ctx context.Context, err error, w *watch, r *run) error {
	if ctx.Err() != nil {
		s.daemon.Cancelled()
		return context.Cause(ctx)
	}
	var service *serviceError
	if errors.As(err, &service) {
		return service
	}
	if grpcerrors.Code(err) == codes.Unavailable {
		return &pipeline.NoBuilderError{Err: fmt.Errorf("it ended in the midst of a build, which another run may not meet: %w", err)}
	}
	return w.stepError(err, r.reports)
}

func serviceNames(t pipeline.Solve) (names []string) {
	for _, s := range t.Services {
		names = append(names, s.Name)
	}
	return names
}
