package remote

import (
	"context"
	"fmt"
	"runtime"
	"sort"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxDepth is how deep indexes may stand inside indexes.
const maxDepth = 8

// HostPlatform is the platform that containers have on this machine: Linux,
// also where that runs in a virtual machine.
func HostPlatform() string { return "linux/" + runtime.GOARCH }

// parsePlatform reads os/arch[/variant]. Empty text gives nil.
func parsePlatform(text string) (*v1.Platform, error) {
	if text == "" {
		return nil, nil
	}
	p, err := v1.ParsePlatform(text)
	if err != nil || p.OS == "" || p.Architecture == "" || strings.Count(text, "/") > 2 {
		return nil, invalid("platform, which looks like linux/amd64 or linux/arm/v7", text, nil)
	}
	return p, nil
}

func platformText(p *v1.Platform) string {
	if p == nil || p.OS == "" && p.Architecture == "" {
		return ""
	}
	text := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		text += "/" + p.Variant
	}
	return text
}

// serves reports whether an image for has runs where want is asked for. An
// unsaid variant of arm64 is v8.
func serves(has, want *v1.Platform) bool {
	if has == nil || has.OS != want.OS || has.Architecture != want.Architecture {
		return false
	}
	variant := func(p *v1.Platform) string {
		if p.Variant == "" && p.Architecture == "arm64" {
			return "v8"
		}
		return p.Variant
	}
	return want.Variant == "" || variant(has) == variant(want)
}

// manifestReader yields manifests by descriptor; a source is one.
type manifestReader interface {
	manifest(ctx context.Context, desc v1.Descriptor) (*manifest, error)
}

// pick finds the image for a platform in an index, nested ones included.
func pick(ctx context.Context, from manifestReader, index *manifest, want *v1.Platform) (*manifest, error) {
	found, have, err := search(ctx, from, index, want, 0)
	if err != nil || found != nil {
		return found, err
	}
	sort.Strings(have)
	return nil, fmt.Errorf("%w %s; it has %s", errNoPlatform, platformText(want), strings.Join(have, ", "))
}

func search(ctx context.Context, from manifestReader, index *manifest, want *v1.Platform, depth int) (*manifest, []string, error) {
	if depth > maxDepth {
		return nil, nil, fmt.Errorf("indexes stand more than %d deep", maxDepth)
	}
	var have []string
	for _, d := range index.Manifests {
		switch {
		case d.MediaType.IsIndex():
			inner, err := from.manifest(ctx, d)
			if err != nil {
				return nil, nil, err
			}
			found, more, err := search(ctx, from, inner, want, depth+1)
			if found != nil || err != nil {
				return found, nil, err
			}
			have = append(have, more...)
		case serves(d.Platform, want):
			m, err := from.manifest(ctx, d)
			return m, nil, err
		case runnable(d):
			have = append(have, platformText(d.Platform))
		}
	}
	return nil, have, nil
}

// runnable reports whether an index entry is an image, not a document about one.
func runnable(d v1.Descriptor) bool {
	return d.Platform != nil && d.Platform.OS != "" && d.Platform.OS != "unknown" && !d.MediaType.IsIndex()
}

// only returns the one image of an index that has no other, or nil.
func only(index *manifest) *v1.Descriptor {
	var one *v1.Descriptor
	for i, d := range index.Manifests {
		switch {
		case d.MediaType.IsIndex(), one != nil && runnable(d):
			return nil
		case runnable(d):
			one = &index.Manifests[i]
		}
	}
	return one
}

// single resolves a root to one image: itself, the asked-for platform, the
// only one there is, or the one for this machine. An image that is no index
// must be for the asked-for platform.
func (c *Client) single(ctx context.Context, repo name.Repository, root *manifest, want *v1.Platform) (*manifest, error) {
	src := &repoSource{client: c, repo: repo}
	if !root.isIndex() {
		if want == nil {
			return root, nil
		}
		cfg, err := c.config(ctx, repo, root)
		if err != nil {
			return nil, err
		}
		if have := cfg.Platform(); !serves(have, want) {
			return nil, fmt.Errorf("%w %s; it has %s", errNoPlatform, platformText(want), platformText(have))
		}
		return root, nil
	}
	if want == nil {
		if one := only(root); one != nil {
			return src.manifest(ctx, *one)
		}
		want, _ = v1.ParsePlatform(HostPlatform())
	}
	return pick(ctx, src, root, want)
}
