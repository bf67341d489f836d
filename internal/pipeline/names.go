package pipeline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"slipway/internal/bake"
	"slipway/internal/oci"
)

// tag is a tag to move.
type tag struct{ repository, name string }

// localTag reads a tag of a bake file: "cool-app:44", "team/app" or, with one
// of this server's own names before it, "registry.lan:5000/team/app:44".
func (e *Engine) localTag(written string) (tag, error) {
	name, label := written, "latest"
	if i := strings.LastIndexByte(written, ':'); i > strings.LastIndexByte(written, '/') {
		name, label = written[:i], written[i+1:]
	}
	if strings.Contains(name, "@") {
		return tag{}, fmt.Errorf("tag %q has a digest: a tag is NAME[:TAG]", written)
	}
	if host, rest, ok := splitHost(name); ok {
		if !slices.Contains(e.Hosts, host) && !slices.Contains(e.Rewrite, host) {
			return tag{}, fmt.Errorf("tag %q names registry %s, and Slipway publishes to itself only: leave the host out, or list it in build.rewrite-registries to publish such tags here as %s", written, host, rest)
		}
		name = rest
	}
	if err := ownRepository(name); err != nil {
		return tag{}, fmt.Errorf("tag %q: %w", written, err)
	}
	if err := oci.CheckTag(label); err != nil {
		return tag{}, fmt.Errorf("tag %q: %w", written, err)
	}
	return tag{name, label}, nil
}

// ownRepository refuses what is no repository of this server's own. Under the
// name of another registry stand the images that the mirror has of it: a build
// that published there would take the place of everybody's base.
func ownRepository(name string) error {
	if err := oci.CheckRepository(name); err != nil {
		return err
	}
	if host, _, ok := splitHost(name); ok {
		return fmt.Errorf("repository %s is where images of registry %s are mirrored, and builds publish to this server's own: choose a name whose first part has no dot", name, host)
	}
	return nil
}

// splitHost takes the host from a name that has one: its first part has a dot
// or a colon, or is localhost.
func splitHost(name string) (host, rest string, ok bool) {
	host, rest, ok = strings.Cut(name, "/")
	if !ok || (host != "localhost" && !strings.ContainsAny(host, ".:")) {
		return "", name, false
	}
	return host, rest, true
}

// tagsOf settles under which tags the selected targets are published. Those of
// the file are taken as they are. When it has none, the targets that no other
// one is built on get the number of the run, and latest.
func (e *Engine) tagsOf(p *bake.Project, project string, number int64, isTest func(string) bool) (map[string][]tag, error) {
	tags := map[string][]tag{}
	for _, name := range p.Selected {
		if p.Targets[name].Linked {
			continue // as with buildx: it was not asked for
		}
		for _, written := range p.Targets[name].Tags {
			t, err := e.localTag(written)
			if err != nil {
				return nil, fmt.Errorf("%starget %s: %w", at(p.Targets[name].Position), name, err)
			}
			if !slices.Contains(tags[name], t) {
				tags[name] = append(tags[name], t)
			}
		}
	}
	if len(tags) > 0 {
		return tags, nil
	}
	needed := map[string]bool{}
	for _, name := range p.Selected {
		for _, n := range p.Targets[name].Needs {
			needed[n] = true
		}
	}
	var leaves []string
	for _, name := range p.Selected {
		if !needed[name] && !isTest(name) {
			leaves = append(leaves, name)
		}
	}
	base := p.Settings.Repository
	if base == "" {
		base = project
	}
	for _, name := range leaves {
		repository := base
		if len(leaves) > 1 {
			repository += "/" + ProjectName(name)
		}
		if err := ownRepository(repository); err != nil {
			return nil, fmt.Errorf("target %s: %w", name, err)
		}
		tags[name] = []tag{{repository, strconv.FormatInt(number, 10)}, {repository, "latest"}}
	}
	return tags, nil
}

func at(p bake.Position) string {
	if p.File == "" {
		return ""
	}
	return p.String() + ": "
}
