package reader

import (
	"strings"

	buildx "github.com/docker/buildx/bake"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"go.yaml.in/yaml/v3"

	"slipway/internal/bake"
)

// locations finds where targets and their fields stand. What cannot be parsed
// here has no places; the evaluation reports it.
func locations(files []buildx.File) *places {
	w := &places{files: files, blocks: map[string]block{}}
	for _, f := range files {
		if isYAML(f.Name) {
			w.compose(f)
		} else {
			w.hcl(f)
		}
	}
	return w
}

func isYAML(name string) bool {
	name = strings.ToLower(name)
	return strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

func (w *places) hcl(f buildx.File) {
	parsed, ok, err := buildx.ParseHCLFile(f.Data, f.Name)
	if !ok || err != nil || parsed == nil {
		return
	}
	content, _, _ := parsed.Body.PartialContent(&hcl.BodySchema{
		Blocks: []hcl.BlockHeaderSchema{{Type: "target", LabelNames: []string{"name"}}},
	})
	if content == nil {
		return
	}
	inherited := map[string][]string{}
	for _, b := range content.Blocks {
		if len(b.Labels) == 0 {
			continue
		}
		name := b.Labels[0]
		found, ok := w.blocks[name]
		if !ok {
			found.fields = map[string]bake.Position{}
		}
		found.Position = bake.Position{File: b.DefRange.Filename, Line: b.DefRange.Start.Line}
		attributes, _ := b.Body.JustAttributes()
		for key, attribute := range attributes {
			found.fields[key] = bake.Position{File: attribute.NameRange.Filename, Line: attribute.NameRange.Start.Line}
			if key == "inherits" {
				inherited[name] = literals(attribute.Expr)
			}
		}
		w.blocks[name] = found
	}
	// What a target does not say itself, a parent says; the last one wins.
	for name, parents := range inherited {
		for i := len(parents) - 1; i >= 0; i-- {
			for key, at := range w.blocks[parents[i]].fields {
				if _, own := w.blocks[name].fields[key]; !own {
					w.blocks[name].fields[key] = at
				}
			}
		}
	}
}

// literals are the strings of a list that has no variables.
func literals(expr hcl.Expression) (list []string) {
	value, diags := expr.Value(nil)
	if diags.HasErrors() || value.IsNull() || !value.IsWhollyKnown() || !value.CanIterateElements() {
		return nil
	}
	for it := value.ElementIterator(); it.Next(); {
		if _, v := it.Element(); v.Type() == cty.String && !v.IsNull() {
			list = append(list, v.AsString())
		}
	}
	return list
}

// composeFields are the names that a build section has for a target's fields.
var composeFields = map[string]string{
	"additional_contexts": "contexts", "dockerfile_inline": "dockerfile-inline", "secrets": "secret",
	"cache_from": "cache-from", "cache_to": "cache-to", "extra_hosts": "extra-hosts", "shm_size": "shm-size",
}

func (w *places) compose(f buildx.File) {
	var document yaml.Node
	if yaml.Unmarshal(f.Data, &document) != nil || len(document.Content) == 0 {
		return
	}
	for key, value := range bake.Entries(document.Content[0]) {
		if key.Value != "services" {
			continue
		}
		for service, definition := range bake.Entries(value) {
			w.blocks[strings.ReplaceAll(service.Value, ".", "_")] = composeBlock(f.Name, service, definition)
		}
	}
}

func composeBlock(file string, service, definition *yaml.Node) block {
	at := func(key *yaml.Node) bake.Position { return bake.Position{File: file, Line: key.Line} }
	found := block{at(service), map[string]bake.Position{}}
	for key, value := range bake.Entries(definition) {
		if key.Value == "image" {
			found.fields["tags"] = at(key)
		}
		if key.Value != "build" {
			continue
		}
		found.fields["context"] = at(key)
		for key, value := range bake.Entries(value) {
			name := key.Value
			if other, ok := composeFields[name]; ok {
				name = other
			}
			found.fields[name] = at(key)
			if name == "x-bake" {
				for key := range bake.Entries(value) {
					found.fields[key.Value] = at(key)
				}
			}
		}
	}
	return found
}
