package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/internal/bake"
	"slipway/internal/oci"
	"slipway/internal/tree"
)

// node is one target on one platform, in the order in which it can be decided.
type node struct {
	target   *bake.Target
	platform string
	test     bool
	key      string  // "app", or "app linux/arm64" where there are several platforms
	needs    []*node // what it is built on
	gates    []*node // tests that come first and hold it back
	forced   string  // why it is built whatever its inputs are, or ""

	done    chan struct{} // closed when the fields below are final
	outcome TargetOutcome
	result  result
	where   string // repository of result.manifest
	err     error
	bases   []usedBase
	reports []Report
	cover   *float64
}

// usedBase is a base image as provenance names it.
type usedBase struct {
	name, platform string
	Resolved
}

// plan is a node with everything resolved.
type plan struct {
	inputs   *Inputs
	document []byte
	digest   oci.Digest
	solve    Solve
	unpinned []bake.Unpinned
	bases    []usedBase
	paths    []string // what the epoch is taken from
}

// maxDockerfile bounds a Dockerfile, in bytes.
const maxDockerfile = 4 << 20

// plan resolves a node. What it is built on is final.
func (r *run) plan(ctx context.Context, n *node) (*plan, error) {
	t := n.target
	p := &plan{solve: Solve{
		Project: r.req.Project, Trust: r.req.Trust, Target: t.Name, Platform: n.platform, Stage: t.Stage,
		Contexts: map[string]*tree.Tree{}, Images: map[string]Base{}, Labels: t.Labels, Network: t.Network,
		ShmSize: t.ShmSize, Ulimits: t.Ulimits, NoCache: t.NoCache, NoCacheFilter: t.NoCacheFilter,
		Proxy: r.Proxy, Pins: holder(r.outcome.Run), Compression: r.compression(), Provenance: r.project.Settings.Attestations,
	}}
	dir, err := r.folder(ctx, t, t.Context)
	if err != nil {
		return nil, err
	}
	if err := r.readDockerfile(n, p, dir); err != nil {
		return nil, err
	}
	args, epoch, err := buildArgs(t)
	if err != nil {
		return nil, err
	}
	buildPlatform := r.buildPlatform(ctx, n.platform)
	d, err := bake.ParseDockerfile(p.solve.Dockerfile, bake.DockerfileOptions{
		Name: p.solve.DockerfileName, Stage: t.Stage, Args: args, BuildPlatform: buildPlatform, TargetPlatform: n.platform,
		Contexts: slices.Sorted(maps.Keys(t.Contexts)),
	})
	if err != nil {
		return nil, err
	}
	for _, w := range d.Warnings {
		r.log.Linef(n.key, "warning: %s", w)
	}
	onBuild, err := r.images(ctx, n, p, d, buildPlatform)
	if err != nil {
		return nil, err
	}
	if d.UsesBuildPlatform() || d.Syntax != "" {
		p.inputs.BuildPlatform = buildPlatform
	}
	p.unpinned = append(d.Unpinned, unpinnedTriggers(onBuild)...)
	foreign := d.Syntax != "" // another frontend reads what it likes
	if foreign && r.req.Trust != "" {
		return nil, fmt.Errorf("%s: # syntax=%s is a frontend of its own, which a source that is not trusted may not bring: it could use others' cache mounts", p.solve.DockerfileName, d.Syntax)
	}
	whole := foreign || len(onBuild) > 0 || d.WholeContext[""]
	if err := r.contexts(ctx, n, p, d, dir, whole, foreign); err != nil {
		return nil, err
	}
	p.solve.Args = args
	if !foreign && len(onBuild) == 0 {
		p.solve.Args = map[string]string{}
		for name, value := range args {
			if slices.Contains(d.Args, name) || strings.HasPrefix(name, "BUILDKIT_") {
				p.solve.Args[name] = value
			}
		}
	}
	p.solve.Epoch = epoch
	for host, address := range t.ExtraHosts {
		p.solve.ExtraHosts = append(p.solve.ExtraHosts, host+"="+address)
	}
	slices.Sort(p.solve.ExtraHosts)
	if p.solve.Annotations, err = annotations(t); err != nil {
		return nil, err
	}
	if err := r.describe(ctx, n, p, d, epoch); err != nil {
		return nil, err
	}
	return p, nil
}

