package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"slipway/internal/bake"
	"slipway/internal/oci"
	"slipway/internal/tree"
)

// inputsSchema counts the meanings of Inputs. A new one makes every input
// digest new.
const inputsSchema = 1

// Inputs is everything that decides what the solve of one target on one
// platform gives, and nothing else: no tag, no time, no owner, no value of a
// secret. Equal inputs have equal documents.
type Inputs struct {
	Schema   int    `json:"schema"`
	Builder  string `json:"builder"`
	Platform string `json:"platform"`
	// BuildPlatform is the builder's own, where the build can tell.
	BuildPlatform string `json:"buildPlatform,omitempty"`

	Frontend   string `json:"frontend"`   // "builtin", or the digest of the # syntax= image
	Dockerfile string `json:"dockerfile"` // what of it counts: see bake.Dockerfile.Canonical
	Stage      string `json:"stage,omitempty"`

	Args        map[string]string `json:"args,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Images      map[string]string `json:"images,omitempty"`   // name -> digest for the platform
	Files       string            `json:"files,omitempty"`    // see tree.Encode
	Contexts    map[string]string `json:"contexts,omitempty"` // named folders, likewise

	Secrets    []string          `json:"secrets,omitempty"` // ids
	SSH        []string          `json:"ssh,omitempty"`     // ids
	Network    string            `json:"network,omitempty"`
	ExtraHosts []string          `json:"extraHosts,omitempty"`
	ShmSize    int64             `json:"shmSize,omitempty"`
	Ulimits    []string          `json:"ulimits,omitempty"`
	Output     map[string]string `json:"output,omitempty"`
	Test       *TestInputs       `json:"test,omitempty"`
}

// TestInputs is what else decides whether a test passes.
type TestInputs struct {
	Services    map[string]*bake.Service `json:"services,omitempty"`
	Images      map[string]string        `json:"images,omitempty"` // of the services
	Reports     []string                 `json:"reports,omitempty"`
	MinCoverage float64                  `json:"minCoverage,omitempty"`
}

// Document is the inputs as they are kept and hashed: JSON with its keys in
// order, in which no two different inputs look the same.
func (in *Inputs) Document() ([]byte, error) { return json.Marshal(in) }

// Digest is the input digest.
func (in *Inputs) Digest() (oci.Digest, error) {
	doc, err := in.Document()
	if err != nil {
		return "", err
	}
	return oci.FromBytes(oci.SHA256, doc), nil
}

// Reason is one cause of a verdict.
type Reason struct {
	What string `json:"what"`           // "file", "argument", "base image" …
	Name string `json:"name,omitempty"` // which one
	How  string `json:"how,omitempty"`  // "changed", "added" …
}

func (r Reason) String() string {
	s := r.What
	if r.Name != "" {
		s += " " + r.Name
	}
	if r.How != "" {
		s += " " + r.How
	}
	return s
}

// Explain says by name what is different in new inputs.
func Explain(before, after *Inputs) (list []Reason) {
	add := func(what, name, how string) { list = append(list, Reason{what, name, how}) }
	if before.Schema != after.Schema {
		add("input list", "", fmt.Sprintf("has a new form (%d, was %d)", after.Schema, before.Schema))
	}
	changed(add, "builder", before.Builder, after.Builder)
	changed(add, "platform", before.Platform, after.Platform)
	changed(add, "platform of the builder", before.BuildPlatform, after.BuildPlatform)
	changed(add, "frontend", before.Frontend, after.Frontend)
	if before.Dockerfile != after.Dockerfile {
		add("Dockerfile", firstDifference(before.Dockerfile, after.Dockerfile), "changed")
	}
	changed(add, "stage", before.Stage, after.Stage)
	differ(add, "argument", before.Args, after.Args, true)
	differ(add, "label", before.Labels, after.Labels, true)
	differ(add, "annotation", before.Annotations, after.Annotations, true)
	differ(add, "base image", before.Images, after.Images, true)
	files(add, "", before.Files, after.Files)
	for _, name := range union(before.Contexts, after.Contexts) {
		files(add, name, before.Contexts[name], after.Contexts[name])
	}
	lists(add, "secret", before.Secrets, after.Secrets)
	lists(add, "ssh", before.SSH, after.SSH)
	changed(add, "network", before.Network, after.Network)
	lists(add, "host", before.ExtraHosts, after.ExtraHosts)
	if before.ShmSize != after.ShmSize {
		add("shm-size", "", "changed")
	}
	lists(add, "ulimit", before.Ulimits, after.Ulimits)
	differ(add, "output option", before.Output, after.Output, true)
	tests(add, before.Test, after.Test)
	return list
}

func changed(add func(what, name, how string), what, before, after string) {
	if before != after {
		add(what, "", fmt.Sprintf("changed from %s to %s", orNone(before), orNone(after)))
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// differ compares maps. Values are shown, short, when show says so.
func differ(add func(what, name, how string), what string, before, after map[string]string, show bool) {
	for _, name := range union(before, after) {
		old, had := before[name]
		value, has := after[name]
		switch {
		case !had:
			add(what, name, "added")
		case !has:
			add(what, name, "removed")
		case old != value && show:
			add(what, name, fmt.Sprintf("changed from %s to %s", short(old), short(value)))
		case old != value:
			add(what, name, "changed")
		}
	}
}

// short is a value for a line of text: digests by their beginning.
func short(s string) string {
	const digest = len("sha256:") + 12
	if d := oci.Digest(s); len(s) > digest && d.Validate() == nil {
		return s[:digest]
	}
	if len(s) > 60 {
		return fmt.Sprintf("%q…", s[:57])
	}
	return fmt.Sprintf("%q", s)
}

func files(add func(what, name, how string), context, before, after string) {
	if before == after {
		return
	}
	old, err := tree.Decode([]byte(before))
	fresh, err2 := tree.Decode([]byte(after))
	if (err != nil && before != "") || (err2 != nil && after != "") {
		add("files", context, "changed")
		return
	}
	for _, c := range tree.Diff(old, fresh) {
		name := c.Path
		if context != "" {
			name = context + ":" + name
		}
		add("file", name, how[c.What])
	}
}

var how = map[tree.What]string{
	tree.Added: "added", tree.Removed: "removed", tree.Retyped: "is of another type", tree.Content: "changed",
	tree.Mode: "has another mode", tree.Link: "links elsewhere", tree.Xattrs: "has other extended attributes",
}

func lists(add func(what, name, how string), what string, before, after []string) {
	for _, s := range before {
		if !slices.Contains(after, s) {
			add(what, s, "removed")
		}
	}
	for _, s := range after {
		if !slices.Contains(before, s) {
			add(what, s, "added")
		}
	}
}

func tests(add func(what, name, how string), before, after *TestInputs) {
	if before == nil {
		before = &TestInputs{}
	}
	if after == nil {
		after = &TestInputs{}
	}
	differ(add, "service image", before.Images, after.Images, true)
	for _, name := range union(before.Services, after.Services) {
		old, _ := json.Marshal(before.Services[name])  // plain data
		value, _ := json.Marshal(after.Services[name]) // plain data
		if string(old) != string(value) {
			add("service", name, "changed")
		}
	}
	lists(add, "report", before.Reports, after.Reports)
	if before.MinCoverage != after.MinCoverage {
		add("min-coverage", "", fmt.Sprintf("changed from %g to %g", before.MinCoverage, after.MinCoverage))
	}
}

func union[V any](a, b map[string]V) []string {
	all := map[string]bool{}
	for name := range a {
		all[name] = true
	}
	for name := range b {
		all[name] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// firstDifference is the first line of after that is not as before, as a
// person wrote it.
func firstDifference(before, after string) string {
	i := 0
	for i < len(before) && i < len(after) && before[i] == after[i] {
		i++
	}
	start := strings.LastIndexByte(after[:i], '\n') + 1
	line, _, _ := strings.Cut(after[start:], "\n")
	if line = bake.Uncanonical(line); line != "" {
		return short(line)
	}
	return ""
}
