package local

import (
	"context"
	"errors"

	"slipway/internal/db"
	"slipway/internal/meta"
	"slipway/internal/oci"
	"slipway/internal/pipeline"
	"slipway/internal/registry"
)

// Publisher implements pipeline.Publisher.
type Publisher struct {
	Registry *registry.Registry
	Guards   []meta.Guard // asked of every tag, as for a push
}

var _ pipeline.Publisher = (*Publisher)(nil)

func change(c pipeline.Change) meta.Change { return meta.Change{Actor: c.Actor, Cause: c.Cause} }

// Publish implements pipeline.Publisher.
func (p *Publisher) Publish(ctx context.Context, list []pipeline.Publication, c pipeline.Change, skip func(*db.Tx, string, string) (bool, error), also func(*db.Tx) error) (tags []pipeline.MovedTag, err error) {
	publications := make([]registry.Publication, len(list))
	for i, l := range list {
		publications[i] = registry.Publication(l)
	}
	skipped := map[[2]string]bool{}
	guard := func(tx *db.Tx, m meta.Move) error {
		stays, err := skip(tx, m.Repository, m.Tag)
		if err == nil && stays {
			skipped[[2]string{m.Repository, m.Tag}] = true
			err = registry.ErrSkipTag
		}
		return err
	}
	moved, err := p.Registry.Publish(ctx, publications, change(c), also, append([]meta.Guard{guard}, p.Guards...)...)
	if err != nil {
		return nil, err
	}
	was := map[[2]string]oci.Digest{}
	for _, m := range moved {
		was[[2]string{m.Repository, m.Tag}] = m.Old
	}
	for _, l := range list {
		for _, tag := range l.Tags {
			key := [2]string{l.To, tag}
			old, did := was[key]
			if !did {
				old = l.Digest
			}
			tags = append(tags, pipeline.MovedTag{Repository: l.To, Tag: tag, Digest: l.Digest, Old: old, Skipped: skipped[key]})
		}
	}
	return tags, nil
}

// gone makes an error of something that is not there none.
func gone(err error) error {
	if err = missing(err); errors.Is(err, pipeline.ErrNotFound) {
		return nil
	}
	return err
}

// Untag implements pipeline.Publisher.
func (p *Publisher) Untag(ctx context.Context, repository, tag string, c pipeline.Change) error {
	return gone(p.Registry.DeleteTag(ctx, repository, tag, change(c), p.Guards...))
}

// Tag implements pipeline.Publisher.
func (p *Publisher) Tag(ctx context.Context, repository, tag string, d oci.Digest, c pipeline.Change) error {
	_, err := p.Registry.Publish(ctx, []registry.Publication{{From: repository, To: repository, Digest: d, Tags: []string{tag}}}, change(c), nil)
	return err
}
