//go:build linux

package build

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"

	"slipway/internal/bake"
	"slipway/internal/buildkit"
	"slipway/internal/oci"
)

// oracle builds a project as docker buildx bake would: it sends whole folders
// and leaves it to BuildKit what of them matters, which ignore file counts and
// what of an earlier build is still good. It shares no code with Slipway but
// the reading of the bake file, which is tested against buildx by itself.
type oracle struct {
	*project
	store content.Store
}

// made is what the oracle found out: the image, and the steps that BuildKit
// ran because it had no result of them.
type made struct {
	digest oci.Digest
	ran    []string
}

func newOracle(p *project) *oracle {
	p.t.Helper()
	store, err := contentlocal.NewStore(p.t.TempDir())
	p.must(err)
	return &oracle{p, store}
}

// build builds all targets of the project, by name and platform.
func (o *oracle) build() map[string]made {
	o.t.Helper()
	ctx := o.t.Context()
	bases := map[string]oci.Digest{}
	for name, i := range o.bases {
		bases[bake.ContextName(name)] = o.keep(ctx, i)
	}
	b, err := bake.Read(ctx, bake.Request{Dir: o.dir, Files: o.request.Files, Targets: o.request.Targets, Set: o.request.Set, Vars: o.request.Vars})
	o.must(err)
	all := map[string]made{}
	for _, name := range b.Selected {
		t := b.Targets[name]
		platforms := t.Platforms
		if len(platforms) == 0 {
			platforms = []string{o.config.Platform}
		}
		for _, platform := range platforms {
			m, err := o.solve(ctx, b, t, platform, bases, all)
			if err != nil {
				o.t.Fatalf("BuildKit by itself, target %s: %v", name, err)
			}
			all[name+" "+platform] = m
		}
	}
	return all
}

// keep writes an image into the oracle's own store.
func (o *oracle) keep(ctx context.Context, i image) oci.Digest {
	o.t.Helper()
	write := func(b []byte) digest.Digest {
		d := digest.FromBytes(b)
		o.must(content.WriteBlob(ctx, o.store, d.String(), bytes.NewReader(b), v1.Descriptor{Digest: d, Size: int64(len(b))}))
		return d
	}
	for _, l := range i.layers {
		write(l.blob)
	}
	write(i.config)
	return write(i.manifest)
}

func (o *oracle) solve(ctx context.Context, b *bake.Project, t *bake.Target, platform string, bases map[string]oci.Digest, before map[string]made) (m made, err error) {
	attrs := map[string]string{"platform": platform, "cmdline": "builtin", "filename": filepath.Base(t.Dockerfile)}
	mounts := map[string]fsutil.FS{}
	local := func(name, dir string) {
		var f fsutil.FS
		if f, err = fsutil.NewFS(dir); err == nil {
			mounts[name], err = fsutil.NewFilterFS(f, &fsutil.FilterOpt{Map: func(_ string, s *fstypes.Stat) fsutil.MapResult {
				s.Uid, s.Gid = 0, 0 // as buildx does
				return fsutil.MapResultKeep
			}})
		}
		o.must(err)
	}
	local("context", o.path(t.Context.Value))
	local("dockerfile", filepath.Dir(o.path(t.Dockerfile)))
	for name, d := range bases {
		attrs["context:"+name] = "oci-layout://oracle@" + d.String()
	}
	for name, c := range t.Contexts {
		switch c.Kind {
		case bake.ContextLocal:
			attrs["context:"+name] = "local:" + name
			local(name, o.path(c.Value))
		case bake.ContextTarget:
			attrs["context:"+name] = "oci-layout://oracle@" + before[c.Value+" "+platform].digest.String()
		case bake.ContextImage:
			attrs["context:"+name] = "oci-layout://oracle@" + bases[bake.ContextName(c.Value)].String()
		default:
			return m, fmt.Errorf("context %s is of kind %s, which the oracle does not know", name, c.Kind)
		}
	}
	export := map[string]string{
		"tar": "false", "oci-mediatypes": "true", "rewrite-timestamp": "true", "source-date-epoch": "0", "compression": o.engine.Compression,
	}
	if c := b.Settings.Compression; c != "" {
		export["compression"] = c
	}
	for name, value := range t.Args {
		if name == "SOURCE_DATE_EPOCH" { // of the exporter, here and there
			export["source-date-epoch"] = value
			continue
		}
		attrs["build-arg:"+name] = value
	}
	for name, value := range t.Labels {
		attrs["label:"+name] = value
	}
	for _, a := range t.Annotations {
		key, value, _ := strings.Cut(a, "=")
		export["annotation-manifest."+strings.TrimPrefix(key, "manifest:")] = value
	}
	set := func(name, value string) {
		if value != "" {
			attrs[name] = value
		}
	}
	set("target", t.Stage)
	set("ulimit", strings.Join(t.Ulimits, ","))
	if t.Network == "none" {
		attrs["force-network-mode"] = "none"
	}
	if t.ShmSize > 0 {
		attrs["shm-size"] = strconv.FormatInt(t.ShmSize, 10)
	}
	if t.NoCache {
		attrs["no-cache"] = ""
	}
	set("no-cache", strings.Join(t.NoCacheFilter, ","))
	var hosts []string
	for host, address := range t.ExtraHosts {
		hosts = append(hosts, host+"="+address)
	}
	set("add-hosts", strings.Join(slices.Sorted(slices.Values(hosts)), ","))
	secrets := maps.Clone(o.request.Secrets)
	if secrets == nil {
		secrets = map[string][]byte{}
	}
	for _, s := range t.Secrets {
		if _, given := secrets[s.ID]; !given && s.Path != "" {
			secrets[s.ID] = []byte(o.read(s.Path))
		}
	}

	c, err := o.daemon.Client(ctx)
	if err != nil {
		return m, err
	}
	status := make(chan *client.SolveStatus)
	drained := make(chan struct{})
	steps := map[digest.Digest]*client.Vertex{}
	go func() {
		defer close(drained)
		for s := range status {
			for _, v := range s.Vertexes {
				steps[v.Digest] = v
			}
		}
	}()
	response, err := c.Solve(ctx, nil, client.SolveOpt{
		CompatibilityVersion: buildkit.Compatibility,
		Frontend:             "dockerfile.v0",
		FrontendAttrs:        attrs,
		LocalMounts:          mounts,
		SharedKey:            rand.Text(), // everything is sent: no trust in what was sent before
		OCIStores:            map[string]content.Store{"oracle": o.store},
		Session:              []session.Attachable{secretsprovider.FromMap(secrets)},
		Exports:              []client.ExportEntry{{Type: client.ExporterOCI, Attrs: export, OutputStore: o.store}},
	}, status)
	<-drained
	if err != nil {
		return m, err
	}
	for _, v := range steps {
		if v.Completed != nil && !v.Cached && isStep(v.Name) {
			m.ran = append(m.ran, v.Name)
		}
	}
	slices.Sort(m.ran)
	m.digest = oci.Digest(response.ExporterResponse["containerimage.digest"])
	return m, nil
}

// isStep tells "[app 2/3] RUN …" from bases that are loaded and from the
// builder's own chores.
func isStep(name string) bool {
	_, step, ok := strings.Cut(name, "] ")
	return ok && !strings.HasPrefix(name, "[internal]") && !strings.HasPrefix(name, "[context ") && !strings.HasPrefix(step, "FROM ")
}
