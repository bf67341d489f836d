package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/internal/db"
	"slipway/internal/meta"
	"slipway/internal/mirror"
	"slipway/internal/oci"
	"slipway/internal/pipeline"
	"slipway/internal/registry"
)

// Resolver implements pipeline.Resolver. A name with one of this server's own
// host names is a repository here. A name without a host is a repository here
// if builds made that repository before anybody fetched an upstream image of
// the name, or if it is listed; else, like every other name, it is an
// upstream's image, through the mirror. So a push of "debian" by somebody
// never takes the place of Debian.
type Resolver struct {
	DB       *db.DB
	Registry *registry.Registry
	Mirror   *mirror.Mirror // nil: only what is here
	Hosts    []string       // own host names
	Names    []string       // repositories here that go before upstream names
	// MayPull says whether a run that is made for an actor may read a
	// repository. nil: it may.
	MayPull func(ctx context.Context, actor, repository string) error
}

var _ pipeline.Resolver = (*Resolver)(nil)

// Resolve implements pipeline.Resolver.
func (r *Resolver) Resolve(ctx context.Context, q pipeline.Query) (pipeline.Resolved, error) {
	named, err := reference.ParseNormalizedNamed(q.Name)
	if err != nil {
		return pipeline.Resolved{}, fmt.Errorf("image %q is no image name: %w", q.Name, err)
	}
	ref := oci.Reference{Tag: "latest"}
	if t, ok := named.(reference.Tagged); ok {
		ref = oci.Reference{Tag: t.Tag()}
	}
	if d, ok := named.(reference.Digested); ok {
		ref = oci.Reference{Digest: d.Digest()}
	}
	repository, origin, err := r.place(ctx, q.Name, named)
	if err != nil {
		return pipeline.Resolved{}, err
	}
	if r.MayPull != nil {
		if err := r.MayPull(ctx, q.Actor, repository); err != nil {
			return pipeline.Resolved{}, fmt.Errorf("image %s: this run is made for %s, who may not read %s: %w", q.Name, q.Actor, repository, err)
		}
	}
	found := pipeline.Resolved{From: origin, Name: repository}
	if ref.Tag != "" {
		found.Name += ":" + ref.Tag
	}
	if origin == pipeline.FromMirror && r.Mirror != nil {
		resolution, err := r.Mirror.Resolve(ctx, repository, ref)
		if err != nil {
			return found, fmt.Errorf("image %s: %w", q.Name, err)
		}
		found.Stale = resolution.Stale
		found.Root = resolution.Digest
		ref = oci.Reference{Digest: resolution.Digest}
	}
	err = r.choose(ctx, &found, q, repository, ref)
	return found, err
}

// place says in which repository a name is looked for.
func (r *Resolver) place(ctx context.Context, written string, named reference.Named) (repository string, o pipeline.Origin, err error) {
	host, path := reference.Domain(named), reference.Path(named)
	if slices.Contains(r.Hosts, host) {
		return path, pipeline.FromLocal, nil
	}
	familiar := reference.FamiliarName(named)
	if host != "docker.io" || strings.HasPrefix(written, "docker.io/") || strings.HasPrefix(written, "index.docker.io/") {
		return host + "/" + path, pipeline.FromMirror, nil
	}
	if slices.Contains(r.Names, familiar) {
		return familiar, pipeline.FromLocal, nil
	}
	upstream := host + "/" + path
	local, err := r.builtFirst(ctx, familiar, upstream)
	if err != nil {
		return "", "", fmt.Errorf("image %s: %w", written, err)
	}
	if local {
		return familiar, pipeline.FromLocal, nil
	}
	return upstream, pipeline.FromMirror, nil
}

// builtFirst says whether builds made a repository before anybody built on the
// upstream image of its name. When that was is written down for good: that the
// mirror let go of the image, or somebody of the repository, changes nothing.
func (r *Resolver) builtFirst(ctx context.Context, familiar, upstream string) (bool, error) {
	tx := r.DB.Read(ctx)
	var built, created int64
	// A repository that was deleted and pushed again is not the one that was built.
	made, err := tx.Row(`SELECT MIN(p.first_at), r.created_at FROM published p JOIN repositories r ON r.name = p.repository WHERE p.repository = ? GROUP BY r.created_at`, []any{familiar}, &built, &created)
	if err != nil {
		return false, err
	}
	name := "upstream.first." + upstream
	first, known, err := meta.Setting(tx, name)
	if err != nil {
		return false, err
	}
	if known {
		at, err := strconv.ParseInt(first, 10, 64)
		return made && built >= created && built < at, err
	}
	if made && built >= created {
		return true, nil
	}
	return false, r.DB.Update(ctx, func(tx *db.Tx) error {
		_, err := meta.SetSettingOnce(tx, name, strconv.FormatInt(tx.Now(), 10))
		return err
	})
}

