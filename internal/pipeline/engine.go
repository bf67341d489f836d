package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"slipway/internal/bake"
	"slipway/internal/db"
	"slipway/internal/oci"
	"slipway/internal/tree"
)

// Config is what an Engine is made of. Everything without a default is
// required.
type Config struct {
	DB        *db.DB
	Store     Store
	Resolver  Resolver
	Publisher Publisher
	Solver    Solver // nil: nothing can be built, what exists can be reused
	Log       *slog.Logger

	// Read reads a project. Default bake.Read.
	Read func(context.Context, bake.Request) (*bake.Project, error)
	// Trees remembers hashes of files between runs. Default: none are.
	Trees *tree.Cache
	// Builder names the builder's behaviour, as part of every input digest.
	Builder string
	// Platform is what targets without platforms are built for: "linux/amd64".
	Platform string
	// BuildPlatform is the native platform of the builder that builds for a
	// platform. Default: Platform, which is right where that is this machine.
	BuildPlatform func(ctx context.Context, platform string) (string, error)
	// MayPublish says whether a run that is made for an actor may move tags of a
	// repository. nil: it may.
	MayPublish func(ctx context.Context, actor, repository string) error
	// Hosts are the names under which clients know this server. In a tag or a
	// FROM they mean the local store.
	Hosts []string
	// Rewrite are names of other registries that in tags mean this server.
	Rewrite []string
	// Compression of new layers: "gzip" or "zstd". Default gzip, which every client reads.
	Compression string
	// MaxAge is how long a result with unpinned steps is reused, for projects
	// that do not say. 0 is for ever.
	MaxAge time.Duration
	// Proxy are the proxy variables that builds get.
	Proxy map[string]string
	// Fetch checks a git context out into an empty folder. nil: there are none.
	Fetch func(ctx context.Context, url, dir string) (folder, commit string, err error)
	// Work is the folder for what runs check out. Default: the system's for
	// temporary files.
	Work string
	// Space returns an error when the disk is too full to build.
	Space func() error
	// Parallel is how many solves go on at a time, of all runs. Default 2.
	Parallel int
	// ID is a URI that names this server in provenance.
	ID string
	// Version is Slipway's own, for provenance.
	Version string
}

// Engine carries out runs. It is safe for concurrent use.
type Engine struct {
	Config
	building keyed
	solving  chan struct{} // a place for each solve that may go on
	underWay underWay
}

// keyed lets one at a time do what a key names: two runs with equal inputs
// build once.
type keyed struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

func (k *keyed) lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		k.mu.Lock()
		busy, taken := k.held[key]
		if !taken {
			if k.held == nil {
				k.held = map[string]chan struct{}{}
			}
			done := make(chan struct{})
			k.held[key] = done
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				delete(k.held, key)
				k.mu.Unlock()
				close(done)
			}, nil
		}
		k.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// New makes an engine.
