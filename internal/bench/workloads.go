package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// spec is a workload by name. prepare makes what the workload reads.
type spec struct {
	prepare func(ctx context.Context, b *Bench) (*prepared, error)
	heavy   bool // moves so much that it must be asked for
}

var order = []string{
	"push-10k", "push-1m", "push-10m", "push-100m",
	"pull-10k", "pull-1m", "pull-10m", "pull-100m",
	"manifest-get", "tag-put", "tag-page", "catalog-page",
}

var specs = map[string]spec{
	"push-10k":     {prepare: push(10 << 10)},
	"push-1m":      {prepare: push(1 << 20)},
	"push-10m":     {prepare: push(10 << 20)},
	"push-100m":    {prepare: push(100 << 20), heavy: true},
	"pull-10k":     {prepare: pull(10<<10, 128)},
	"pull-1m":      {prepare: pull(1<<20, 32)},
	"pull-10m":     {prepare: pull(10<<20, 8)},
	"pull-100m":    {prepare: pull(100<<20, 2), heavy: true},
	"manifest-get": {prepare: manifestGet},
	"tag-put":      {prepare: tagPut},
	"tag-page":     {prepare: tagPage},
	"catalog-page": {prepare: catalogPage},
}

// Workloads lists every workload's name.
func Workloads() []string { return slices.Clone(order) }

// DefaultWorkloads lists those that run when none are asked for: all but the
// ones that move layers of 100 MB.
func DefaultWorkloads() []string {
	return slices.DeleteFunc(Workloads(), func(name string) bool { return specs[name].heavy })
}

// ParseWorkloads reads a list of names with commas between them. "all" stands
// for every workload, "" for the default ones.
func ParseWorkloads(list string) ([]string, error) {
	switch list {
	case "":
		return DefaultWorkloads(), nil
	case "all":
		return Workloads(), nil
	}
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if _, ok := specs[name]; !ok {
			return nil, fmt.Errorf("no workload is called %q; there are %s", name, strings.Join(order, ", "))
		}
		names = append(names, name)
	}
	return names, nil
}

// repo names a repository of this run.
func (b *Bench) repo(role string) string { return b.cfg.Repository + "/" + b.run + "-" + role }

// newImage returns an image of a layer that no registry has seen.
func (b *Bench) newImage(size int) (*image, error) {
	l, err := b.payloads[size].layer(b.seq.Add(1))
	if err != nil {
		return nil, err
	}
	return newImage(l), nil
}

func (b *Bench) needPayload(size int) error {
	if b.payloads[size] != nil {
		return nil
	}
	p, err := newPayload(size)
	b.payloads[size] = p
	return err
}

// seed pushes count images to a repository, tagged s0000 and so on.
func (b *Bench) seed(ctx context.Context, repo string, size, count int) ([]*image, error) {
	if err := b.needPayload(size); err != nil {
		return nil, err
	}
	images := make([]*image, count)
	return images, b.each(ctx, count, func(ctx context.Context, i int) (err error) {
		if images[i], err = b.newImage(size); err != nil {
			return err
		}
		b.pushed.add(repo, images[i].manifestDigest)
		return b.client.pushImage(ctx, repo, seedTag(i), images[i])
	})
}

func seedTag(i int) string { return fmt.Sprintf("s%04d", i) }

// push sends one image per operation: a layer, a config and a manifest that
// are all new, to a tag that is new.
func push(size int) func(context.Context, *Bench) (*prepared, error) {
	return func(_ context.Context, b *Bench) (*prepared, error) {
		if err := b.needPayload(size); err != nil {
			return nil, err
		}
		repo := b.repo("push")
		p := &prepared{}
		p.run = func(ctx context.Context, w *worker) (int64, error) {
			img, err := b.newImage(size)
			if err != nil {
				return 0, err
			}
			tag := img.layer.digest[len("sha256:"):][:32]
			b.pushed.add(repo, img.manifestDigest)
			if err := b.client.pushImage(ctx, repo, tag, img); err != nil {
				return 0, err
			}
			w.lastImage, w.lastTag = img, tag
			return img.size(), nil
		}
		p.check = func(ctx context.Context, w *worker) error {
			if w.lastImage == nil {
				return nil
			}
			return b.client.pullImage(ctx, repo, w.lastTag, w.lastImage, w.buf)
		}
		return p, nil
	}
}