func (r *run) compression() string {
	if c := r.project.Settings.Compression; c != "" {
		return c
	}
	return r.Compression
}

// describe writes the input list of a plan.
func (r *run) describe(ctx context.Context, n *node, p *plan, d *bake.Dockerfile, epoch time.Time) (err error) {
	t, s := n.target, &p.solve
	in := p.inputs
	in.Schema, in.Builder, in.Platform, in.Stage = inputsSchema, r.Builder, n.platform, t.Stage
	in.Frontend, in.Dockerfile = "builtin", string(d.Canonical)
	if d.Syntax != "" {
		in.Frontend, in.Dockerfile = in.Images[d.Syntax], string(s.Dockerfile)
	}
	in.Args, in.Labels, in.Annotations = s.Args, t.Labels, s.Annotations
	in.Network, in.ExtraHosts, in.ShmSize, in.Ulimits = s.Network, s.ExtraHosts, s.ShmSize, s.Ulimits
	for _, secret := range t.Secrets {
		in.Secrets = append(in.Secrets, secret.ID)
	}
	for _, ssh := range t.SSH {
		in.SSH = append(in.SSH, ssh.ID)
	}
	slices.Sort(in.Secrets)
	slices.Sort(in.SSH)
	if n.test {
		in.Test, err = r.testInputs(ctx, n, p)
	} else {
		in.Output = map[string]string{"compression": s.Compression}
		if !epoch.IsZero() {
			in.Output["epoch"] = epoch.Format(time.RFC3339)
		}
		if s.Provenance {
			in.Output["provenance"] = "embedded"
		}
	}
	if err != nil {
		return err
	}
	if p.document, err = in.Document(); err != nil {
		return err
	}
	p.digest = oci.FromBytes(oci.SHA256, p.document)
	return nil
}

// buildPlatform is what the builder of a platform runs on itself. Where no
// builder answers it is this machine's: what is reused needs none.
func (r *run) buildPlatform(ctx context.Context, target string) string {
	if r.BuildPlatform == nil {
		return r.Platform
	}
	platform, err := r.BuildPlatform(ctx, target)
	if err != nil {
		return r.Platform
	}
	return platform
}

// buildArgs are the target's arguments. SOURCE_DATE_EPOCH is no argument here:
// it would be part of every step. It goes to the exporter.
func buildArgs(t *bake.Target) (args map[string]string, epoch time.Time, err error) {
	args = maps.Clone(t.Args)
	value, set := args["SOURCE_DATE_EPOCH"]
	if !set {
		return args, time.Time{}, nil
	}
	delete(args, "SOURCE_DATE_EPOCH")
	if epoch, err = parseEpoch(value); err != nil {
		err = fmt.Errorf("%stargets %s: SOURCE_DATE_EPOCH is %q: it is a number of seconds since 1970", at(t.Position), t.Name, value)
	}
	return args, epoch, err
}

// folder is where a context's files are.
func (r *run) folder(ctx context.Context, t *bake.Target, c bake.Context) (string, error) {
	switch c.Kind {
	case bake.ContextLocal:
		return filepath.Join(r.req.Dir, filepath.FromSlash(c.Value)), nil
	case bake.ContextGit:
		dir, _, err := r.remote(ctx, c.Value)
		if err != nil {
			return "", fmt.Errorf("%starget %s: context %s: %w", at(t.Position), t.Name, c.Value, err)
		}
		return dir, nil
	}
	return "", fmt.Errorf("%starget %s: context %s is of kind %s, which Slipway does not build from: use a folder of the project, or a git URL", at(t.Position), t.Name, c.Value, c.Kind)
}

func (r *run) readDockerfile(n *node, p *plan, contextDir string) error {
	t := n.target
	if t.DockerfileInline != "" {
		p.solve.Dockerfile, p.solve.DockerfileName = []byte(t.DockerfileInline), "Dockerfile of target "+t.Name
		return nil
	}
	dir := r.req.Dir
	if t.DockerfileRemote {
		dir = contextDir
	}
	content, err := readWithin(dir, t.Dockerfile, maxDockerfile)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%starget %s: there is no %s: create it, or name another with dockerfile", at(t.Position), t.Name, t.Dockerfile)
	}
	if err != nil {
		return fmt.Errorf("%starget %s: %w", at(t.Position), t.Name, err)
	}
	p.solve.Dockerfile, p.solve.DockerfileName = content, t.Dockerfile
	return nil
}

