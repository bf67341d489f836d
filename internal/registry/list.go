package registry

import (
	"context"
	"fmt"

	"slipway/internal/meta"
	"slipway/internal/oci"
)

// Page is one page of a listing.
type Page[T any] struct {
	Items []T
	More  bool // there is at least one item after the last
}

// Tags lists up to n tags in byte order after last.
func (r *Registry) Tags(ctx context.Context, repository, last string, n int) (Page[string], error) {
	tx := r.DB.Read(ctx)
	repo, found, err := meta.FindRepository(tx, repository)
	if err != nil {
		return Page[string]{}, fmt.Errorf("list tags of %s: %w", repository, err)
	}
	if !found {
		return Page[string]{}, nameUnknown(repository)
	}
	return page(n, func(n int) ([]string, error) { return meta.Tags(tx, repo.ID, last, n) })
}

// Catalog lists up to n names of repositories in byte order after last, only
// those that visible accepts.
func (r *Registry) Catalog(ctx context.Context, last string, n int, visible func(string) bool) (Page[string], error) {
	return page(n, func(n int) ([]string, error) {
		names := []string{}
		for len(names) < n {
			batch, err := meta.Catalog(r.DB.Read(ctx), last, n)
			if err != nil {
				return nil, fmt.Errorf("list catalog: %w", err)
			}
			for _, name := range batch {
				if last = name; visible(name) && len(names) < n {
					names = append(names, name)
				}
			}
			if len(batch) < n {
				break
			}
		}
		return names, nil
	})
}

// Referrers lists up to n manifests whose subject is d, fewer if their
// annotations are large, in the order of their digests after last. An unknown repository or subject has none.
func (r *Registry) Referrers(ctx context.Context, repository string, d oci.Digest, artifactType string, last oci.Digest, n int) (Page[Manifest], error) {
	var cut bool
	p, err := page(n, func(n int) (list []Manifest, err error) {
		list, cut, err = meta.Referrers(r.DB.Read(ctx), repository, d, artifactType, last, n, referrersBudget)
		if err != nil {
			return nil, fmt.Errorf("list referrers of %s@%s: %w", repository, d, err)
		}
		return list, nil
	})
	p.More = p.More || cut
	return p, err
}

// referrersBudget bounds the annotations on a page, in bytes of JSON: clients
// read at most 4 MiB.
const referrersBudget = 3 << 20

// page asks for one item too many to learn whether there are more.
func page[T any](n int, list func(n int) ([]T, error)) (Page[T], error) {
	if n == 0 {
		return Page[T]{Items: []T{}}, nil
	}
	items, err := list(n + 1)
	if err != nil {
		return Page[T]{}, err
	}
	if len(items) > n {
		return Page[T]{items[:n], true}, nil
	}
	return Page[T]{items, false}, nil
}
