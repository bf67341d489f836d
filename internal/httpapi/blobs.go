package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"slipway/internal/oci"
)

func (h *Handler) ping(c *call) error {
	c.Header().Set("Content-Type", "application/json")
	c.Header().Set("Content-Length", "2")
	_, err := c.Write([]byte("{}"))
	return ignoreClient(err)
}

// ignoreClient drops errors of writing a response: the client is gone, and
// nobody is left to be told.
func ignoreClient(error) error { return nil }

func (h *Handler) getBlob(c *call) error {
	d, err := oci.ParseDigest(c.last)
	if err != nil {
		return err
	}
	b, err := h.Reader.OpenBlob(c.Context(), c.repository, d)
	if err != nil {
		return err
	}
	defer b.Close()
	setBlobHeaders(c, d)
	if err := applyRange(c, b.Size); err != nil {
		return err
	}
	if b.Whole != nil && c.Request.Header.Get("Range") != "" {
		// Of a part nobody could tell that the whole turned out to be false.
		if err := b.Whole(c.Context()); err != nil {
			return err
		}
	}
	if b.Content != nil && !conditional(c.Request) {
		c.Header().Set("Accept-Ranges", "bytes")
		c.Header().Set("Content-Length", strconv.FormatInt(b.Size, 10))
		_, err := c.Write(b.Content)
		return ignoreClient(err)
	}
	w := c.ResponseWriter
	if b.Whole != nil {
		// Written as it arrives, so that the client is given its time from then.
		w = struct{ http.ResponseWriter }{w}
	}
	// Ranges, conditions and, for files, sendfile.
	http.ServeContent(w, c.Request, "", time.Time{}, b.ReadSeekCloser)
	return nil
}

// conditional reports a request for a part, or for nothing if unchanged.
func conditional(r *http.Request) bool {
	for _, name := range []string{"Range", "If-None-Match", "If-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		if r.Header[name] != nil {
			return true
		}
	}
	return false
}

func (h *Handler) headBlob(c *call) error {
	d, err := oci.ParseDigest(c.last)
	if err != nil {
		return err
	}
	size, err := h.Reader.StatBlob(c.Context(), c.repository, d)
	if err != nil {
		return err
	}
	setBlobHeaders(c, d)
	c.Header().Set("Accept-Ranges", "bytes")
	c.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	c.WriteHeader(http.StatusOK)
	return nil
}

func setBlobHeaders(c *call, d oci.Digest) {
	hd := c.Header()
	hd.Set("Docker-Content-Digest", d.String())
	hd.Set("ETag", `"`+d.String()+`"`)
	hd.Set("Content-Type", "application/octet-stream")
	hd.Set("Cache-Control", "max-age=31536000, immutable")
	hd.Set("X-Content-Type-Options", "nosniff")
}

func (h *Handler) deleteBlob(c *call) error {
	d, err := oci.ParseDigest(c.last)
	if err != nil {
		return err
	}
	if err := h.Writer.DeleteBlob(c.Context(), c.repository, d, h.change(c, "delete blob")); err != nil {
		return err
	}
	return c.empty(http.StatusAccepted)
}
