package reader

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/platforms"
	buildx "github.com/docker/buildx/bake"
	"github.com/docker/buildx/util/buildflags"
	"github.com/docker/buildx/util/platformutil"
	"github.com/docker/buildx/util/urlutil"
	"github.com/docker/cli/opts"
	"github.com/docker/go-units"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"

	"slipway/internal/bake"
)

// converter makes one Target of buildx's.
type converter struct {
	where   *places
	name    string
	project *bake.Project
}

func (c converter) fail(field, format string, args ...any) error {
	return mistake(c.where.field(c.name, field), fmt.Sprintf("target %s: ", c.name)+fmt.Sprintf(format, args...))
}

func (c converter) warn(field, format string, args ...any) {
	text := fmt.Sprintf("%s: target %s: ", c.where.field(c.name, field), c.name) + fmt.Sprintf(format, args...)
	c.project.Warnings = append(c.project.Warnings, text)
}

func (c converter) convert(from *buildx.Target) (*bake.Target, error) {
	t := &bake.Target{
		Name: c.name, Description: from.Description, Position: c.where.target(c.name), Fields: c.where.of(c.name).fields,
		DockerfileInline: value(from.DockerfileInline), Stage: value(from.Target),
		Args: values(from.Args), Labels: values(from.Labels), ExtraHosts: values(from.ExtraHosts),
		Annotations: from.Annotations, Tags: from.Tags,
		NoCache: value(from.NoCache), NoCacheFilter: from.NoCacheFilter, Pull: value(from.Pull),
		Network: value(from.NetworkMode),
	}
	c.unknown()
	for _, step := range []func(*buildx.Target, *bake.Target) error{
		c.refuse, c.contexts, c.platforms, c.limits, c.secrets, c.caches, c.outputs, c.attests,
	} {
		if err := step(from, t); err != nil {
			return nil, err
		}
	}
	if _, err := buildflags.ParseAnnotations(t.Annotations); err != nil {
		return nil, c.fail("annotations", "%v", err)
	}
	return t, nil
}

// targetFields are the fields of a target in a bake file.
var targetFields = sync.OnceValue(func() []string {
	list := []string{"name", "matrix"}
	of := reflect.TypeFor[buildx.Target]()
	for i := range of.NumField() {
		if name, _, _ := strings.Cut(of.Field(i).Tag.Get("hcl"), ","); name != "" {
			list = append(list, name)
		}
	}
	return list
})

// unknown warns of fields that buildx passes over in silence.
func (c converter) unknown() {
	for field, at := range c.where.of(c.name).fields {
		if !isYAML(at.File) && !slices.Contains(targetFields(), field) {
			c.warn(field, "there is no field %q%s", field, bake.Suggest(field, targetFields()))
		}
	}
}

// refuse refuses what Slipway will not do, rather than leave it out in silence.
func (c converter) refuse(from *buildx.Target, t *bake.Target) error {
	if t.Network != "" && t.Network != "default" && t.Network != "none" {
		return c.fail("network", "network %q is refused: build steps get their own network (default) or none", t.Network)
	}
	if len(from.Entitlements) > 0 {
		return c.fail("entitlements", "the entitlement %s is refused: build steps have no privileges here", strings.Join(from.Entitlements, ", "))
	}
	for _, policy := range from.Policy {
		if !policy.Disabled {
			return c.fail("policy", "source policies cannot be enforced here: every source is resolved by Slipway; set policy = [{disabled = true}] to build without")
		}
	}
	if from.Resources != nil {
		c.warn("resources", "resources are left out: the server's limits hold for all builds")
	}
	if t.Call = value(from.Call); t.Call == "build" {
		t.Call = ""
	}
	if t.Call != "" {
		c.warn("call", "call = %q is left out: the target is built", t.Call)
	}
	return nil
}

func (c converter) contexts(from *buildx.Target, t *bake.Target) error {
	main := cmp.Or(value(from.Context), ".")
	var err error
	if t.Context, err = contextOf(main); err != nil {
		return c.fail("context", "context %q: %v", main, err)
	}
	switch t.Context.Kind {
	case bake.ContextTarget, bake.ContextImage, bake.ContextOCILayout:
		return c.fail("context", "context %q: the main context is a folder or an address; name the other one in contexts", main)
	}
	if t.DockerfileInline == "" {
		t.Dockerfile = cmp.Or(value(from.Dockerfile), "Dockerfile")
		switch {
		case t.Dockerfile == "-":
			return c.fail("dockerfile", "a Dockerfile from standard input is refused")
		case urlutil.IsRemoteURL(t.Dockerfile):
			return c.fail("dockerfile", "dockerfile %q is an address: it has to be a file of the checkout, or of the context", t.Dockerfile)
		}
		t.DockerfileRemote = t.Context.Remote()
		if rest, ok := strings.CutPrefix(t.Dockerfile, "cwd://"); ok {
			t.Dockerfile, t.DockerfileRemote = rest, false
		} else if t.Context.Kind == bake.ContextLocal && !strings.HasPrefix(t.Dockerfile, "/") {
			t.Dockerfile = t.Context.Value + "/" + t.Dockerfile // cleaned by Check
		}
	}
	for name, text := range from.Contexts {
		context, err := contextOf(text)
		if err != nil {
			return c.fail("contexts", "context %s = %q: %v", name, text, err)
		}
		if context.Kind == bake.ContextTarget {
			t.Needs = append(t.Needs, context.Value)
		}
		if t.Contexts == nil {
			t.Contexts = map[string]bake.Context{}
		}
		t.Contexts[name] = context
	}
	slices.Sort(t.Needs)
	t.Needs = slices.Compact(t.Needs)
	return nil
}

