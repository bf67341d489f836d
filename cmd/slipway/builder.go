//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/spf13/pflag"

	"slipway/internal/auth"
	"slipway/internal/bake"
	"slipway/internal/buildkit"
	"slipway/internal/buildkit/daemon"
	"slipway/internal/git"
	"slipway/internal/pipeline"
	"slipway/internal/pipeline/local"
	"slipway/internal/rest"
	"slipway/internal/source"
	"slipway/internal/tree"
)

// buildSettings are the settings of building; see the flags for what they mean.
type buildSettings struct {
	builders    stringList
	compression string
	maxAge      time.Duration
	maxContext  byteSize
	reserve     byteSize
	parallel    int
	rewrite     stringList
	names       stringList
	hosts       stringList
	cpus        float64
	memory      byteSize
	processes   int64
	cache       byteSize
	private     bool
}

// Names of what building keeps in the data folder.
const (
	buildkitFolder = "buildkit"
	workFolder     = "work"
	treesFile      = "trees.cache"
	mirrorsFolder  = "git"
)

func (s *buildSettings) addFlags(f *pflag.FlagSet) {
	s.maxContext = 16 << 30
	f.Var(&s.builders, "build.builder", "addresses of BuildKit daemons, such as unix:///run/buildkit/buildkitd.sock or tcp://arm-builder:1234, comma-separated; own is a child of this server, and the default; none builds nothing")
	f.StringVar(&s.compression, "build.compression", "gzip", "compression of new layers: gzip, which every client reads, or zstd, which is faster and smaller")
	f.DurationVar(&s.maxAge, "build.max-age", 0, "how long images with steps that may have fetched something are reused, where the project does not say; 0 is for ever")
	f.Var(&s.maxContext, "build.max-context", "largest folder that a client may send")
	f.Var(&s.reserve, "build.reserve", "free space below which nothing is built, while pushes still go on; 0 is 4GiB, or a tenth of a smaller disk")
	f.IntVar(&s.parallel, "build.parallel", 2, "targets of a run that are built at a time")
	f.Var(&s.hosts, "hosts", "further names under which clients know this server, such as registry.lan:5000: in tags and FROM they mean this server, comma-separated")
	f.Var(&s.rewrite, "build.rewrite-registries", "names of other registries whose tags are published here, comma-separated")
	f.Var(&s.names, "build.local-names", "repositories here that FROM takes before Docker Hub's of the same name, comma-separated")
	f.Float64Var(&s.cpus, "build.cpus", 0, "processors that all builds together may use; 0 is all, behind everything else")
	f.Var(&s.memory, "build.memory", "memory that all builds together may use; 0 is three quarters of the machine's")
	f.Int64Var(&s.processes, "build.processes", 0, "processes that all builds together may have; 0 is 8192")
	f.Var(&s.cache, "build.cache", "disk space of the build cache; 0 is a fifth of the disk, at most 50GB")
	f.BoolVar(&s.private, "build.private-addresses", false, "fetch git URLs from private addresses too")
}

func (s *buildSettings) check() error {
	if s.compression != "zstd" && s.compression != "gzip" {
		return fmt.Errorf("build.compression is %q: use zstd or gzip", s.compression)
	}
	if s.parallel < 1 {
		return fmt.Errorf("build.parallel is %d: it must be at least 1", s.parallel)
	}
	if slices.Contains(s.builders, "none") && len(s.builders) > 1 {
		return errors.New("build.builder has none beside others: leave it or them out")
	}
	for name, n := range map[string]int64{"build.max-age": int64(s.maxAge), "build.processes": s.processes, "build.cpus": int64(s.cpus)} {
		if n < 0 {
			return fmt.Errorf("%s must not be negative", name)
		}
	}
	return nil
}

// builder is everything that builds into one data folder.
type builder struct {
	settings buildSettings
	data     string
	store    *store
	ca       []byte // of ca-certificates
	trees    *tree.Cache
	projects *bake.Reader
	daemons  []buildDaemon
	engine   *pipeline.Engine
}

