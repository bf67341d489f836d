package remote

import (
	"context"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Retag points another tag of the same repository at what ref names. to is a
// tag, or a full reference in the same repository. Only the manifest is read
// and written, with its exact bytes; layers stay where they are.
func (c *Client) Retag(ctx context.Context, ref, to string) (*Tagged, error) {
	from, err := c.parseReference(ref)
	if err != nil {
		return nil, err
	}
	tag, err := c.parseNewTag(from, to)
	if err != nil {
		return nil, err
	}
	m, err := c.manifest(ctx, from)
	if err != nil {
		return nil, explain("tag", at(from), err)
	}
	if err := c.pusher.Put(ctx, tag, m); err != nil {
		return nil, explain("tag", at(tag), err)
	}
	return &Tagged{Reference: refText(tag), Digest: m.desc.Digest.String(), MediaType: string(m.desc.MediaType)}, nil
}

// Tagged is a tag and the manifest it points at.
type Tagged struct {
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
	MediaType string `json:"mediaType"`
}

func (c *Client) parseNewTag(from name.Reference, to string) (name.Tag, error) {
	if strings.Contains(to, "@") {
		return name.Tag{}, invalid("tag: a digest cannot be given to a manifest", to, nil)
	}
	if !strings.ContainsAny(to, "/:") {
		tag, err := name.NewTag(from.Context().Name()+":"+to, c.nameOptions(from.Context().Name())...)
		if err != nil {
			return name.Tag{}, invalid("tag, which has up to 128 letters, digits, dots, dashes and underscores", to, nil)
		}
		return tag, nil
	}
	tag, err := name.NewTag(to, c.nameOptions(to)...)
	if err != nil {
		return name.Tag{}, invalid("tag or reference", to, nil)
	}
	if tag.Context().Name() != from.Context().Name() {
		return name.Tag{}, &Error{Op: "tag", Subject: refText(tag), Err: ErrInvalid,
			Problem: "a tag stays in its repository, " + repoText(from.Context()),
			Hint:    "to copy the image use 'slipway cp " + refText(from) + " " + refText(tag) + "'"}
	}
	return tag, nil
}