// contextOf tells what a context is.
func contextOf(text string) (bake.Context, error) {
	for prefix, kind := range map[string]bake.ContextKind{"target:": bake.ContextTarget, "docker-image://": bake.ContextImage, "oci-layout://": bake.ContextOCILayout, "cwd://": bake.ContextLocal} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			if rest == "" {
				return bake.Context{}, fmt.Errorf("nothing follows %s", prefix)
			}
			return bake.Context{Kind: kind, Value: rest}, nil
		}
	}
	if text == "-" {
		return bake.Context{}, fmt.Errorf("standard input is refused as a context")
	}
	if _, ok, _ := dfgitutil.ParseGitRef(text); ok {
		return bake.Context{Kind: bake.ContextGit, Value: text}, nil
	}
	if urlutil.IsHTTPURL(text) {
		return bake.Context{Kind: bake.ContextHTTP, Value: text}, nil
	}
	return bake.Context{Kind: bake.ContextLocal, Value: text}, nil
}

func (c converter) platforms(from *buildx.Target, t *bake.Target) error {
	parsed, err := platformutil.Parse(from.Platforms)
	if err != nil {
		return c.fail("platforms", "%v", err)
	}
	for _, p := range parsed {
		t.Platforms = append(t.Platforms, platforms.FormatAll(p))
	}
	return nil
}

func (c converter) limits(from *buildx.Target, t *bake.Target) error {
	if size := value(from.ShmSize); size != "" {
		var bytes opts.MemBytes
		if err := bytes.Set(size); err != nil {
			return c.fail("shm-size", "shm-size %q is not a size, such as 128m", size)
		}
		t.ShmSize = bytes.Value()
	}
	for _, text := range from.Ulimits {
		limit, err := units.ParseUlimit(text)
		if err != nil {
			return c.fail("ulimits", "ulimit %q: %v", text, err)
		}
		t.Ulimits = append(t.Ulimits, limit.String())
	}
	return nil
}

func (c converter) secrets(from *buildx.Target, t *bake.Target) error {
	for _, s := range from.Secrets {
		if s.ID == "" {
			return c.fail("secret", "a secret has no id")
		}
		if s.FilePath != "" && s.Env != "" {
			return c.fail("secret", "secret %s is from a file and from a variable: choose one", s.ID)
		}
		t.Secrets = append(t.Secrets, bake.Secret{ID: s.ID, Path: s.FilePath, Env: s.Env})
	}
	for _, s := range from.SSH {
		t.SSH = append(t.SSH, bake.SSH{ID: s.ID, Paths: s.Paths})
	}
	return nil
}

func (c converter) caches(from *buildx.Target, t *bake.Target) error {
	for field, entries := range map[string]buildflags.CacheOptions{"cache-from": from.CacheFrom, "cache-to": from.CacheTo} {
		for _, e := range entries {
			option := bake.Options{Type: e.Type, Attrs: e.Attrs}
			if field == "cache-from" {
				t.CacheFrom = append(t.CacheFrom, option)
			} else {
				t.CacheTo = append(t.CacheTo, option)
			}
			c.warn(field, "%s of type %s is left out: Slipway keeps its own build cache", field, e.Type)
		}
	}
	return nil
}

func (c converter) outputs(from *buildx.Target, t *bake.Target) error {
	for _, e := range from.Outputs {
		switch e.Type {
		case "image", "registry", "cacheonly":
			attributes := maps.Clone(e.Attrs)
			if name := attributes["name"]; name != "" && len(t.Tags) == 0 {
				t.Tags = strings.Split(name, ",")
			}
			t.Outputs = append(t.Outputs, bake.Options{Type: e.Type, Attrs: attributes})
		default:
			option := bake.Options{Type: e.Type, Attrs: map[string]string{}}
			if e.Destination != "" && e.Destination != "-" {
				option.Attrs["dest"] = e.Destination
			}
			t.Outputs = append(t.Outputs, option) // checked, and taken out again, by Check
			c.warn("output", "the output of type %s is left out: Slipway publishes images only", e.Type)
		}
	}
	return nil
}

func (c converter) attests(from *buildx.Target, t *bake.Target) error {
	for kind, attributes := range from.Attest.ToMap() {
		if t.Attest == nil {
			t.Attest = map[string]string{}
		}
		if attributes == nil {
			t.Attest[kind] = "disabled=true"
			continue
		}
		t.Attest[kind] = strings.TrimPrefix(strings.TrimPrefix(*attributes, "type="+kind), ",")
	}
	return nil
}

// value is what a pointer leads to, or nothing.
func value[T any](p *T) T {
	if p == nil {
		var none T
		return none
	}
	return *p
}

// values leaves out what has no value, as buildx does when it builds.
func values(from map[string]*string) map[string]string {
	var to map[string]string
	for key, v := range from {
		if v == nil {
			continue
		}
		if to == nil {
			to = map[string]string{}
		}
		to[key] = *v
	}
	return to
}