// choose finds the manifest for the platform behind a reference.
func (r *Resolver) choose(ctx context.Context, found *pipeline.Resolved, q pipeline.Query, repository string, ref oci.Reference) error {
	m, err := r.reader().GetManifest(ctx, repository, ref)
	if err != nil {
		return r.explain(q, repository, ref, found.From, err)
	}
	found.Base = pipeline.Base{Repository: repository, Digest: m.Digest}
	if found.Root == "" {
		found.Root = m.Digest
	}
	if m.MediaType == v1.MediaTypeImageIndex || m.MediaType == oci.MediaTypeDockerList {
		d, err := childFor(m.Content, q.Platform)
		if err != nil {
			return fmt.Errorf("image %s: %w", q.Name, err)
		}
		if m, err = r.reader().GetManifest(ctx, repository, oci.Reference{Digest: d}); err != nil {
			return r.explain(q, repository, oci.Reference{Digest: d}, found.From, err)
		}
		found.Digest = d
	}
	found.OnBuild, err = r.onBuild(ctx, repository, m, q)
	return err
}

func (r *Resolver) reader() Reader {
	if r.Mirror != nil {
		return r.Mirror
	}
	return r.Registry
}

// explain says where an image was looked for, and what to do.
func (r *Resolver) explain(q pipeline.Query, repository string, ref oci.Reference, o pipeline.Origin, err error) error {
	if !errors.Is(missing(err), pipeline.ErrNotFound) {
		return fmt.Errorf("image %s: %w", q.Name, err)
	}
	what := repository + ":" + ref.String()
	if ref.Digest != "" {
		what = repository + "@" + ref.String()
	}
	if o == pipeline.FromLocal {
		return fmt.Errorf("image %s: this server has no %s: push or build it first, or write docker.io/… if an upstream's image is meant: %w", q.Name, what, err)
	}
	return fmt.Errorf("image %s: there is no %s here, and no upstream that has it: import it with slipway import FILE HOST/%s, or let the mirror reach its registry: %w", q.Name, what, what, err)
}

func childFor(index []byte, platform string) (oci.Digest, error) {
	var doc v1.Index
	if err := json.Unmarshal(index, &doc); err != nil {
		return "", err
	}
	want, err := platforms.Parse(platform)
	if err != nil {
		return "", err
	}
	match := platforms.Only(want)
	var best *v1.Descriptor
	var has []string
	for i, d := range doc.Manifests {
		if d.Platform == nil || d.Platform.OS == "unknown" {
			continue
		}
		has = append(has, platforms.Format(*d.Platform))
		if match.Match(*d.Platform) && (best == nil || match.Less(*d.Platform, *best.Platform)) {
			best = &doc.Manifests[i]
		}
	}
	if best == nil {
		return "", fmt.Errorf("it is not made for %s: it has %s", platform, strings.Join(has, ", "))
	}
	return best.Digest, nil
}

// maxConfig bounds an image's configuration, in bytes.
const maxConfig = 4 << 20

// onBuild reads the steps that an image adds to what is built on it.
func (r *Resolver) onBuild(ctx context.Context, repository string, m registry.Manifest, q pipeline.Query) ([]string, error) {
	parsed, err := oci.ParseManifest(m.MediaType, m.Content)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", q.Name, err)
	}
	for _, e := range parsed.Edges {
		if e.Kind != oci.EdgeConfig {
			continue
		}
		blob, err := r.reader().OpenBlob(ctx, repository, e.Digest)
		if err != nil {
			return nil, fmt.Errorf("image %s: its configuration: %w", q.Name, err)
		}
		defer func() { _ = blob.Close() }() // it was only read
		raw, err := io.ReadAll(io.LimitReader(blob, maxConfig))
		if err != nil {
			return nil, fmt.Errorf("image %s: its configuration: %w", q.Name, err)
		}
		var image struct {
			Config struct{ OnBuild []string } `json:"config"`
		}
		if err := json.Unmarshal(raw, &image); err != nil {
			return nil, fmt.Errorf("image %s: its configuration: %w", q.Name, err)
		}
		return image.Config.OnBuild, nil
	}
	return nil, fmt.Errorf("image %s is no image: it has no configuration", q.Name)
}
