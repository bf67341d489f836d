package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// maxReferrerPages bounds how long a registry can keep a client reading.
const maxReferrerPages = 1000

// referrers lists the manifests whose subject is digest: from the referrers
// API with all its pages, or from the tag that stands in for it (specification,
// "Listing Referrers" and "Referrers Tag Schema"). A subject that does not
// exist has none.
func (c *Client) referrers(ctx context.Context, repo name.Repository, digest v1.Hash) ([]v1.Descriptor, error) {
	client, err := c.authorized(ctx, repo, transport.PullScope)
	if err != nil {
		return nil, err
	}
	base := fmt.Sprintf("%s://%s/v2/%s/referrers/%s", repo.Scheme(), repo.RegistryStr(), repo.RepositoryStr(), digest)
	next, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	var all []v1.Descriptor
	for range maxReferrerPages {
		page, link, err := referrersPage(ctx, client, next)
		if err != nil {
			return nil, err
		}
		if page == nil {
			return c.taggedReferrers(ctx, repo, digest)
		}
		all = append(all, page.Manifests...)
		if link == nil {
			return all, nil
		}
		if link.Host != next.Host {
			return nil, fmt.Errorf("the list of referrers continues on another host, %s", CleanText(link.Host))
		}
		next = link
	}
	return nil, fmt.Errorf("the list of referrers has more than %d pages", maxReferrerPages)
}

// referrersPage returns nil without an error when the registry has no such API.
func referrersPage(ctx context.Context, client *http.Client, u *url.URL) (*v1.IndexManifest, *url.URL, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", string(types.OCIImageIndex))
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	err = transport.CheckError(resp, http.StatusOK, http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable)
	if err != nil {
		return nil, nil, err
	}
	mt, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode != http.StatusOK || mt != string(types.OCIImageIndex) {
		return nil, nil, nil
	}
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, err
	}
	page := &v1.IndexManifest{}
	if err := json.Unmarshal(raw, page); err != nil {
		return nil, nil, fmt.Errorf("the list of referrers is not valid: %w", err)
	}
	return page, nextLink(resp), nil
}

// nextLink reads `Link: <…>; rel="next"` (RFC 5988).
func nextLink(resp *http.Response) *url.URL {
	for _, link := range resp.Header.Values("Link") {
		target, params, ok := strings.Cut(link, ">")
		if !ok || !strings.Contains(params, "next") {
			continue
		}
		if u, err := url.Parse(strings.TrimPrefix(strings.TrimSpace(target), "<")); err == nil {
			return resp.Request.URL.ResolveReference(u)
		}
	}
	return nil
}

func referrersTag(digest v1.Hash) string { return digest.Algorithm + "-" + digest.Hex }

func (c *Client) taggedReferrers(ctx context.Context, repo name.Repository, digest v1.Hash) ([]v1.Descriptor, error) {
	m, err := c.manifest(ctx, repo.Tag(referrersTag(digest)))
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return m.Manifests, nil
}