func New(c Config) (*Engine, error) {
	if c.DB == nil || c.Store == nil || c.Resolver == nil || c.Publisher == nil || c.Platform == "" || c.Builder == "" {
		return nil, errors.New("pipeline: the configuration is not complete")
	}
	if c.Read == nil {
		c.Read = bake.Read
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Trees == nil {
		c.Trees = tree.NewCache()
	}
	switch c.Compression {
	case "":
		c.Compression = "gzip"
	case "zstd", "gzip":
	default:
		return nil, fmt.Errorf("build.compression is %q: use zstd or gzip", c.Compression)
	}
	if c.Space == nil {
		c.Space = func() error { return nil }
	}
	if c.Parallel <= 0 {
		c.Parallel = 2
	}
	return &Engine{Config: c, solving: make(chan struct{}, c.Parallel)}, nil
}

// Request asks for a run.
type Request struct {
	Project string // see ProjectName
	Dir     string // the checkout, or a folder: absolute
	Source  Source

	Files   []string // of the project; none: they are detected
	Targets []string // none: "default"
	Set     []string // overrides as bake's --set
	Vars    map[string]string

	Force        bool     // build every target
	ForceTargets []string // build these, and what depends on them
	Explain      bool     // say for every target why, in full

	Secrets map[string][]byte   // by id; they take the place of the project's own
	SSH     map[string][]string // agents and keys by id

	Trust string // "" is the project's own source
	Actor string
	Cause string
}

// Source is where the checkout came from.
type Source struct {
	URI    string
	Commit string // "": no git checkout
	Branch string
	Tag    string
	Ref    string
	Dirty  bool
	// Claimed says that whoever sent the files says so: nobody fetched the commit.
	Claimed bool
	// Changed returns the time of the last commit that touched one of these
	// paths, or a zero time. nil: there is none.
	Changed func(ctx context.Context, paths []string) time.Time
}

// Kind is what a run failed of. The command line's exit code tells them apart.
type Kind string

// The values of Kind.
const (
	KindTest     Kind = "test"     // a test, or its coverage
	KindBuild    Kind = "build"    // a step of a Dockerfile
	KindProject  Kind = "project"  // the project can't be read, or names what is not there
	KindBuilder  Kind = "builder"  // there is no builder
	KindPublish  Kind = "publish"  // the tags could not be moved
	KindInternal Kind = "internal" // Slipway's own
)

// Failure is an error with its kind.
type Failure struct {
	Kind Kind
	Err  error
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

func failure(k Kind, err error) error {
	var f *Failure
	if err == nil || errors.As(err, &f) {
		return err
	}
	var none *NoBuilderError
	if errors.As(err, &none) {
		k = KindBuilder
	}
	return &Failure{k, err}
}

// Outcome is what a run came to.
type Outcome struct {
	Run     int64           `json:"run"`
	Project string          `json:"project"`
	Number  int64           `json:"number"`
	State   State           `json:"state"`
	Failure Kind            `json:"failure,omitempty"`
	Error   string          `json:"error,omitempty"`
	Targets []TargetOutcome `json:"targets"`
	Tags    []MovedTag      `json:"tags"`
	Record  oci.Digest      `json:"record,omitempty"`
	Started time.Time       `json:"started"`
	Ended   time.Time       `json:"ended"`
}

// State is how far a run is.
type State string

// The values of State.
const (
	Running     State = "running"
	Passed      State = "passed"
	Failed      State = "failed"
	Cancelled   State = "cancelled"
	Interrupted State = "interrupted" // the server ended before the run did
)

// Verdict is what became of a target.
type Verdict string

// The values of Verdict.
const (
	Reused    Verdict = "reused" // an image, or a test that passed with these inputs
	Built     Verdict = "built"
	TestedOK  Verdict = "passed" // a test that ran
	FailedOne Verdict = "failed"
	Held      Verdict = "held back" // not built: a test, or what it is built on, failed
)

// TargetOutcome is what became of one target on one platform.
type TargetOutcome struct {
	Target   string     `json:"target"`
	Platform string     `json:"platform"`
	Test     bool       `json:"test,omitempty"`
	Verdict  Verdict    `json:"verdict"`
	Reasons  []Reason   `json:"reasons"`
	Inputs   oci.Digest `json:"inputs,omitempty"`
	Previous oci.Digest `json:"previous,omitempty"`
	Manifest oci.Digest `json:"manifest,omitempty"`
	Millis   int64      `json:"millis"`
}

// MovedTag is a tag of a run.
type MovedTag struct {
	Repository string     `json:"repository"`
	Tag        string     `json:"tag"`
	Digest     oci.Digest `json:"digest"`
	Old        oci.Digest `json:"old,omitempty"`
	// Skipped says that a newer run has moved it already.
	Skipped bool `json:"skipped,omitempty"`
}

var notInName = regexp.MustCompile(`[^a-z0-9._-]+`)

// ProjectName makes a project's name of a folder's or a repository's: in lower
// case, and with nothing that an image name can't have.
func ProjectName(s string) string {
	s = strings.TrimSuffix(strings.ToLower(s), ".git")
	s = notInName.ReplaceAllString(s, "-")
	for _, twice := range []string{"..", "--", "___", ".-", "-.", "_-", "-_", "._", "_."} {
		for strings.Contains(s, twice) {
			s = strings.ReplaceAll(s, twice, "-")
		}
	}
	if s = strings.Trim(s, "._-"); s == "" {
		return "project"
	}
	return s
}