// pull reads one of count layers per operation.
func pull(size, count int) func(context.Context, *Bench) (*prepared, error) {
	return func(ctx context.Context, b *Bench) (*prepared, error) {
		repo := b.repo("pull")
		images, err := b.seed(ctx, repo, size, count)
		if err != nil {
			return nil, err
		}
		return &prepared{run: func(ctx context.Context, w *worker) (int64, error) {
			return b.client.pullBlob(ctx, repo, images[w.rng.IntN(count)].layer, w.buf)
		}}, nil
	}
}

// manifestGet reads one of 128 manifests per operation, by tag or by digest.
func manifestGet(ctx context.Context, b *Bench) (*prepared, error) {
	const count = 128
	repo := b.repo("manifest")
	images, err := b.seed(ctx, repo, smallLayer, count)
	if err != nil {
		return nil, err
	}
	return &prepared{run: func(ctx context.Context, w *worker) (int64, error) {
		i := w.rng.IntN(2 * count)
		img, reference := images[i/2], seedTag(i/2)
		if i%2 == 1 {
			reference = img.manifestDigest
		}
		return b.client.pullManifest(ctx, repo, reference, img, w.buf)
	}}, nil
}

// smallLayer is the layer of images that only stand for a manifest or a tag.
const smallLayer = 1 << 10

// tagPut gives a manifest that the registry has another new tag.
func tagPut(ctx context.Context, b *Bench) (*prepared, error) {
	repo := b.repo("retag")
	images, err := b.seed(ctx, repo, smallLayer, 1)
	if err != nil {
		return nil, err
	}
	img := images[0]
	p := &prepared{}
	p.run = func(ctx context.Context, w *worker) (int64, error) {
		w.lastTag = fmt.Sprintf("t%010d", b.seq.Add(1))
		return int64(len(img.manifest)), b.client.putManifest(ctx, repo, w.lastTag, img)
	}
	p.check = func(ctx context.Context, w *worker) error {
		if len(w.latencies) == 0 {
			return nil
		}
		_, err := b.client.pullManifest(ctx, repo, w.lastTag, img, w.buf)
		return err
	}
	return p, nil
}

// tagPage reads one page per operation of a repository with cfg.Tags tags.
func tagPage(ctx context.Context, b *Bench) (*prepared, error) {
	repo := b.repo("tags")
	if err := b.needPayload(smallLayer); err != nil {
		return nil, err
	}
	img, err := b.newImage(smallLayer)
	if err != nil {
		return nil, err
	}
	tags := make([]string, b.cfg.Tags)
	for i := range tags {
		tags[i] = fmt.Sprintf("t%08d", i)
	}
	b.pushed.add(repo, img.manifestDigest)
	if err := b.client.pushImage(ctx, repo, tags[0], img); err != nil {
		return nil, err
	}
	err = b.each(ctx, len(tags)-1, func(ctx context.Context, i int) error {
		return b.client.putManifest(ctx, repo, tags[i+1], img)
	})
	if err != nil {
		return nil, err
	}
	return listing(tagPager(b.client, repo, tags)), nil
}

// catalogPage reads one page per operation, of repositories that this run made.
func catalogPage(ctx context.Context, b *Bench) (*prepared, error) {
	if err := b.needPayload(smallLayer); err != nil {
		return nil, err
	}
	repos := make([]string, catalogRepositories)
	err := b.each(ctx, len(repos), func(ctx context.Context, i int) error {
		repos[i] = b.repo(fmt.Sprintf("catalog-%04d", i))
		img, err := b.newImage(smallLayer)
		if err != nil {
			return err
		}
		b.pushed.add(repos[i], img.manifestDigest)
		return b.client.pushImage(ctx, repos[i], "latest", img)
	})
	if err != nil {
		return nil, err
	}
	return listing(catalogPager(b.client, repos)), nil
}

func listing(p *pager) *prepared {
	return &prepared{run: func(ctx context.Context, w *worker) (int64, error) {
		return p.fetch(ctx, w.rng.IntN(len(p.pages)), w.buf)
	}}
}