// readWithin reads a file of a folder; no symbolic link leads out of it.
func readWithin(dir, name string, limit int64) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // it was only read
	f, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return content, err
}

// images resolves every image that the Dockerfile asks for. onBuild are the
// steps that they bring.
func (r *run) images(ctx context.Context, n *node, p *plan, d *bake.Dockerfile, buildPlatform string) (onBuild []string, err error) {
	p.inputs = &Inputs{Images: map[string]string{}, Contexts: map[string]string{}}
	if stockFrontend.MatchString(d.Syntax) {
		d.Syntax = ""
	}
	uses := slices.Clone(d.Images)
	if d.Syntax != "" {
		uses = append(uses, bake.ImageUse{Name: bake.ContextName(d.Syntax), Written: d.Syntax, Platform: buildPlatform, Line: 1})
		p.solve.Syntax = bake.ContextName(d.Syntax)
	}
	for _, use := range uses {
		name := use.Name + "::" + use.Platform
		if _, seen := p.solve.Images[name]; seen {
			continue
		}
		found, err := r.resolve(ctx, use.Written, use.Platform)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", p.solve.DockerfileName, use.Line, err)
		}
		if use.Kind == bake.ImageFrom {
			onBuild = append(onBuild, found.OnBuild...)
		}
		p.useImage(name, use.Name, use.Platform, found, n.platform)
	}
	for _, name := range d.Contexts {
		c, err := namedContext(n.target, name)
		if err != nil {
			return nil, err
		}
		if c.Kind == bake.ContextLocal || c.Kind == bake.ContextGit {
			continue // a folder: see contexts
		}
		found, err := r.contextImage(ctx, n, c)
		if err != nil {
			return nil, fmt.Errorf("%starget %s: context %s: %w", at(n.target.Position), n.target.Name, name, err)
		}
		onBuild = append(onBuild, found.OnBuild...)
		p.useImage(name, name, n.platform, found, n.platform)
	}
	return onBuild, nil
}

// unpinnedTriggers are the ONBUILD steps whose result may change although their
// input does not. They are steps of the base's Dockerfile, and have no line here.
func unpinnedTriggers(steps []string) (list []bake.Unpinned) {
	for _, step := range steps {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(step), " ")
		u := bake.Unpinned{What: "ONBUILD " + step}
		switch strings.ToUpper(instruction) {
		case "RUN":
			u.Kind = "run"
		case "ADD":
			u.Kind = "add-http"
			if !strings.Contains(rest, "://") && !strings.ContainsAny(rest, "@$") {
				continue // files of the context
			}
		default:
			continue
		}
		list = append(list, u)
	}
	return list
}

// useImage notes an image under the name that the builder will ask for.
func (p *plan) useImage(key, name, platform string, found Resolved, own string) {
	p.solve.Images[key] = found.Base
	listed := name
	if platform != own {
		listed += "::" + platform
	}
	p.inputs.Images[listed] = found.Digest.String()
	p.bases = append(p.bases, usedBase{name, platform, found})
}

// stockFrontend are the tags of Docker's own frontend that a builder of the
// same age has built in. Anything else, a digest above all, is taken at its word.
var stockFrontend = regexp.MustCompile(`^(docker\.io/)?docker/dockerfile(:1(\.\d+){0,2}|:latest)?$`)

// namedContext finds a named context by the name that the builder uses.
func namedContext(t *bake.Target, name string) (bake.Context, error) {
	for written, c := range t.Contexts {
		if written == name || bake.ContextName(written) == name {
			return c, nil
		}
	}
	return bake.Context{}, fmt.Errorf("%starget %s has no context %s", at(t.Position), t.Name, name)
}

