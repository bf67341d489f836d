package bake

import (
	"fmt"
	"time"
)

// Kind is how a project describes what it builds.
type Kind string

const (
	KindBake       Kind = "bake"       // docker-bake.hcl or docker-bake.json
	KindCompose    Kind = "compose"    // the build sections of a compose file
	KindDockerfile Kind = "dockerfile" // a plain Dockerfile: one target named "default"
)

// Request asks for the targets of one project.
type Request struct {
	// Dir is the checkout: an absolute path. Nothing outside it is read.
	Dir string `json:"-"`
	// Files are the project's files, relative to Dir, in the order in which they
	// override each other. None: they are detected.
	Files []string `json:"files,omitempty"`
	// Targets are names, or patterns, of targets and groups. None: "default".
	Targets []string `json:"targets,omitempty"`
	// Set are overrides as buildx's --set takes them: TARGETPATTERN.FIELD[.KEY]=VALUE.
	Set []string `json:"set,omitempty"`
	// Vars are values for the file's variables, and all that a compose file can
	// interpolate besides the checkout's .env: BUILD_NUMBER, GIT_SHA, GIT_BRANCH,
	// GIT_TAG, and what the user sets.
	Vars map[string]string `json:"vars,omitempty"`
	// Timeout bounds the reading. Zero means DefaultTimeout.
	Timeout time.Duration `json:"timeout,omitempty"`
}

// Project is what a checkout builds. It is data: everything in it is resolved,
// and it survives a trip through JSON.
type Project struct {
	Kind Kind `json:"kind"`
	// Files are the project's own files, relative to the checkout.
	Files []string `json:"files"`
	// Groups are all groups of the files, and the targets in them.
	Groups map[string][]string `json:"groups,omitempty"`
	// Available are the names of all targets of the files, sorted.
	Available []string `json:"available"`
	// Targets are those that were asked for, all that they need through target:
	// contexts, and the tests of Gates with what these need.
	Targets map[string]*Target `json:"targets"`
	// Selected are the targets that were asked for and what they need, each after
	// what it needs.
	Selected []string `json:"selected"`
	// Gates are the tests that hold back tags of selected targets.
	Gates []Gate `json:"gates,omitempty"`
	// Services are those of the compose file that have an image and no build
	// section: what tests may run beside.
	Services map[string]*Service `json:"services,omitempty"`
	Settings Settings            `json:"settings"`
	// Warnings are what a person should know, with its place: parts of the file
	// that Slipway does not act on.
	Warnings []string `json:"warnings,omitempty"`
}

// Gate is a set of tests that must pass before tags move.
type Gate struct {
	Name  string   `json:"name"`  // of a target or group
	Tests []string `json:"tests"` // the targets to run
	Holds []string `json:"holds"` // the selected targets whose tags wait, never the tests
}

// Target is one image to build. Paths are cleaned, slash-separated and relative
// to the checkout, which is "."; they lead nowhere outside it, also through
// symbolic links, as the checkout was when it was read.
type Target struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Position    Position `json:"position"`
	// Fields are where the target says what, by the bake file's name of the field.
	Fields map[string]Position `json:"fields,omitempty"`

	Context    Context            `json:"context"`
	Contexts   map[string]Context `json:"contexts,omitempty"` // by name, as Dockerfiles say it
	Dockerfile string             `json:"dockerfile,omitempty"`
	// DockerfileRemote says that Dockerfile is a path within a remote Context.
	DockerfileRemote bool   `json:"dockerfileRemote,omitempty"`
	DockerfileInline string `json:"dockerfileInline,omitempty"` // takes the place of Dockerfile
	Stage            string `json:"stage,omitempty"`            // "" is the last

	Args        map[string]string `json:"args,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations []string          `json:"annotations,omitempty"` // [TYPE:]KEY=VALUE, as buildx takes them
	Tags        []string          `json:"tags,omitempty"`        // as written
	Platforms   []string          `json:"platforms,omitempty"`   // none: the builder's own

	Secrets       []Secret          `json:"secrets,omitempty"`
	SSH           []SSH             `json:"ssh,omitempty"`
	CacheFrom     []Options         `json:"cacheFrom,omitempty"`
	CacheTo       []Options         `json:"cacheTo,omitempty"`
	Outputs       []Options         `json:"outputs,omitempty"` // types image, registry and cacheonly
	Call          string            `json:"call,omitempty"`    // check, outline or targets, where not build
	Attest        map[string]string `json:"attest,omitempty"`  // type -> attributes as CSV, "disabled=true" when off
	NoCache       bool              `json:"noCache,omitempty"`
	NoCacheFilter []string          `json:"noCacheFilter,omitempty"`
	Pull          bool              `json:"pull,omitempty"`

	Network    string            `json:"network,omitempty"` // "", default or none
	ShmSize    int64             `json:"shmSize,omitempty"` // bytes, 0 is the builder's
	Ulimits    []string          `json:"ulimits,omitempty"` // NAME=SOFT:HARD
	ExtraHosts map[string]string `json:"extraHosts,omitempty"`

	// Linked says that it was not asked for: another target needs it. buildx does
	// not publish such a target.
	Linked bool `json:"linked,omitempty"`
	// Needs are the targets that this one names as target: contexts, sorted.
	Needs []string `json:"needs,omitempty"`
	// Test is how to run it as a test: from slipway.yaml, by the target's name
	// or else by the group that selects it; in a compose file without such an
	// entry, with the services that it depends on. Nil: nothing is said.
	Test *TestSettings `json:"test,omitempty"`
}

// ContextKind is where files come from.
type ContextKind string

const (
	ContextLocal     ContextKind = "local"      // Value: a path in the checkout
	ContextGit       ContextKind = "git"        // Value: the URL as written
	ContextHTTP      ContextKind = "http"       // Value: the URL as written
	ContextTarget    ContextKind = "target"     // Value: the name of a target
	ContextImage     ContextKind = "image"      // Value: the reference, without docker-image://
	ContextOCILayout ContextKind = "oci-layout" // Value: a path in the checkout, with [:tag][@digest]
)

// Context is a source of files, or of a base image.
type Context struct {
	Kind  ContextKind `json:"kind"`
	Value string      `json:"value"`
}

// Remote says whether the context is fetched from another machine.
func (c Context) Remote() bool { return c.Kind == ContextGit || c.Kind == ContextHTTP }

// Secret is a secret that build steps may mount: from a file in the checkout
// or, when Env is set, from a variable of whoever builds.
type Secret struct {
	ID   string `json:"id"`
	Path string `json:"path,omitempty"`
	Env  string `json:"env,omitempty"`
}

// SSH is an SSH agent or keys that build steps may mount. Without paths it is
// the agent of whoever builds.
type SSH struct {
	ID    string   `json:"id"`
	Paths []string `json:"paths,omitempty"`
}

// Options is a cache or an output: its type and the attributes of that type.
type Options struct {
	Type  string            `json:"type"`
	Attrs map[string]string `json:"attrs,omitempty"`
}

// Position is a place in a file of the checkout. Line counts from 1; 0 is
// unknown.
type Position struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Error says that a project is wrong: where, and how.
type Error struct {
	Position
	Message string `json:"message"`
}

func (e *Error) Error() string {
	if e.File == "" {
		return e.Message
	}
	return e.Position.String() + ": " + e.Message
}