// openBuilder makes the engine of a data folder. The builder itself starts
// with the first build that needs it. addr is where this server listens, nil
// if it does not.
func openBuilder(ctx context.Context, st *store, s buildSettings, addr net.Addr, cas []string, log *slog.Logger) (b *builder, err error) {
	b = &builder{settings: s, data: st.dir, store: st, projects: &bake.Reader{}}
	work := filepath.Join(b.data, workFolder)
	if err := errors.Join(os.RemoveAll(work), os.MkdirAll(work, 0o700)); err != nil { // of runs that a crash cut off
		return nil, err
	}
	if b.ca, err = readCertificates(cas); err != nil {
		return nil, err
	}
	if b.trees, err = tree.OpenCache(filepath.Join(b.data, treesFile)); err != nil {
		return nil, err
	}
	hosts := ownHosts(addr, s.hosts)
	images := &local.Store{Registry: st.registry}
	resolver := &local.Resolver{DB: st.db, Registry: st.registry, Mirror: st.mirror, Hosts: hosts, Names: s.names, MayPull: st.may(auth.Pull)}
	if st.mirror != nil {
		images.Reader = st.mirror
	}
	proxy := daemon.ProxyFromEnvironment()
	c := pipeline.Config{
		DB: st.db, Store: images, Resolver: resolver, Publisher: &local.Publisher{Registry: st.registry}, Log: log,
		Trees: b.trees, Builder: buildkit.Version(), Platform: platforms.Format(platforms.Normalize(platforms.DefaultSpec())),
		Hosts: hosts, Rewrite: s.rewrite, Compression: s.compression, MaxAge: s.maxAge, Parallel: s.parallel,
		Proxy: proxy.BuildArgs(), Space: b.full, MayPublish: st.may(auth.Push),
		ID: "slipway://" + firstOf(hosts, "local"), Version: slipwayVersion(),
		Read: b.projects.Read, Fetch: b.fetch,
	}
	b.daemons = buildDaemons(s, daemon.Config{
		Root: filepath.Join(b.data, buildkitFolder), Log: log, CPUs: s.cpus, Memory: int64(s.memory), Processes: s.processes,
		MaxUsed: int64(s.cache), Proxy: proxy, CAFiles: cas,
	})
	if len(b.daemons) > 0 {
		var solvers []*buildkit.Solver
		for _, d := range b.daemons {
			solvers = append(solvers, buildkit.New(d, images))
		}
		fleet := buildkit.NewFleet(solvers...)
		c.Solver = fleet
		if len(s.builders) > 0 && !slices.Equal(s.builders, []string{"own"}) {
			c.BuildPlatform = fleet.BuildPlatform // an own one need not be started to be asked
		}
	}
	if b.engine, err = pipeline.New(c); err != nil {
		return nil, err
	}
	n, err := b.engine.Recover(ctx)
	if err != nil {
		return nil, err
	}
	if n > 0 {
		log.Warn("runs were cut off when the server ended; their tags did not move", "runs", n)
	}
	return b, nil
}

// readCertificates joins the files of ca-certificates.
func readCertificates(files []string) (all []byte, err error) {
	for _, file := range files {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("ca-certificates: %w", err)
		}
		all = append(append(all, pem...), '\n')
	}
	return all, nil
}

func firstOf(list []string, other string) string {
	if len(list) == 0 {
		return other
	}
	return list[0]
}

// ownHosts are the names that mean this server: its address, and those set.
func ownHosts(addr net.Addr, set []string) []string {
	hosts := append([]string{}, set...)
	if addr == nil {
		return hosts
	}
	hosts = append(hosts, addr.String())
	host, port, err := net.SplitHostPort(addr.String())
	if ip, perr := netip.ParseAddr(host); err == nil && perr == nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		hosts = append(hosts, "localhost:"+port, "127.0.0.1:"+port)
	}
	return hosts
}

const (
	buildReserveShare = 10 // of the disk, at most: one part in so many
	maxBuildReserve   = 4 << 30
)

// full refuses builds before pushes: a build fills a disk, a push must not
// suffer from it.
func (b *builder) full() error {
	_, err := b.room()
	return err
}

// room is how much a build may put on the disk, in bytes.
func (b *builder) room() (int64, error) {
	free, total, err := b.store.blobs.Space()
	if err != nil {
		return 0, fmt.Errorf("ask for free space: %w", err)
	}
	floor := min(total/buildReserveShare, maxBuildReserve)
	if b.settings.reserve > 0 {
		floor = uint64(b.settings.reserve)
	}
	if free < floor {
		return 0, fmt.Errorf("the disk of %s has %s free, and builds leave %s to pushes: free space, or lower build.reserve", b.data, sizeText(int64(free)), sizeText(int64(floor)))
	}
	return int64(free - floor), nil
}

