package pipeline

import (
	"context"

	"slipway/internal/oci"
)

// Resolver finds the image that a Dockerfile names.
type Resolver interface {
	// Resolve returns the image's manifest for one platform. An error says what
	// is missing, and where it was looked for.
	Resolve(ctx context.Context, q Query) (Resolved, error)
}

// Query is a name to resolve.
type Query struct {
	Project  string
	Actor    string // for whom the run is made
	Name     string // as written: "debian:bookworm", "ghcr.io/x/y@sha256:…"
	Platform string
}

// Resolved is the image behind a name at this moment.
type Resolved struct {
	Base
	Name    string     // repository:tag on this server, for people
	Root    oci.Digest // what the tag points at: an index, or Digest itself
	From    Origin
	Stale   bool // the upstream could not be asked whether it still is the newest
	OnBuild []string
}

// Origin is where a base image was found.
type Origin string

// The values of Origin.
const (
	FromLocal  Origin = "local repository"
	FromMirror Origin = "mirror"
	FromTarget Origin = "target" // another target of the same project
)
