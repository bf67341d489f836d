package remote

import (
	"context"
	"errors"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Deleted says what was removed.
type Deleted struct {
	Reference string `json:"reference"` // as it was asked for
	// Digest is set when a manifest was deleted, and with it all its tags.
	Digest string `json:"digest,omitempty"`
}

// Delete removes a tag, or, when ref holds a digest, a manifest with all its
// tags. A registry that cannot remove a tag alone makes it fail with
// ErrByDigestOnly; with byDigest the manifest behind the tag is deleted at once.
func (c *Client) Delete(ctx context.Context, ref string, byDigest bool) (*Deleted, error) {
	r, err := c.parseReference(ref)
	if err != nil {
		return nil, err
	}
	if !hasTag(ref) {
		return nil, &Error{Op: "rm", Subject: refText(r), Err: ErrInvalid, Problem: "neither a tag nor a digest is named",
			Hint: "write " + refText(r) + " if you mean that tag, or --repository to delete all of it"}
	}
	tag, isTag := r.(name.Tag)
	if !isTag {
		return c.deleteManifest(ctx, r.(name.Digest), at(r))
	}
	if byDigest {
		digest, err := c.resolve(ctx, tag)
		if err != nil {
			return nil, explain("rm", at(r), err)
		}
		return c.deleteManifest(ctx, r.Context().Digest(digest.String()), at(r))
	}
	err = c.pusher.Delete(ctx, tag)
	if tagsAreKept(err) {
		return nil, c.byDigestOnly(ctx, tag, err)
	}
	if err != nil {
		return nil, explain("rm", at(r), err)
	}
	return &Deleted{Reference: refText(r)}, nil
}

func (c *Client) deleteManifest(ctx context.Context, d name.Digest, where place) (*Deleted, error) {
	err := c.pusher.Delete(ctx, d)
	if deletionOff(err) {
		return nil, &Error{Op: "rm", Subject: where.subject, Err: err, Problem: "this registry does not delete",
			Hint: "its administrator can allow it (docker-registry: storage.delete.enabled: true)"}
	}
	if err != nil {
		return nil, explain("rm", where, err)
	}
	return &Deleted{Reference: where.subject, Digest: d.DigestStr()}, nil
}

// byDigestOnly distinguishes a tag that is not there from a registry that
// cannot delete tags.
func (c *Client) byDigestOnly(ctx context.Context, tag name.Tag, cause error) error {
	digest, err := c.resolve(ctx, tag)
	if err != nil {
		return explain("rm", at(tag), err)
	}
	return &Error{Op: "rm", Subject: refText(tag), Err: errors.Join(ErrByDigestOnly, cause),
		Problem: "this registry can delete only by digest, which removes every tag of " + digest.String(),
		Hint:    "add --digest to do that"}
}

// resolve returns the digest behind a reference, without fetching the manifest
// where the registry allows that.
func (c *Client) resolve(ctx context.Context, ref name.Reference) (v1.Hash, error) {
	if d, err := c.puller.Head(ctx, ref); err == nil {
		return d.Digest, nil
	}
	d, err := c.puller.Get(ctx, ref)
	if err != nil {
		return v1.Hash{}, err
	}
	return d.Digest, nil
}

// tagsAreKept recognizes the answers of registries that cannot delete a tag:
// docker-registry 2.8 says 405 UNSUPPORTED, others 400 or that the tag is no
// valid digest.
func tagsAreKept(err error) bool {
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.StatusCode {
	case http.StatusMethodNotAllowed, http.StatusBadRequest, http.StatusNotImplemented:
		return true
	}
	for _, d := range answer.Errors {
		if d.Code == transport.UnsupportedErrorCode || d.Code == transport.DigestInvalidErrorCode {
			return true
		}
	}
	return false
}

func deletionOff(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && (answer.StatusCode == http.StatusMethodNotAllowed || answer.StatusCode == http.StatusNotImplemented)
}
