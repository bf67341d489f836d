package attest

import (
	"time"

	"slipway/internal/oci"
)

// Build is what is known of a finished build of one target.
type Build struct {
	Subjects []Subject // at least one

	Source    Source
	Project   string
	Target    string
	Platforms []string          // as "linux/arm64"
	Args      map[string]string // build arguments; proxy settings are left out, secrets refused
	Files     []string          // bake, compose and Docker files that were read, relative to the source

	Builder  Builder
	Internal map[string]string // what Slipway decided itself, such as "inputDigest"; may be empty
	Bases    []Base

	Invocation string // the run's id, or its URL
	Started    time.Time
	Finished   time.Time
	Byproducts []Byproduct

	// Secrets are the values that must not appear, of eight bytes or more.
	// Statement fails and says where one does; it writes none of them.
	Secrets [][]byte
}

// Subject is what the provenance is about. Several names may share a digest.
type Subject struct {
	Name   string // the repository, with the tag if there is one
	Digest oci.Digest
}

// Source is the checkout that was built.
type Source struct {
	URI    string // of the repository; credentials in it are left out
	Ref    string // as "refs/heads/main"; may be empty
	Commit string // hex, of SHA-1 or SHA-256; empty for a folder that is not under Git
}

// Builder is who answers for the build.
type Builder struct {
	ID      string            // a URI, such as the server's external URL
	Version map[string]string // of components: "slipway", "buildkit"
}

// Origin says where a base image was found.
type Origin string

// The places that a base image comes from.
const (
	Local  Origin = "local"  // a repository of this registry
	Mirror Origin = "mirror" // fetched from an upstream registry, or kept from an earlier fetch
)

// Base is an image that the build read.
type Base struct {
	Reference string // as the Dockerfile says it, such as "debian:12"
	Digest    oci.Digest
	Platform  string // may be empty
	Origin    Origin
	Upstream  string // for Mirror, the registry's host
}

// Byproduct is what the run left besides images: the input list, reports.
type Byproduct struct {
	Name      string
	URI       string // may be empty
	MediaType string // may be empty
	Digest    oci.Digest
}