// contextImage is the image of a named context. A build for another platform
// than the builder's may run steps of both on it, and gets all that there is.
func (r *run) contextImage(ctx context.Context, n *node, c bake.Context) (Resolved, error) {
	cross := n.platform != r.Platform
	switch c.Kind {
	case bake.ContextTarget:
		return r.fromTarget(ctx, n, c.Value, cross)
	case bake.ContextImage:
		found, err := r.resolve(ctx, c.Value, n.platform)
		if err == nil && cross {
			found.Digest = found.Root
		}
		return found, err
	}
	return Resolved{}, fmt.Errorf("it is of kind %s, which Slipway does not build from: import the image, and name it", c.Kind)
}

// fromTarget is the result of another target of this run.
func (r *run) fromTarget(ctx context.Context, n *node, target string, cross bool) (Resolved, error) {
	var onBuild []string
	for _, need := range n.needs {
		if need.target.Name != target || (need.platform != n.platform && !cross) {
			continue
		}
		if need.test {
			return Resolved{}, fmt.Errorf("target %s is a test, which leaves no image to build on: build on what it tests, or name it otherwise than a test", target)
		}
		base := Base{need.where, need.result.manifest}
		steps, err := r.triggers(ctx, base)
		if err != nil {
			return Resolved{}, err
		}
		if onBuild = append(onBuild, steps...); !cross {
			return Resolved{Base: base, Name: "target " + target, Root: base.Digest, From: FromTarget, OnBuild: onBuild}, nil
		}
	}
	if cross {
		root, _, ok, err := r.root(ctx, target)
		if err != nil || ok {
			return Resolved{Base: root, Name: "target " + target, Root: root.Digest, From: FromTarget, OnBuild: onBuild}, err
		}
	}
	return Resolved{}, fmt.Errorf("target %s is not built for %s: add the platform to it", target, n.platform)
}

