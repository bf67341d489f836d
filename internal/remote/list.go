package remote

import (
	"context"
	"fmt"
)

// Catalog lists all repositories of a registry, in its order, following its
// pages. The list is empty, never nil, when there are none.
func (c *Client) Catalog(ctx context.Context, host string) ([]string, error) {
	reg, err := c.parseRegistry(host)
	if err != nil {
		return nil, err
	}
	where := place{host: hostText(reg), repo: hostText(reg), subject: hostText(reg)}
	lister, err := c.puller.Catalogger(ctx, reg)
	if err != nil {
		if isNotFound(err) {
			return nil, &Error{Op: "catalog", Subject: where.subject, Err: err,
				Problem: "the registry has no catalog (404)", Hint: "name a repository instead: slipway tags " + where.host + "/NAME"}
		}
		return nil, explain("catalog", where, err)
	}
	repos, err := pages(lister.HasNext, func() ([]string, error) {
		page, err := lister.Next(ctx)
		if err != nil {
			return nil, err
		}
		return page.Repos, nil
	})
	return repos, explain("catalog", where, err)
}

// Tags lists all tags of a repository, in the registry's order, following its
// pages. The list is empty, never nil, when there are none.
func (c *Client) Tags(ctx context.Context, repo string) ([]string, error) {
	r, err := c.parseRepository(repo)
	if err != nil {
		return nil, err
	}
	lister, err := c.puller.Lister(ctx, r)
	if err != nil {
		return nil, explain("tags", atRepo(r), err)
	}
	tags, err := pages(lister.HasNext, func() ([]string, error) {
		page, err := lister.Next(ctx)
		if err != nil {
			return nil, err
		}
		return page.Tags, nil
	})
	return tags, explain("tags", atRepo(r), err)
}

// pages collects a listing and stops when a registry sends the same page again.
func pages(more func() bool, next func() ([]string, error)) ([]string, error) {
	all := []string{}
	firsts := map[string]bool{}
	for more() {
		page, err := next()
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			continue
		}
		if firsts[page[0]] {
			return nil, fmt.Errorf("the registry sends the same page of its list again and again (at %q)", CleanText(page[0]))
		}
		firsts[page[0]] = true
		all = append(all, page...)
	}
	return all, nil
}
