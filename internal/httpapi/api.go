// Package httpapi is the OCI distribution API under /v2/. One table has every
// route with the action that it needs; a route that is not in the table does
// not exist. A request goes the same way through it each time: match, check
// the names, authorize, call, write the error if there is one.
//
// What the registry does stands in package registry. This package only
// translates between HTTP and its three interfaces, so that a pull-through
// cache can stand in between.
package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"slipway/internal/auth"
	"slipway/internal/meta"
	"slipway/internal/oci"
	"slipway/internal/registry"
)

// Reader is what pulling needs.
type Reader interface {
	OpenBlob(ctx context.Context, repository string, d oci.Digest) (*registry.Blob, error)
	StatBlob(ctx context.Context, repository string, d oci.Digest) (int64, error)
	GetManifest(ctx context.Context, repository string, ref oci.Reference) (registry.Manifest, error)
	StatManifest(ctx context.Context, repository string, ref oci.Reference) (registry.Manifest, error)
}

// Staler is a Reader that may serve what is out of date.
type Staler interface {
	// Stale says, for a person, what a reference that was just read may have
	// missed; it is empty for one that is as fresh as it should be.
	Stale(ctx context.Context, repository string, ref oci.Reference) string
}

// Lister is what discovery needs.
type Lister interface {
	Tags(ctx context.Context, repository, last string, n int) (registry.Page[string], error)
	Catalog(ctx context.Context, last string, n int, visible func(string) bool) (registry.Page[string], error)
	Referrers(ctx context.Context, repository string, d oci.Digest, artifactType string, last oci.Digest, n int) (registry.Page[registry.Manifest], error)
}

// Writer is what pushing and deleting need.
type Writer interface {
	StartUpload(ctx context.Context, repository string, a oci.Algorithm) (registry.UploadStatus, error)
	UploadStatus(ctx context.Context, repository, id string) (registry.UploadStatus, error)
	AppendUpload(ctx context.Context, repository, id string, body registry.Body) (registry.UploadStatus, error)
	FinishUpload(ctx context.Context, repository, id string, d oci.Digest, body registry.Body) error
	CancelUpload(ctx context.Context, repository, id string) error
	PutBlob(ctx context.Context, repository string, d oci.Digest, body registry.Body) error
	MountBlob(ctx context.Context, repository string, d oci.Digest, from string, visible func(string) bool) (bool, error)
	PutManifest(ctx context.Context, p registry.Push) (registry.Pushed, error)
	DeleteTag(ctx context.Context, repository, tag string, c meta.Change, guards ...meta.Guard) error
	DeleteManifest(ctx context.Context, repository string, d oci.Digest, c meta.Change, guards ...meta.Guard) error
	DeleteBlob(ctx context.Context, repository string, d oci.Digest, c meta.Change) error
}

var (
	_ Reader = (*registry.Registry)(nil)
	_ Lister = (*registry.Registry)(nil)
	_ Writer = (*registry.Registry)(nil)
)

// Config is what a Handler is made of. Everything but the limits is required.
type Config struct {
	Reader Reader
	Lister Lister
	Writer Writer
	Log    *slog.Logger

	// Authorize returns an UNAUTHORIZED or DENIED *oci.Error unless the caller
	// may do the action in the repository (empty for ping and list).
	Authorize func(r *http.Request, a auth.Action, repository string) error
	// Canonical is the name of the repository that a request is about: of the
	// one in its path and, where containerd asks a mirror, of the registry in
	// ?ns= that the image's name began with. It runs before Authorize. Without
	// it names stand for themselves and nothing is mirrored.
	Canonical func(repository, ns string) (string, error)
	// Challenge is what WWW-Authenticate says beside an UNAUTHORIZED error: how
	// a client gets what the action needs. Without it nothing is said.
	Challenge func(r *http.Request, a auth.Action, repository string) string
	// Visible returns whether the caller may know of a repository.
	Visible func(r *http.Request) func(repository string) bool
	// Caller names who calls, and from where, for history, events and audit.
	Caller func(r *http.Request) (actor, address string)

	// ManifestLimit is the largest manifest in bytes. Default 4 MiB.
	ManifestLimit int64
}

// Handler serves /v2/.
type Handler struct{ Config }

const defaultManifestLimit = 4 << 20

// New makes a handler.
func New(c Config) *Handler {
	if c.ManifestLimit == 0 {
		c.ManifestLimit = defaultManifestLimit
	}
	if c.Canonical == nil {
		c.Canonical = asNamed
	}
	return &Handler{c}
}

func asNamed(repository, ns string) (string, error) {
	if ns != "" {
		return "", oci.NewError(oci.CodeNameUnknown, fmt.Sprintf("this registry does not mirror %.255q", ns))
	}
	return repository, nil
}

// call is one request on its way through the table.
type call struct {
	http.ResponseWriter
	*http.Request
	repository string
	last       string // the last part of the path: digest, reference or upload id
	challenge  string // how to log in, if that is what is missing
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	c := &call{ResponseWriter: w, Request: r}
	if err := h.serve(c); err != nil {
		h.writeError(c, err)
	}
}

func (h *Handler) serve(c *call) error {
	rt, err := match(c)
	if err != nil {
		return err
	}
	if w, ok := c.ResponseWriter.(interface{ SetRoute(string) }); ok {
		w.SetRoute(rt.pattern)
	}
	if c.repository != "" {
		if err := oci.CheckRepository(c.repository); err != nil {
			return err
		}
		if c.repository, err = h.Canonical(c.repository, c.URL.Query().Get("ns")); err != nil {
			return err
		}
	}
	if err := h.Authorize(c.Request, rt.action, c.repository); err != nil {
		if h.Challenge != nil && oci.HasCode(err, oci.CodeUnauthorized) {
			c.challenge = h.Challenge(c.Request, rt.action, c.repository)
		}
		return err
	}
	return rt.serve(h, c)
}

func (h *Handler) change(c *call, cause string) meta.Change {
	actor, address := h.Caller(c.Request)
	return meta.Change{Actor: actor, Address: address, Cause: cause}
}
