package remote

import (
	"context"
	"sort"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// Inspection is what a registry holds under a reference. Sizes are bytes as
// stored, compressed.
type Inspection struct {
	Reference    string            `json:"reference"`
	Digest       string            `json:"digest"`
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Size         int64             `json:"size"` // manifests and blobs, each counted once
	Subject      string            `json:"subject,omitempty"`
	Annotations  map[string]string `json:"annotations"`
	Platforms    []PlatformImage   `json:"platforms"`       // of an index, what it lists; of an image, itself
	Image        *Image            `json:"image,omitempty"` // the image, the asked-for one, or the only one
	Referrers    []Referrer        `json:"referrers"`
}

// PlatformImage is one entry of an index.
type PlatformImage struct {
	Platform  string `json:"platform"` // os/arch[/variant], empty when unknown
	Digest    string `json:"digest"`
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"` // its manifest and blobs
	// Attests is the digest that a build attestation is about.
	Attests string `json:"attests,omitempty"`
	// Missing means that the index lists it and the registry does not have it.
	Missing bool `json:"missing,omitempty"`
}

// Image is one image manifest with its configuration.
type Image struct {
	Digest   string            `json:"digest"`
	Platform string            `json:"platform"`
	Created  *time.Time        `json:"created,omitempty"`
	Author   string            `json:"author,omitempty"`
	Config   *Config           `json:"config,omitempty"` // absent in artifacts that are no images
	Labels   map[string]string `json:"labels"`
	Layers   []Layer           `json:"layers"`
}

// Config is how containers of the image start.
type Config struct {
	Entrypoint []string `json:"entrypoint"`
	Cmd        []string `json:"cmd"`
	Env        []string `json:"env"`
	User       string   `json:"user"`
	Ports      []string `json:"ports"`
	Workdir    string   `json:"workdir"`
	Volumes    []string `json:"volumes"`
	StopSignal string   `json:"stopSignal,omitempty"`
}

// Layer is one layer as stored.
type Layer struct {
	Digest    string `json:"digest"`
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"`
}

// Referrer is a manifest whose subject is the inspected one.
type Referrer struct {
	Digest       string            `json:"digest"`
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Size         int64             `json:"size"` // of its manifest
	Annotations  map[string]string `json:"annotations"`
}

// Inspect describes what ref names. A platform narrows an index to that one
// image; empty means all of it.
func (c *Client) Inspect(ctx context.Context, ref, platform string) (*Inspection, error) {
	return look(ctx, c, "inspect", ref, platform, c.inspect)
}

// look parses what a person typed, looks, and explains what went wrong.
func look[T any](ctx context.Context, c *Client, verb, ref, platform string, fn func(context.Context, name.Reference, *v1.Platform) (*T, error)) (*T, error) {
	r, err := c.parseReference(ref)
	if err != nil {
		return nil, err
	}
	want, err := parsePlatform(platform)
	if err != nil {
		return nil, err
	}
	v, err := fn(ctx, r, want)
	if err != nil {
		return nil, explain(verb, at(r), err)
	}
	return v, nil
}

func (c *Client) inspect(ctx context.Context, r name.Reference, want *v1.Platform) (*Inspection, error) {
	m, err := c.manifest(ctx, r)
	if err != nil {
		return nil, err
	}
	if want != nil {
		if m, err = c.single(ctx, r.Context(), m, want); err != nil {
			return nil, err
		}
	}
	in := &Inspection{
		Reference: refText(r), Digest: m.desc.Digest.String(), MediaType: string(m.desc.MediaType),
		ArtifactType: m.artifactType(), Annotations: orEmpty(m.Annotations),
		Platforms: []PlatformImage{}, Referrers: []Referrer{},
	}
	if m.isImage() {
		in.ArtifactType = ""
	}
	if m.Subject != nil {
		in.Subject = m.Subject.Digest.String()
	}
	if err := c.inspectContent(ctx, r.Context(), m, in); err != nil {
		return nil, err
	}
	referrers, err := c.referrers(ctx, r.Context(), m.desc.Digest)
	if err != nil {
		return nil, err
	}
	for _, d := range referrers {
		in.Referrers = append(in.Referrers, Referrer{Digest: d.Digest.String(), MediaType: string(d.MediaType),
			ArtifactType: d.ArtifactType, Size: d.Size, Annotations: orEmpty(d.Annotations)})
	}
	return in, nil
}

func (c *Client) inspectContent(ctx context.Context, repo name.Repository, m *manifest, in *Inspection) error {
	if !m.isIndex() {
		image, err := c.image(ctx, repo, m, "")
		if err != nil {
			return err
		}
		in.Image, in.Size = image, m.storedSize()
		in.Platforms = append(in.Platforms, PlatformImage{Platform: image.Platform, Digest: in.Digest, MediaType: in.MediaType, Size: in.Size})
		return nil
	}
	w := &weigher{client: c, repo: repo, slots: make(chan struct{}, c.opts.Jobs), sizes: map[v1.Hash]int64{}}
	entries, err := w.entries(ctx, m, 0)
	if err != nil {
		return err
	}
	in.Platforms, in.Size = entries, w.total()
	if one := only(m); one != nil {
		child, err := c.child(ctx, repo, *one)
		if isNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		in.Image, err = c.image(ctx, repo, child, platformText(one.Platform))
		return err
	}
	return nil
}

func (c *Client) image(ctx context.Context, repo name.Repository, m *manifest, platform string) (*Image, error) {
	image := &Image{Digest: m.desc.Digest.String(), Platform: platform, Labels: map[string]string{}, Layers: []Layer{}}
	for _, d := range m.Layers {
		image.Layers = append(image.Layers, Layer{Digest: d.Digest.String(), MediaType: string(d.MediaType), Size: d.Size})
	}
	if !m.isImage() {
		return image, nil
	}
	cfg, err := c.config(ctx, repo, m)
	if err != nil {
		return nil, err
	}
	image.Platform = platformText(cfg.Platform())
	image.Author = cfg.Author
	if !cfg.Created.IsZero() {
		image.Created = &cfg.Created.Time
	}
	image.Labels = orEmpty(cfg.Config.Labels)
	image.Config = &Config{
		Entrypoint: orNone(cfg.Config.Entrypoint), Cmd: orNone(cfg.Config.Cmd), Env: orNone(cfg.Config.Env),
		User: cfg.Config.User, Ports: keys(cfg.Config.ExposedPorts), Workdir: cfg.Config.WorkingDir,
		Volumes: keys(cfg.Config.Volumes), StopSignal: cfg.Config.StopSignal,
	}
	return image, nil
}

// storedSize is the manifest with its own blobs.
func (m *manifest) storedSize() int64 {
	size := m.desc.Size
	for _, d := range m.blobs() {
		size += d.Size
	}
	return size
}

// weigher reads the manifests below an index and adds up what they hold.
type weigher struct {
	client *Client
	repo   name.Repository
	slots  chan struct{}

	mu    sync.Mutex
	sizes map[v1.Hash]int64
}

func (w *weigher) weigh(m *manifest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sizes[m.desc.Digest] = m.desc.Size
	for _, d := range m.blobs() {
		w.sizes[d.Digest] = d.Size
	}
}

func (w *weigher) total() int64 {
	var sum int64
	for _, size := range w.sizes {
		sum += size
	}
	return sum
}

// entries describes what an index lists, in its order, nested indexes opened.
func (w *weigher) entries(ctx context.Context, index *manifest, depth int) ([]PlatformImage, error) {
	w.weigh(index)
	parts := make([][]PlatformImage, len(index.Manifests))
	g, ctx := errgroup.WithContext(ctx)
	for i, d := range index.Manifests {
		g.Go(func() (err error) {
			parts[i], err = w.entry(ctx, d, depth)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all := []PlatformImage{}
	for _, p := range parts {
		all = append(all, p...)
	}
	return all, nil
}

func (w *weigher) entry(ctx context.Context, d v1.Descriptor, depth int) ([]PlatformImage, error) {
	e := PlatformImage{Platform: platformText(d.Platform), Digest: d.Digest.String(), MediaType: string(d.MediaType), Size: d.Size,
		Attests: d.Annotations["vnd.docker.reference.digest"]}
	if !d.MediaType.IsImage() && !d.MediaType.IsIndex() {
		return []PlatformImage{e}, nil
	}
	m, err := w.fetch(ctx, d)
	switch {
	case isNotFound(err):
		e.Missing = true
	case err != nil:
		return nil, err
	case m.isIndex() && depth < maxDepth:
		return w.entries(ctx, m, depth+1)
	default:
		w.weigh(m)
		e.Size = m.storedSize()
	}
	return []PlatformImage{e}, nil
}

func (w *weigher) fetch(ctx context.Context, d v1.Descriptor) (*manifest, error) {
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
		return w.client.child(ctx, w.repo, d)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func orNone(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func keys(m map[string]struct{}) []string {
	all := make([]string, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	sort.Strings(all)
	return all
}
