package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// DeletedRepository says how a repository was removed.
type DeletedRepository struct {
	Repository string `json:"repository"`
	// Whole is true when the registry removed the repository itself. Otherwise
	// every manifest that its tags lead to was deleted one by one.
	Whole     bool     `json:"whole"`
	Manifests []string `json:"manifests"` // digests deleted one by one
}

// DeleteRepository removes everything in a repository. Slipway does that in one
// step. Elsewhere all manifests that tags lead to are deleted by digest,
// indexes before what they list; the empty repository may stay in the catalog.
func (c *Client) DeleteRepository(ctx context.Context, repo string) (*DeletedRepository, error) {
	r, err := c.parseRepository(repo)
	if err != nil {
		return nil, err
	}
	done, err := c.deleteWhole(ctx, r)
	if err != nil {
		return nil, explain("rm --repository", atRepo(r), err)
	}
	result := &DeletedRepository{Repository: repoText(r), Whole: done, Manifests: []string{}}
	if done {
		return result, nil
	}
	result.Manifests, err = c.deleteEach(ctx, r)
	return result, explain("rm --repository", atRepo(r), err)
}

// deleteWhole asks Slipway's own API. It returns false when the server is not
// Slipway: that is, when the answer is neither 204 nor a problem document
// (RFC 9457).
func (c *Client) deleteWhole(ctx context.Context, repo name.Repository) (bool, error) {
	client, err := c.authorized(ctx, repo, transport.DeleteScope)
	if err != nil {
		return false, err
	}
	u := fmt.Sprintf("%s://%s/api/v1/repositories/%s", repo.Scheme(), repo.RegistryStr(), url.PathEscape(repo.RepositoryStr()))
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, u, nil)
	if err != nil {
		return false, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return true, nil
	}
	mt, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if mt == "application/problem+json" {
		return false, problemError(repo, resp)
	}
	if resp.StatusCode >= http.StatusInternalServerError {
		return false, transport.CheckError(resp, http.StatusNoContent)
	}
	return false, nil
}

func problemError(repo name.Repository, resp *http.Response) error {
	var p struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	_ = json.Unmarshal(body, &p) // a document that cannot be read leaves the status
	where := atRepo(repo)
	e := &Error{Op: "rm --repository", Subject: where.subject}
	switch resp.StatusCode {
	case http.StatusNotFound:
		e.Problem, e.Hint, e.Err = "there is no such repository", "list repositories with 'slipway catalog "+where.host+"'", ErrNotFound
	case http.StatusUnauthorized:
		e.Problem, e.Hint = where.host+" asks for a login", "run 'docker login "+where.host+"'"
	default:
		text := p.Detail
		if text == "" {
			text = p.Title
		}
		e.Problem = "the server answered " + orStatus(text, resp.StatusCode)
	}
	return e
}

// deleteEach deletes by digest what the tags of a repository lead to.
func (c *Client) deleteEach(ctx context.Context, repo name.Repository) ([]string, error) {
	tags, err := c.puller.List(ctx, repo)
	if err != nil {
		return []string{}, err
	}
	order, err := c.reachable(ctx, repo, tags)
	if err != nil {
		return []string{}, err
	}
	deleted := []string{}
	for _, digest := range order {
		_, err := c.deleteManifest(ctx, repo.Digest(digest.String()), atRepo(repo))
		switch {
		case errors.Is(err, ErrNotFound), isNotFound(err): // it went with another
		case err != nil:
			return deleted, err
		default:
			deleted = append(deleted, digest.String())
		}
	}
	return deleted, nil
}

// reachable lists the digests of the manifests behind tags, those they list,
// and those that refer to them. What names others comes before what it names.
func (c *Client) reachable(ctx context.Context, repo name.Repository, tags []string) ([]v1.Hash, error) {
	var order []v1.Hash
	seen := map[v1.Hash]bool{}
	add := func(d v1.Hash) {
		if !seen[d] {
			seen[d] = true
			order = append(order, d)
		}
	}
	for _, tag := range tags {
		digest, err := c.resolve(ctx, repo.Tag(tag))
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		add(digest)
	}
	for i := 0; i < len(order); i++ {
		m, err := c.manifest(ctx, repo.Digest(order[i].String()))
		if err != nil {
			continue // unreadable or gone: still to be deleted
		}
		for _, d := range m.Manifests {
			add(d.Digest)
		}
		if referrers, err := c.referrers(ctx, repo, order[i]); err == nil {
			for _, d := range referrers {
				add(d.Digest)
			}
		}
	}
	return order, nil
}
