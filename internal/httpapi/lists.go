package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"slipway/internal/oci"
)

const (
	maxPage          = 10_000
	maxReferrersPage = 500
)

// pageParameters reads n and last. Without n, or above the limit, a page has
// limit entries and a Link to the next.
func pageParameters(c *call, limit int) (n int, last string, err error) {
	q := c.URL.Query()
	if s := q.Get("n"); s != "" {
		if n, err = strconv.Atoi(s); err != nil || n < 0 {
			return 0, "", oci.NewError(oci.CodePageSizeInvalid, fmt.Sprintf("n=%q is not a number of entries: use 0 or more", s))
		}
		return min(n, limit), q.Get("last"), nil
	}
	return limit, q.Get("last"), nil
}

func setLink(c *call, path string, n int, last string, more url.Values) {
	v := url.Values{"n": {strconv.Itoa(n)}, "last": {last}}
	for k, s := range more {
		v[k] = s
	}
	c.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, path, v.Encode()))
}

func (c *call) json(contentType string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.Header().Set("Content-Type", contentType)
	c.Header().Set("Content-Length", strconv.Itoa(len(b)))
	c.WriteHeader(http.StatusOK)
	if c.Method != http.MethodHead {
		_, err = c.Write(b)
	}
	return ignoreClient(err)
}

func (h *Handler) tags(c *call) error {
	n, last, err := pageParameters(c, maxPage)
	if err != nil {
		return err
	}
	p, err := h.Lister.Tags(c.Context(), c.repository, last, n)
	if err != nil {
		return err
	}
	if p.More {
		setLink(c, "/v2/"+c.repository+"/tags/list", n, p.Items[len(p.Items)-1], nil)
	}
	return c.json("application/json", struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{c.repository, p.Items})
}

func (h *Handler) catalog(c *call) error {
	n, last, err := pageParameters(c, maxPage)
	if err != nil {
		return err
	}
	p, err := h.Lister.Catalog(c.Context(), last, n, h.Visible(c.Request))
	if err != nil {
		return err
	}
	if p.More {
		setLink(c, "/v2/_catalog", n, p.Items[len(p.Items)-1], nil)
	}
	return c.json("application/json", struct {
		Repositories []string `json:"repositories"`
	}{p.Items})
}

// referrerDescriptor is the descriptor of a referrer by the specification's
// rules ("Listing Referrers").
type referrerDescriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       oci.Digest        `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

func (h *Handler) referrers(c *call) error {
	d, err := oci.ParseDigest(c.last)
	if err != nil {
		return err
	}
	n, last, err := pageParameters(c, maxReferrersPage)
	if err != nil {
		return err
	}
	artifactType := c.URL.Query().Get("artifactType")
	p, err := h.Lister.Referrers(c.Context(), c.repository, d, artifactType, oci.Digest(last), n)
	if err != nil {
		return err
	}
	list := []referrerDescriptor{}
	for _, m := range p.Items {
		list = append(list, referrerDescriptor{m.MediaType, m.Digest, m.Size, m.ArtifactType, m.Annotations})
	}
	filter := url.Values{}
	if artifactType != "" {
		c.Header().Set("OCI-Filters-Applied", "artifactType")
		filter.Set("artifactType", artifactType)
	}
	if p.More {
		setLink(c, "/v2/"+c.repository+"/referrers/"+d.String(), n, list[len(list)-1].Digest.String(), filter)
	}
	return c.json(oci.MediaTypeImageIndex, struct {
		SchemaVersion int                  `json:"schemaVersion"`
		MediaType     string               `json:"mediaType"`
		Manifests     []referrerDescriptor `json:"manifests"`
	}{2, oci.MediaTypeImageIndex, list})
}
