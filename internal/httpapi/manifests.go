package httpapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"slipway/internal/oci"
	"slipway/internal/registry"
)

func (h *Handler) getManifest(c *call) error {
	ref, err := oci.ParseReference(c.last)
	if err != nil {
		return err
	}
	if c.Request.Header.Get("If-None-Match") != "" {
		m, err := h.Reader.StatManifest(c.Context(), c.repository, ref)
		if err != nil {
			return err
		}
		if matches(c.Request.Header.Get("If-None-Match"), m.Digest) {
			setManifestHeaders(c, m)
			c.Header().Del("Content-Length")
			c.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	m, err := h.Reader.GetManifest(c.Context(), c.repository, ref)
	if err != nil {
		return err
	}
	setManifestHeaders(c, m)
	h.setWarning(c, ref)
	_, err = c.Write(m.Content)
	return ignoreClient(err)
}

func (h *Handler) headManifest(c *call) error {
	ref, err := oci.ParseReference(c.last)
	if err != nil {
		return err
	}
	m, err := h.Reader.StatManifest(c.Context(), c.repository, ref)
	if err != nil {
		return err
	}
	setManifestHeaders(c, m)
	h.setWarning(c, ref)
	c.WriteHeader(http.StatusOK)
	return nil
}

// setWarning tells of stale content, as RFC 7234, 5.5.1, has it.
func (h *Handler) setWarning(c *call, ref oci.Reference) {
	s, ok := h.Reader.(Staler)
	if !ok || ref.Tag == "" {
		return
	}
	if text := s.Stale(c.Context(), c.repository, ref); text != "" {
		c.Header().Set("Warning", "110 slipway "+strconv.Quote(text))
	}
}

func setManifestHeaders(c *call, m registry.Manifest) {
	hd := c.Header()
	hd.Set("Content-Type", m.MediaType)
	hd.Set("Content-Length", strconv.FormatInt(m.Size, 10))
	hd.Set("Docker-Content-Digest", m.Digest.String())
	hd.Set("ETag", `"`+m.Digest.String()+`"`)
	hd.Set("X-Content-Type-Options", "nosniff")
}

func matches(header string, d oci.Digest) bool {
	for part := range strings.SplitSeq(header, ",") {
		part = strings.Trim(strings.TrimPrefix(strings.TrimSpace(part), "W/"), `"`)
		if part == d.String() || part == "*" {
			return true
		}
	}
	return false
}

// maxTagParameters bounds ?tag= on one manifest; the specification asks for at
// least 10.
const maxTagParameters = 100

func (h *Handler) putManifest(c *call) error {
	ref, err := oci.ParseReference(c.last)
	if err != nil {
		return err
	}
	q := c.URL.Query()
	tags := q["tag"]
	if len(tags) > maxTagParameters {
		return oci.NewError(oci.CodeTagInvalid, fmt.Sprintf("the request names %d tags; the limit is %d: use several requests", len(tags), maxTagParameters))
	}
	for _, tag := range tags {
		if err := oci.CheckTag(tag); err != nil {
			return err
		}
	}
	p := registry.Push{Repository: c.repository, Reference: ref, Tags: tags, MediaType: oci.TrimMediaType(c.Request.Header.Get("Content-Type")), Change: h.change(c, "push")}
	if s := q.Get("digest"); s != "" {
		if p.Digest, err = oci.ParseDigest(s); err != nil {
			return err
		}
	}
	if p.Content, err = h.readManifest(c); err != nil {
		return err
	}
	pushed, err := h.Writer.PutManifest(c.Context(), p)
	if err != nil {
		return err
	}
	if pushed.Subject != "" {
		c.Header().Set("OCI-Subject", pushed.Subject.String())
	}
	for _, tag := range tags {
		c.Header().Add("OCI-Tag", tag)
	}
	c.Header().Set("Location", "/v2/"+c.repository+"/manifests/"+pushed.Digest.String())
	c.Header().Set("Docker-Content-Digest", pushed.Digest.String())
	return c.empty(http.StatusCreated)
}

func (h *Handler) readManifest(c *call) ([]byte, error) {
	tooLarge := oci.NewError(oci.CodeManifestTooLarge, fmt.Sprintf("the manifest is larger than the %d bytes that this registry accepts; its administrator can raise manifest-limit", h.ManifestLimit))
	if c.ContentLength > h.ManifestLimit {
		return nil, tooLarge
	}
	content, err := io.ReadAll(http.MaxBytesReader(c.ResponseWriter, c.Body, h.ManifestLimit))
	var tooMany *http.MaxBytesError
	if errors.As(err, &tooMany) {
		return nil, tooLarge
	}
	if err != nil {
		return nil, oci.NewError(oci.CodeManifestInvalid, "the body ended early: nothing was stored; send the manifest again").WithCause(err)
	}
	return content, nil
}

func (h *Handler) deleteManifest(c *call) error {
	ref, err := oci.ParseReference(c.last)
	if err != nil {
		return err
	}
	if ref.Tag != "" {
		err = h.Writer.DeleteTag(c.Context(), c.repository, ref.Tag, h.change(c, "delete tag"))
	} else {
		err = h.Writer.DeleteManifest(c.Context(), c.repository, ref.Digest, h.change(c, "delete manifest"))
	}
	if err != nil {
		return err
	}
	return c.empty(http.StatusAccepted)
}