// subnet is where RUN steps come from, once something was built here.
func (b *builder) subnet() (netip.Prefix, bool) {
	for _, d := range b.daemons {
		if p, ok := d.subnet(); ok {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

func (b *builder) close() error {
	err := errors.Join(b.trees.Save(), b.projects.Close())
	for _, d := range b.daemons {
		err = errors.Join(err, d.close())
	}
	return errors.Join(err, os.RemoveAll(filepath.Join(b.data, workFolder)))
}

// checkout makes the folder that a request names, and the pipeline's request.
func (b *builder) checkout(ctx context.Context, r rest.BuildRequest, archive io.Reader) (req pipeline.Request, release func(), err error) {
	req = requestOf(r)
	req.Project = rest.ProjectOf(r)
	release = func() {}
	switch {
	case archive != nil:
		release, err = b.unpack(ctx, &req, archive)
	case r.Directory != nil:
		err = b.folder(ctx, &req, *r.Directory)
	case req.Source.URI != "":
		release, err = b.clone(ctx, &req)
	default:
		err = errors.New("the request names neither a folder nor a git URL")
	}
	return req, release, err
}

func (b *builder) folder(ctx context.Context, req *pipeline.Request, dir string) (err error) {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("directory %q is not absolute", dir)
	}
	if _, err := os.ReadDir(dir); err != nil {
		return fmt.Errorf("the server can't read the folder: %w; send it with --server instead", err)
	}
	req.Dir = dir
	req.Source, err = source.Describe(ctx, dir)
	return err
}

func (b *builder) unpack(ctx context.Context, req *pipeline.Request, archive io.Reader) (release func(), err error) {
	req.Source.Claimed = true
	room, err := b.room() // before anything is unpacked: pushes come first
	if err != nil {
		return func() {}, &pipeline.Failure{Kind: pipeline.KindBuilder, Err: err}
	}
	if req.Dir, release, err = b.workDir(); err != nil {
		return release, err
	}
	if err := source.Unpack(ctx, archive, req.Dir, min(room, int64(b.settings.maxContext))); err != nil {
		release()
		return func() {}, err
	}
	return release, nil
}

func (b *builder) clone(ctx context.Context, req *pipeline.Request) (release func(), err error) {
	if err := b.full(); err != nil {
		return func() {}, &pipeline.Failure{Kind: pipeline.KindBuilder, Err: err}
	}
	dir, release, err := b.workDir()
	if err != nil {
		return release, err
	}
	url := req.Source.URI
	if req.Dir, req.Source, err = source.Clone(ctx, url, dir, b.cloneOptions()); err != nil {
		release()
		return func() {}, allowHint(err)
	}
	return release, nil
}

func (b *builder) cloneOptions() source.CloneOptions {
	proxy := daemon.ProxyFromEnvironment()
	return source.CloneOptions{
		Cache: filepath.Join(b.data, mirrorsFolder), AllowPrivate: b.settings.private, CA: b.ca,
		Proxy: git.Proxy{HTTP: proxy.HTTP, HTTPS: proxy.HTTPS, No: proxy.No},
	}
}

// fetch checks out a git context of a target.
func (b *builder) fetch(ctx context.Context, url, dir string) (folder, commit string, err error) {
	folder, s, err := source.Clone(ctx, url, dir, b.cloneOptions())
	return folder, s.Commit, allowHint(err)
}

// allowHint names the setting by which an address is allowed.
func allowHint(err error) error {
	if errors.Is(err, git.ErrPrivate) {
		return fmt.Errorf("%w, with --build.private-addresses", err)
	}
	return err
}

func (b *builder) workDir() (dir string, release func(), err error) {
	dir, err = os.MkdirTemp(filepath.Join(b.data, workFolder), "")
	if err != nil {
		return "", func() {}, err
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil // the next start removes what is left
}

// requestOf translates the API's request.
func requestOf(r rest.BuildRequest) (req pipeline.Request) {
	list := func(p *[]string) []string {
		if p == nil {
			return nil
		}
		return *p
	}
	text := func(p *string) string {
		if p == nil {
			return ""
		}
		return *p
	}
	req = pipeline.Request{
		Project: text(r.Project), Files: list(r.Files), Targets: list(r.Targets), Set: list(r.Set), ForceTargets: list(r.ForceTargets),
		Force: r.Force != nil && *r.Force, Explain: r.Explain != nil && *r.Explain, Cause: text(r.Cause), SSH: map[string][]string{},
	}
	if r.Variables != nil {
		req.Vars = *r.Variables
	}
	if r.Secrets != nil {
		req.Secrets = *r.Secrets
	}
	for _, s := range list(r.Ssh) {
		id, paths, ok := strings.Cut(s, "=")
		req.SSH[id] = nil
		if ok {
			req.SSH[id] = strings.Split(paths, ",")
		}
	}
	if s := r.Source; s != nil {
		req.Source = pipeline.Source{URI: text(s.Url), Commit: text(s.Commit), Branch: text(s.Branch), Tag: text(s.Tag), Dirty: s.Dirty != nil && *s.Dirty}
	}
	return req
}