// triggers are the ONBUILD steps of an image that was built here.
func (r *run) triggers(ctx context.Context, b Base) ([]string, error) {
	_, content, err := r.Store.Manifest(ctx, b.Repository, b.Digest)
	if err != nil {
		return nil, err
	}
	var m struct {
		Config    v1.Descriptor   `json:"config"`
		Manifests []v1.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(content, &m); err != nil {
		return nil, fmt.Errorf("image %s: %w", b.Digest, err)
	}
	for _, child := range m.Manifests { // an image and its attestation
		if child.Platform != nil && child.Platform.OS != "unknown" {
			return r.triggers(ctx, Base{b.Repository, child.Digest})
		}
	}
	if m.Config.Digest == "" {
		return nil, fmt.Errorf("%s is no image: it has no configuration", b.Digest)
	}
	blob, err := r.Store.OpenBlob(ctx, b.Repository, m.Config.Digest)
	if err != nil {
		return nil, fmt.Errorf("image %s: its configuration: %w", b.Digest, err)
	}
	defer func() { _ = blob.Close() }() // it was only read
	var image struct {
		Config struct{ OnBuild []string } `json:"config"`
	}
	if err := json.NewDecoder(io.LimitReader(blob, maxDockerfile)).Decode(&image); err != nil {
		return nil, fmt.Errorf("image %s: its configuration: %w", b.Digest, err)
	}
	return image.Config.OnBuild, nil
}

// resolve asks once per run and platform, so that a run sees one state of the
// world.
func (r *run) resolve(ctx context.Context, name, platform string) (Resolved, error) {
	key := name + "::" + platform
	r.mu.Lock()
	found, known := r.resolved[key]
	r.mu.Unlock()
	if known {
		return found, nil
	}
	found, err := r.Resolver.Resolve(ctx, Query{Project: r.req.Project, Actor: r.req.Actor, Name: name, Platform: platform})
	if err != nil {
		return Resolved{}, err
	}
	if err := r.Store.Pin(ctx, holder(r.outcome.Run), pinTime, found.Digest); err != nil {
		return Resolved{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if earlier, raced := r.resolved[key]; raced {
		return earlier, nil
	}
	r.resolved[key] = found
	stale := ""
	if found.Stale {
		stale = "; its upstream could not be asked for a newer one"
	}
	r.log.Linef("", "%s for %s is %s of %s (%s%s)", name, platform, found.Digest, found.Name, found.From, stale)
	return found, nil
}

// contexts reads the folders that the build may read, and keeps of them what
// its steps name.
func (r *run) contexts(ctx context.Context, n *node, p *plan, d *bake.Dockerfile, dir string, whole, foreign bool) error {
	sources := map[string][]string{}
	for _, s := range d.Sources {
		sources[s.Context] = append(sources[s.Context], s.Path)
	}
	if whole || len(sources[""]) > 0 {
		ignore, err := r.ignore(n.target, dir)
		if err != nil {
			return err
		}
		all, err := r.tree(ctx, dir, ignore, p.solve.Args["BUILDKIT_CONTEXT_KEEP_GIT_DIR"] == "1" || n.target.Args["BUILDKIT_CONTEXT_KEEP_GIT_DIR"] == "1")
		if err != nil {
			return err
		}
		if !whole {
			all = all.Narrow(sources[""])
		}
		p.solve.Context = all
		p.inputs.Files = string(tree.Encode(all.Entries()))
		p.paths = append(p.paths, r.paths(dir, all)...)
	}
	for _, name := range slices.Sorted(maps.Keys(n.target.Contexts)) {
		c := n.target.Contexts[name]
		if c.Kind != bake.ContextLocal && c.Kind != bake.ContextGit {
			continue
		}
		whole := d.WholeContext[bake.ContextName(name)] || foreign
		paths := sources[bake.ContextName(name)]
		if !whole && len(paths) == 0 {
			continue
		}
		folder, err := r.folder(ctx, n.target, c)
		if err != nil {
			return err
		}
		ignore, err := readIgnore(folder, "", ".")
		if err != nil {
			return err
		}
		all, err := r.tree(ctx, folder, ignore, false)
		if err != nil {
			return err
		}
		if !whole {
			all = all.Narrow(paths)
		}
		p.solve.Contexts[name] = all
		p.inputs.Contexts[name] = string(tree.Encode(all.Entries()))
		p.paths = append(p.paths, r.paths(folder, all)...)
	}
	return nil
}

// tree reads a folder once per run.
func (r *run) tree(ctx context.Context, dir string, ignore []string, keepGit bool) (*tree.Tree, error) {
	key := fmt.Sprintf("%s\x00%t\x00%s", dir, keepGit, strings.Join(ignore, "\x00"))
	r.mu.Lock()
	once, ok := r.trees[key]
	if !ok {
		once = &treeOnce{}
		r.trees[key] = once
	}
	r.mu.Unlock()
	once.Do(func() {
		once.tree, once.err = tree.Load(ctx, dir, tree.Options{Ignore: ignore, KeepGit: keepGit, Cache: r.Trees})
	})
	return once.tree, once.err
}

// paths are the entries of a tree as paths within the checkout, for finding
// the commit that touched them last.
func (r *run) paths(dir string, t *tree.Tree) (paths []string) {
	prefix, err := filepath.Rel(r.req.Dir, dir)
	if err != nil || strings.HasPrefix(prefix, "..") {
		return nil
	}
	for _, e := range t.Entries() {
		if e.Type != tree.Dir {
			paths = append(paths, path.Join(filepath.ToSlash(prefix), e.Path))
		}
	}
	return paths
}

// ignore reads the ignore file of a target's main context.
func (r *run) ignore(t *bake.Target, contextDir string) ([]string, error) {
	dir, dockerfile, folder := contextDir, "", "."
	switch {
	case t.Context.Kind == bake.ContextLocal:
		dir, folder = r.req.Dir, t.Context.Value
		if t.DockerfileInline == "" {
			dockerfile = t.Dockerfile
		}
	case t.DockerfileRemote:
		dockerfile = t.Dockerfile
	}
	return readIgnore(dir, dockerfile, folder)
}

func readIgnore(dir, dockerfile, folder string) ([]string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // it was only read
	_, patterns, err := bake.ReadIgnore(root, dockerfile, folder)
	return patterns, err
}

func annotations(t *bake.Target) (map[string]string, error) {
	all := map[string]string{}
	for _, a := range t.Annotations {
		key, value, ok := strings.Cut(a, "=")
		if !ok {
			return nil, fmt.Errorf("%starget %s: annotation %q is not KEY=VALUE", at(t.Position), t.Name, a)
		}
		if kind, rest, typed := strings.Cut(key, ":"); typed {
			if !strings.HasPrefix(kind, "manifest") {
				continue // of an index: see publish
			}
			key = rest
		}
		all[key] = value
	}
	return all, nil
}
