package remote

import (
	"context"
	"regexp"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// CopyOptions narrow or widen a copy.
type CopyOptions struct {
	Platform  string // only this image of an index; empty means the whole index
	Referrers bool   // also signatures, attestations and whatever else refers to what is copied
}

// Copy is a finished copy.
type Copy struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Digest      string `json:"digest"`
	MediaType   string `json:"mediaType"`
	Tally
}

// Copy copies what src names to dst, in the same or another registry, with the
// same bytes and so the same digest. A dst without a tag takes over src's; if
// src names a digest, the copy has no tag.
func (c *Client) Copy(ctx context.Context, src, dst string, o CopyOptions) (*Copy, error) {
	from, err := c.parseReference(src)
	if err != nil {
		return nil, err
	}
	to, err := c.parseReference(dst)
	if err != nil {
		return nil, err
	}
	if !hasTag(dst) {
		to = to.Context().Tag(from.Identifier())
		if d, ok := from.(name.Digest); ok {
			to = to.Context().Digest(d.DigestStr())
		}
	}
	return c.copyOne(ctx, from, to, o)
}

var tagSchema = regexp.MustCompile(`^sha256-[0-9a-f]{64}$`)

// CopyAll copies every tag of the repository src to the repository dst. It
// returns what was copied, also when it fails half way.
func (c *Client) CopyAll(ctx context.Context, src, dst string, o CopyOptions) ([]Copy, error) {
	from, err := c.parseRepository(src)
	if err != nil {
		return nil, err
	}
	to, err := c.parseRepository(dst)
	if err != nil {
		return nil, err
	}
	tags, err := c.puller.List(ctx, from)
	if err != nil {
		return nil, explain("cp", atRepo(from), err)
	}
	done := []Copy{}
	for _, tag := range tags {
		if o.Referrers && tagSchema.MatchString(tag) {
			continue // it lists referrers, which are copied with their subjects
		}
		one, err := c.copyOne(ctx, from.Tag(tag), to.Tag(tag), o)
		if err != nil {
			return done, err
		}
		done = append(done, *one)
	}
	return done, nil
}

func (c *Client) copyOne(ctx context.Context, from, to name.Reference, o CopyOptions) (*Copy, error) {
	want, err := parsePlatform(o.Platform)
	if err != nil {
		return nil, err
	}
	root, err := c.manifest(ctx, from)
	if err == nil && want != nil {
		root, err = c.single(ctx, from.Context(), root, want)
	}
	if err != nil {
		return nil, explain("cp", at(from), err)
	}
	src := &repoSource{client: c, repo: from.Context()}
	return c.send(ctx, "cp", refText(from), src, root, to, o.Referrers)
}

// send copies root from any source to a reference in a registry.
func (c *Client) send(ctx context.Context, op, label string, src source, root *manifest, to name.Reference, referrers bool) (*Copy, error) {
	dst := &repoSink{client: c, repo: to.Context()}
	if r, ok := src.(*repoSource); ok && r.repo.RegistryStr() == to.Context().RegistryStr() && r.repo.Name() != to.Context().Name() {
		dst.from = &r.repo
	}
	var tags []string
	switch to := to.(type) {
	case name.Tag:
		tags = append(tags, to.TagStr())
	case name.Digest:
		if to.DigestStr() != root.desc.Digest.String() {
			return nil, &Error{Op: op, Subject: label, Err: ErrInvalid, Problem: "its digest is " + root.desc.Digest.String() + ", not that of " + refText(to),
				Hint: "give a tag or no tag at all"}
		}
	}
	cp := newCopier(src, dst, c.opts)
	cp.referrers = referrers
	if err := cp.run(ctx, root, tags...); err != nil {
		where := at(to)
		if r, ok := src.(*repoSource); ok && failedAt(err, r.repo) {
			where = atRepo(r.repo)
		}
		where.subject = label + " to " + refText(to)
		return nil, explain(op, where, err)
	}
	return &Copy{Source: label, Destination: refText(to), Digest: root.desc.Digest.String(), MediaType: string(root.desc.MediaType), Tally: cp.tally}, nil
}

// rootOf picks what to move from a source whose entries are roots: the one
// with a name or digest, or the only one.
func rootOf(ctx context.Context, src manifestReader, d v1.Descriptor, want *v1.Platform) (*manifest, error) {
	m, err := src.manifest(ctx, d)
	if err != nil || want == nil || !m.isIndex() {
		return m, err
	}
	return pick(ctx, src, m, want)
}
