package httpapi

import (
	"fmt"
	"net/http"

	"slipway/internal/auth"
	"slipway/internal/oci"
	"slipway/internal/registry"
)

// postUpload opens an upload, or mounts a blob, or takes a whole blob at once.
func (h *Handler) postUpload(c *call) error {
	q := c.URL.Query()
	algorithm := oci.SHA256
	if s := q.Get("digest-algorithm"); s != "" {
		var err error
		if algorithm, err = oci.ParseAlgorithm(s); err != nil {
			return err
		}
	}
	if s := q.Get("mount"); s != "" {
		d, err := oci.ParseDigest(s)
		if err != nil {
			return err
		}
		mounted, err := h.mount(c, d, q.Get("from"))
		if err != nil {
			return err
		}
		if mounted {
			return h.blobCreated(c, d)
		}
		algorithm = d.Algorithm()
	}
	if s := q.Get("digest"); s != "" {
		d, err := oci.ParseDigest(s)
		if err != nil {
			return err
		}
		algorithm = d.Algorithm()
		// Without a body this is a client that names the digest ahead.
		if c.ContentLength != 0 || d == oci.FromBytes(algorithm, nil) {
			if err := h.Writer.PutBlob(c.Context(), c.repository, d, registry.Body{Reader: c.Body, Length: c.ContentLength}); err != nil {
				return err
			}
			return h.blobCreated(c, d)
		}
	}
	u, err := h.Writer.StartUpload(c.Context(), c.repository, algorithm)
	if err != nil {
		return err
	}
	h.setUploadHeaders(c, u)
	return c.empty(http.StatusAccepted)
}

// mount tries to mount. A source that is missing or that the caller may not
// read is no error: the client uploads the blob instead (containerd gives up
// when it is told 403).
func (h *Handler) mount(c *call, d oci.Digest, from string) (bool, error) {
	if from != "" {
		if oci.CheckRepository(from) != nil || h.Authorize(c.Request, auth.Pull, from) != nil {
			return false, nil
		}
	}
	return h.Writer.MountBlob(c.Context(), c.repository, d, from, h.Visible(c.Request))
}

func (h *Handler) getUpload(c *call) error {
	u, err := h.Writer.UploadStatus(c.Context(), c.repository, c.last)
	if err != nil {
		return err
	}
	h.setUploadHeaders(c, u)
	return c.empty(http.StatusNoContent)
}

func (h *Handler) patchUpload(c *call) error {
	body, err := c.body()
	if err != nil {
		return h.withOffset(c, err)
	}
	u, err := h.Writer.AppendUpload(c.Context(), c.repository, c.last, body)
	if err != nil {
		return h.withOffset(c, err)
	}
	h.setUploadHeaders(c, u)
	return c.empty(http.StatusAccepted)
}

func (h *Handler) putUpload(c *call) error {
	s := c.URL.Query().Get("digest")
	if s == "" {
		return oci.NewError(oci.CodeDigestInvalid, "the closing PUT needs the blob's digest as ?digest=<digest>")
	}
	d, err := oci.ParseDigest(s)
	if err != nil {
		return err
	}
	body, err := c.body()
	if err != nil {
		return h.withOffset(c, err)
	}
	if err := h.Writer.FinishUpload(c.Context(), c.repository, c.last, d, body); err != nil {
		return h.withOffset(c, err)
	}
	return h.blobCreated(c, d)
}

func (h *Handler) deleteUpload(c *call) error {
	if err := h.Writer.CancelUpload(c.Context(), c.repository, c.last); err != nil {
		return err
	}
	return c.empty(http.StatusNoContent)
}

func (c *call) body() (registry.Body, error) {
	b := registry.Body{Reader: c.Body, Length: c.ContentLength}
	if s := c.Request.Header.Get("Content-Range"); s != "" {
		cr, err := oci.ParseContentRange(s)
		if err != nil {
			return b, err
		}
		b.Range = &cr
	}
	return b, nil
}

func (h *Handler) blobCreated(c *call, d oci.Digest) error {
	c.Header().Set("Location", "/v2/"+c.repository+"/blobs/"+d.String())
	c.Header().Set("Docker-Content-Digest", d.String())
	return c.empty(http.StatusCreated)
}

// setUploadHeaders tells where an upload goes on. The Location is a path
// without a host, so it is right behind any proxy.
func (h *Handler) setUploadHeaders(c *call, u registry.UploadStatus) {
	c.Header().Set("Location", "/v2/"+c.repository+"/blobs/uploads/"+u.ID)
	c.Header().Set("Range", fmt.Sprintf("0-%d", max(u.Size-1, 0)))
	c.Header().Set("Docker-Upload-UUID", u.ID)
}

// withOffset adds to a refused chunk where the upload stands.
func (h *Handler) withOffset(c *call, err error) error {
	if oci.HasCode(err, oci.CodeRangeInvalid) {
		if u, statusErr := h.Writer.UploadStatus(c.Context(), c.repository, c.last); statusErr == nil {
			h.setUploadHeaders(c, u)
		}
	}
	return err
}
