package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"slipway/internal/db"
	"slipway/internal/meta"
	"slipway/internal/oci"
	"slipway/internal/registry"
)

func acceptManifests() http.Header { return http.Header{"Accept": oci.ManifestMediaTypes} }

// Actor is who makes the mirror's changes, in history and events.
const Actor = "mirror"

// errSet ends a fetch whose tag a person has set meanwhile.
var errSet = errors.New("the tag was set by a person")

// fetchManifest brings a manifest from the upstream, and moves the tag that it
// was asked by.
func (m *Mirror) fetchManifest(ctx context.Context, p *place, ref oci.Reference) error {
	content, mediaType, want, err := m.readManifest(ctx, p, ref)
	if err != nil {
		return err
	}
	_, err = m.Registry.PutManifest(ctx, registry.Push{
		Repository: p.repository, Reference: ref, Digest: want,
		MediaType: mediaType, Content: content,
		Change: meta.Change{Actor: Actor, Cause: "fetched from " + p.Name},
		Guards: []meta.Guard{func(tx *db.Tx, move meta.Move) error {
			if s, found, err := findTag(tx, p.repository, move.Tag); err != nil || !found || !s.set {
				return err
			}
			return errSet
		}},
		Sparse: registry.SparseAll,
		Record: func(tx *db.Tx, pushed registry.Pushed) error {
			if ref.Tag != "" {
				if err := confirmTag(tx, p.repository, ref.Tag, pushed.Digest); err != nil {
					return err
				}
			}
			return cacheManifest(tx, p.repository, pushed.Digest)
		},
	})
	var told *oci.Error
	switch {
	case err == nil:
		m.log.Info("mirrored a manifest", "repo", p.repository, "reference", ref.String(), "size", len(content))
		m.trim.added(int64(len(content)))
		return nil
	case errors.Is(err, errSet):
		return nil
	case errors.As(err, &told) && told.Status() < 500 && told.Code != oci.CodeInsufficientSpace:
		return bad(p, fmt.Sprintf("sent a manifest for %s that is not valid (%s)", ref, told.Message))
	}
	return err
}

// readManifest returns a manifest that has the digest that was asked for, or
// the one that the upstream claims.
func (m *Mirror) readManifest(ctx context.Context, p *place, ref oci.Reference) (content []byte, mediaType string, want oci.Digest, err error) {
	ctx, cancel := context.WithTimeout(ctx, 4*m.c.Stall) // no manifest is so large that it takes longer
	defer cancel()
	resp, err := p.do(ctx, http.MethodGet, p.path, "/manifests/"+ref.String(), acceptManifests(), m.c.Stall)
	if err != nil {
		return nil, "", "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, "", "", bad(p, fmt.Sprintf("answers with status %d when asked for manifest %s", resp.StatusCode, ref))
	}
	tooLarge := bad(p, fmt.Sprintf("sent a manifest for %s of more than %d bytes: manifest-limit would allow larger ones", ref, m.c.ManifestLimit))
	if resp.ContentLength > m.c.ManifestLimit {
		return nil, "", "", tooLarge
	}
	content, err = io.ReadAll(io.LimitReader(resp.Body, m.c.ManifestLimit+1))
	if err != nil {
		p.backoff.failed()
		return nil, "", "", oci.NewError(oci.CodeUpstreamDown, fmt.Sprintf("upstream %s broke off in manifest %s: %s", p.Name, ref, reason(err))).WithCause(err)
	}
	if int64(len(content)) > m.c.ManifestLimit {
		return nil, "", "", tooLarge
	}
	if want = ref.Digest; want == "" {
		if s := resp.Header.Get("Docker-Content-Digest"); s != "" {
			if want, err = oci.ParseDigest(s); err != nil {
				return nil, "", "", bad(p, fmt.Sprintf("names the manifest of %s %.200q, which is no digest", ref, s))
			}
		}
	}
	if want != "" && want != oci.FromBytes(want.Algorithm(), content) {
		return nil, "", "", bad(p, fmt.Sprintf("sent %d bytes for manifest %s that do not have the digest %s", len(content), ref, want))
	}
	return content, oci.TrimMediaType(resp.Header.Get("Content-Type")), want, nil
}

func bad(p *place, what string) error {
	return oci.NewError(oci.CodeBadUpstream, fmt.Sprintf("upstream %s %s, in %s: nothing of it was kept", p.Name, what, p.path))
}

// complete fetches what a person's push relies on and did not bring: asked by
// HEAD for a blob, this registry says yes to what the upstream has. What
// cannot be had the registry names when it refuses the push.
func (m *Mirror) complete(ctx context.Context, p registry.Push) {
	parsed, err := oci.ParseManifest(p.MediaType, p.Content)
	if err != nil || m.c.Offline {
		return
	}
	for _, e := range parsed.Edges {
		if e.Kind == oci.EdgeForeign {
			continue
		}
		if e.Kind == oci.EdgeManifest {
			_, _, err = m.settle(ctx, m.place(p.Repository), oci.Reference{Digest: e.Digest}, false)
		} else {
			err = m.have(ctx, p.Repository, e.Digest)
		}
		if err != nil {
			return
		}
	}
}

// have waits until a blob is here.
func (m *Mirror) have(ctx context.Context, repository string, d oci.Digest) error {
	b, err := m.OpenBlob(ctx, repository, d)
	if err != nil {
		return err
	}
	defer b.Close()
	if b.Whole == nil {
		return nil
	}
	return b.Whole(ctx)
}

// PutManifest implements httpapi.Writer. A push to an upstream's repository,
// such as an import, is a person's: neither what the upstream says of the tag
// nor the need for room touches it.
func (m *Mirror) PutManifest(ctx context.Context, p registry.Push) (registry.Pushed, error) {
	repository, err := m.Canonical(p.Repository, "")
	if err != nil {
		return registry.Pushed{}, err
	}
	if p.Repository = repository; m.Serves(repository) {
		tags := p.Tags
		if p.Reference.Tag != "" {
			tags = append([]string{p.Reference.Tag}, tags...)
		}
		m.complete(ctx, p)
		also := p.Record
		p.Record = func(tx *db.Tx, pushed registry.Pushed) error {
			for _, tag := range tags {
				if err := ownTag(tx, repository, tag); err != nil {
					return err
				}
			}
			if err := ownManifest(tx, repository, pushed.Digest); err != nil || also == nil {
				return err
			}
			return also(tx, pushed)
		}
	}
	return m.Registry.PutManifest(ctx, p)
}
