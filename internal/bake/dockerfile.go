package bake

// DockerfileOptions are what a Dockerfile's meaning depends on.
type DockerfileOptions struct {
	Name           string            // of the file, for messages
	Stage          string            // name or number; "" is the last
	Args           map[string]string // build arguments
	BuildPlatform  string            // os/arch[/variant]; "" is the machine's
	TargetPlatform string            // "" is BuildPlatform
	// Contexts are the names of the target's named contexts: they take the place
	// of images and stages of the same name.
	Contexts []string
}

// Dockerfile is what can be known of a Dockerfile before it is built: of the
// stages that the one asked for is made of, and no others.
type Dockerfile struct {
	// Syntax is the frontend's image: of BUILDKIT_SYNTAX, else of the # syntax=
	// line. Empty: the builder's own.
	Syntax string
	// Images are the images the build asks for, in the order of the file, once
	// for each line. One that a named context stands for is not among them.
	Images []ImageUse
	// Contexts are those of the named contexts that are used, sorted, as
	// ContextName writes them.
	Contexts []string
	// Stages are all stages; Reachable the numbers of those that count.
	Stages    []Stage
	Reachable []int
	// Sources are what the steps read of contexts. A context that is in
	// WholeContext may be read in any part; "" is the main one.
	Sources      []Source
	WholeContext map[string]bool
	// Canonical determines the build: equal texts, with equal Args, are the same
	// build to BuildKit's own frontend. It is no Dockerfile to give to people.
	Canonical []byte
	// Args are the build arguments that the reachable stages declare, sorted:
	// others change nothing. Proxy variables are never among them.
	Args []string
	// Unpinned are the steps whose result may change although their input does
	// not.
	Unpinned []Unpinned
	// OnBuildUnknown says that a base image may bring ONBUILD steps, which are
	// not in the lists above: unless every base's configuration was read and
	// has none, the whole main context counts and steps are unpinned.
	OnBuildUnknown bool
	// Warnings are the findings of BuildKit's own checks, with their place.
	Warnings []string
}

// ImageUse is one request for an image.
type ImageUse struct {
	// Name is how BuildKit asks for it as a named context: "context:"+Name, or
	// with "::"+Platform behind it.
	Name string
	// Written is the name as the file has it, after expansion.
	Written string
	// Reference is the full reference, such as docker.io/library/debian:12.
	Reference string
	Platform  string // os/arch[/variant], after expansion
	Kind      ImageKind
	Line      int
}

// ImageKind is which instruction asks for an image.
type ImageKind string

const (
	ImageFrom  ImageKind = "FROM"
	ImageCopy  ImageKind = "COPY"  // COPY --from
	ImageMount ImageKind = "MOUNT" // RUN --mount=from
)

// Stage is one FROM and what follows it.
type Stage struct {
	Name string // "" when it has none
	Base string // after expansion: an image, a stage, or scratch
	Line int
}

// Source is a path of a context that a step reads.
//
// BuildKit follows symbolic links within a context: what a link on the way leads
// to is read, too.
type Source struct {
	Context string // "" is the main context, else the named one
	Path    string // a pattern, relative to the context's root
	Line    int
}

// Unpinned is a step that may give another result tomorrow.
type Unpinned struct {
	Kind string // "run", "add-http", "add-git"
	What string
	Line int
}
