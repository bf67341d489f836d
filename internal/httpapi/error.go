package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"slipway/internal/oci"
	"slipway/internal/registry"
)

// writeError is the only place that answers a failed request.
func (h *Handler) writeError(c *call, err error) {
	err = registry.Classify(err)
	var e *oci.Error
	switch {
	case errors.As(err, &e):
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		e = oci.NewError(oci.CodeUnavailable, "the request ended before it was done: try again").WithCause(err)
	default:
		e = oci.NewError(oci.CodeUnknown, "the registry failed; its log says why").WithCause(err)
	}
	status := e.Status()
	switch {
	case ofUpstream(e):
		h.Log.Warn("another registry failed", "method", c.Method, "path", c.URL.Path, "code", e.Code, "message", e.Message)
	case status >= 500:
		h.Log.Error("request failed", "method", c.Method, "path", c.URL.Path, "status", status, "code", e.Code, "message", e.Message, "err", errors.Unwrap(e))
	}
	// To a question by HEAD the answer is yes or no: containerd gives up on
	// anything else. Refusals for lack of rights stay what they are.
	if c.Method == http.MethodHead && (status == http.StatusBadRequest || status == http.StatusMethodNotAllowed || ofUpstream(e)) {
		status = http.StatusNotFound
	}
	body, jsonErr := json.Marshal(map[string]any{"errors": []*oci.Error{e}})
	if jsonErr != nil {
		body = []byte(`{"errors":[{"code":"UNKNOWN","message":"the error has no JSON form"}]}`)
	}
	if status == http.StatusServiceUnavailable || status == http.StatusInsufficientStorage {
		c.Header().Set("Retry-After", "10")
	}
	if wait, ok := e.Detail.(map[string]int64); ok && status == http.StatusTooManyRequests {
		c.Header().Set("Retry-After", strconv.FormatInt(wait["retryAfter"], 10))
	}
	if c.challenge != "" {
		c.Header().Set("WWW-Authenticate", c.challenge)
	}
	// What the route said of the content does not hold for the error.
	c.Header().Del("ETag")
	c.Header().Del("Docker-Content-Digest")
	c.Header().Set("Cache-Control", "no-store")
	c.Header().Set("Content-Type", "application/json; charset=utf-8")
	c.Header().Set("Content-Length", strconv.Itoa(len(body)))
	c.WriteHeader(status)
	if c.Method != http.MethodHead {
		_, _ = c.Write(body)
	}
}

// ofUpstream reports that another registry failed. Whoever asks before a push
// shall push; whoever asks before a pull is told more by GET.
func ofUpstream(e *oci.Error) bool {
	return e.Code == oci.CodeBadUpstream || e.Code == oci.CodeUpstreamDown || e.Code == oci.CodeTooManyRequests
}

func (c *call) Write(b []byte) (int, error) { return c.ResponseWriter.Write(b) }

// empty answers without a body.
func (c *call) empty(status int) error {
	if status != http.StatusNoContent {
		c.Header().Set("Content-Length", "0")
	}
	c.WriteHeader(status)
	return nil
}
