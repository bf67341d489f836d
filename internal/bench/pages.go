package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
)

const pageSize = 100

// pager asks for pages of a listing whose content is known. A body that was
// decoded and found right is kept: the same page must then come as the same
// bytes, or is decoded again.
type pager struct {
	client *client
	path   string // of the listing, with the query still to come
	key    string // JSON member that holds the names
	name   string // what the member "name" must be, "" for none
	names  []string
	pages  []page
}

type page struct {
	last string // names after this one
	want []string
	more bool // a next page must be announced
	seen atomic.Pointer[[]byte]
}

// tagPager covers a repository that holds exactly these tags, page by page.
func tagPager(c *client, repo string, tags []string) *pager {
	p := &pager{client: c, path: repo + "/tags/list", key: "tags", name: repo, names: tags}
	p.pages = make([]page, (len(tags)+pageSize-1)/pageSize)
	for i := range p.pages {
		p.fill(&p.pages[i], i*pageSize)
	}
	return p
}

// catalogPager covers the full pages that begin after each of these
// repositories. Others may exist before and after them, not between them.
func catalogPager(c *client, repos []string) *pager {
	p := &pager{client: c, path: "_catalog", key: "repositories", names: repos}
	p.pages = make([]page, len(repos)-pageSize)
	for i := range p.pages {
		p.fill(&p.pages[i], i+1)
	}
	return p
}

func (p *pager) fill(pg *page, from int) {
	if from > 0 {
		pg.last = p.names[from-1]
	}
	to := min(from+pageSize, len(p.names))
	pg.want, pg.more = p.names[from:to], to < len(p.names)
}

// fetch asks for one page and checks it.
func (p *pager) fetch(ctx context.Context, i int, buf []byte) (int64, error) {
	pg := &p.pages[i]
	query := fmt.Sprintf("?n=%d", pageSize)
	if pg.last != "" {
		query += "&last=" + url.QueryEscape(pg.last)
	}
	body, resp, err := p.client.get(ctx, p.client.url(p.path, query), nil, buf)
	if err != nil {
		return 0, err
	}
	if pg.more && !strings.Contains(resp.Header.Get("Link"), `rel="next"`) {
		return 0, fmt.Errorf("%s%s: %s", p.path, query, p.withoutLink(body))
	}
	if seen := pg.seen.Load(); seen != nil && bytes.Equal(*seen, body) {
		return int64(len(body)), nil
	}
	if err := p.check(pg, body); err != nil {
		return 0, fmt.Errorf("%s%s: %w", p.path, query, err)
	}
	known := bytes.Clone(body)
	pg.seen.Store(&known)
	return int64(len(body)), nil
}

func (p *pager) check(pg *page, body []byte) error {
	name, got, err := p.decode(body)
	if err != nil {
		return err
	}
	if name != p.name {
		return fmt.Errorf("the page is of %q, want %q", name, p.name)
	}
	if len(got) > pageSize {
		return fmt.Errorf("%d names in a page of n=%d", len(got), pageSize)
	}
	if !slices.Equal(got, pg.want) {
		return fmt.Errorf("wrong page: %d names from %q to %q, want %d from %q to %q",
			len(got), first(got), final(got), len(pg.want), first(pg.want), final(pg.want))
	}
	return nil
}

func (p *pager) decode(body []byte) (name string, names []string, err error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return "", nil, fmt.Errorf("the page is not JSON: %w", err)
	}
	if raw, ok := members["name"]; ok && p.name != "" {
		if err := json.Unmarshal(raw, &name); err != nil {
			return "", nil, fmt.Errorf("the page's name: %w", err)
		}
	}
	if err := json.Unmarshal(members[p.key], &names); err != nil {
		return "", nil, fmt.Errorf("the page's %s: %w", p.key, err)
	}
	return name, names, nil
}

// withoutLink explains a page that announces no next one: registries that do
// not page their tags at all show themselves here.
func (p *pager) withoutLink(body []byte) string {
	if _, names, err := p.decode(body); err == nil && len(names) > pageSize {
		return fmt.Sprintf("the registry does not page: %d names for n=%d", len(names), pageSize)
	}
	return "no Link to the next page"
}

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

func final(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1]
}
