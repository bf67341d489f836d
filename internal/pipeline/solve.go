package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"slipway/internal/bake"
	"slipway/internal/oci"
	"slipway/internal/tree"
)

// ErrNotFound is what a Store returns for content that it does not have.
var ErrNotFound = errors.New("not found")

// Base is an image in the store that a solve may read: a manifest or an index.
type Base struct {
	Repository string     `json:"repository"`
	Digest     oci.Digest `json:"digest"`
}

// Solve is one target on one platform, with everything resolved: what a Solver
// turns into an image. Nothing in it is looked up by name any more.
type Solve struct {
	Project  string // keeps cache mounts and contexts of projects apart
	Trust    string // trust level of the source, "" for the project's own
	Target   string // for messages
	Platform string // "linux/amd64"

	Dockerfile     []byte
	DockerfileName string // for messages
	Stage          string // "" is the last
	Context        *tree.Tree
	Contexts       map[string]*tree.Tree // named contexts that are folders
	// Images are the images that the Dockerfile asks for: by name as it is
	// written, with "::PLATFORM" behind it where platforms differ.
	Images map[string]Base
	Syntax string // frontend image, one of Images; "" is the builder's own

	Args          map[string]string
	Labels        map[string]string
	Annotations   map[string]string
	Secrets       map[string][]byte
	SSH           map[string][]string // agent sockets or keys by id
	Network       string              // "", "default" or "none"
	ExtraHosts    []string            // "name=address"
	ShmSize       int64
	Ulimits       []string
	NoCache       bool
	NoCacheFilter []string

	Proxy map[string]string // proxy variables: reach RUN, and no digest
	Epoch time.Time         // the newest time in the image; zero is 1970

	Compression string // "gzip" or "zstd"
	// Repository is where the result is written. Empty is a test: the target
	// is run, and its reports are read, and nothing is kept of it.
	Repository string
	Pins       string // holder of the pins of what this solve relies on

	Services   []Service
	Reports    []string // patterns of paths in the result's file system
	Provenance bool     // embed BuildKit's own attestation in the result
}

// Service is a container that runs beside a test.
type Service struct {
	Name  string
	Image Base
	*bake.Service
}

// Solved is the result of a solve.
type Solved struct {
	Manifest oci.Digest // in Solve.Repository; empty for a test
	Config   oci.Digest
	Steps    int // steps of the Dockerfile
	Cached   int // of those, the ones that the builder had cached
	Reports  []Report
}

// Report is a file that a test left.
type Report struct {
	Path    string
	Content []byte
}

// StepError is a step of a Dockerfile that failed.
type StepError struct {
	Step     string   // as the Dockerfile has it
	Place    string   // "Dockerfile:12"
	Output   []string // its last lines
	ExitCode int      // 0 if it did not run
	Err      error
	Reports  []Report // what it left
}

func (e *StepError) Error() string {
	if e.Place != "" {
		return fmt.Sprintf("%s: %s: %v", e.Place, e.Step, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.Step, e.Err)
}

func (e *StepError) Unwrap() error { return e.Err }

// NoBuilderError says that nothing here can build.
type NoBuilderError struct{ Err error }

func (e *NoBuilderError) Error() string { return "no builder: " + e.Err.Error() }
func (e *NoBuilderError) Unwrap() error { return e.Err }

// Solver builds. It is safe for concurrent use.
type Solver interface {
	// Solve builds s and reports its progress. When it returns without an
	// error the image is durable in the store. A failed step is a *StepError;
	// a builder that can't be reached a *NoBuilderError.
	Solve(ctx context.Context, s Solve, p Progress) (Solved, error)
	// Platforms lists what can be built, the native platform first.
	Platforms(ctx context.Context) ([]string, error)
}

// Progress is told how a solve goes on. Methods may be called concurrently.
type Progress interface {
	// Step says that a step began (started), or ended in the time given.
	Step(s Step)
	// Output is what a step or a service printed.
	Output(step string, text []byte)
	// Raw is the builder's own status as JSON, for a client that draws it.
	Raw(status []byte)
}

// Step is a step's state.
type Step struct {
	Name    string
	Done    bool
	Cached  bool
	Seconds float64
	Err     string
}

// Store is the content that solves read and write. Deleting is the business
// of collection; what a pin names stays.
type Store interface {
	// Manifest returns a manifest that the repository holds.
	Manifest(ctx context.Context, repository string, d oci.Digest) (mediaType string, content []byte, err error)
	// OpenBlob opens a blob that the repository holds.
	OpenBlob(ctx context.Context, repository string, d oci.Digest) (Blob, error)
	// StatBlob returns the size of a blob, or an error that is ErrNotFound.
	StatBlob(ctx context.Context, repository string, d oci.Digest) (int64, error)
	// PutBlob stores a blob, durably, if it has the digest.
	PutBlob(ctx context.Context, repository string, d oci.Digest, content io.Reader) error
	// Mount makes a blob of one repository a member of another, and reports
	// whether it could.
	Mount(ctx context.Context, repository string, d oci.Digest, from string) (bool, error)
	// PutManifest stores a manifest, without a tag.
	PutManifest(ctx context.Context, repository, mediaType string, content []byte) (oci.Digest, error)
	// Whole reports whether a manifest and all that it points at is here, bytes and all.
	Whole(ctx context.Context, repository string, d oci.Digest) (bool, error)
	// Prepare makes a repository whose manifests are deleted by collection
	// unless a tag, a pin or another manifest needs them.
	Prepare(ctx context.Context, repository string) error
	// Pin keeps content from collection.
	Pin(ctx context.Context, holder string, expires time.Duration, digests ...oci.Digest) error
	// Unpin lets go of all that a holder pinned.
	Unpin(ctx context.Context, holder string) error
}

// Blob is an open blob.
type Blob interface {
	io.ReadSeekCloser
	Size() int64
}
