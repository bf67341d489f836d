package bake

import (
	"strings"

	"github.com/docker/buildx/bake"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"go.yaml.in/yaml/v3"
)

// locations finds where targets and their fields stand. What cannot be parsed
// here has no places; the evaluation reports it.
func locations(files []bake.File) *places {
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

func (w *places) hcl(f bake.File) {
	parsed, ok, err := bake.ParseHCLFile(f.Data, f.Name)
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
			found.fields = map[string]Position{}
		}
		found.Position = Position{b.DefRange.Filename, b.DefRange.Start.Line}
		attributes, _ := b.Body.JustAttributes()
		for key, attribute := range attributes {
			found.fields[key] = Position{attribute.NameRange.Filename, attribute.NameRange.Start.Line}
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

func (w *places) compose(f bake.File) {
	var document yaml.Node
	if yaml.Unmarshal(f.Data, &document) != nil || len(document.Content) == 0 {
		return
	}
	each(document.Content[0], func(key, value *yaml.Node) {
		if key.Value != "services" {
			return
		}
		each(value, func(service, definition *yaml.Node) {
			found := block{Position{f.Name, service.Line}, map[string]Position{}}
			each(definition, func(key, value *yaml.Node) {
				if key.Value == "image" {
					found.fields["tags"] = Position{f.Name, key.Line}
				}
				if key.Value != "build" {
					return
				}
				found.fields["context"] = Position{f.Name, key.Line}
				each(value, func(key, value *yaml.Node) {
					name := key.Value
					if other, ok := composeFields[name]; ok {
						name = other
					}
					found.fields[name] = Position{f.Name, key.Line}
					if name == "x-bake" {
						each(value, func(key, _ *yaml.Node) { found.fields[key.Value] = Position{f.Name, key.Line} })
					}
				})
			})
			w.blocks[strings.ReplaceAll(service.Value, ".", "_")] = found
		})
	})
}

// each calls a function for the entries of a mapping.
func each(n *yaml.Node, call func(key, value *yaml.Node)) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		call(n.Content[i], n.Content[i+1])
	}
}
