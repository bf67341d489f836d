package bake

import (
	"maps"
	"path"
	"slices"
)

// Expand gives the targets of names of targets and groups, and of patterns of
// these. What does not exist adds nothing.
func (p *Project) Expand(names ...string) []string {
	list := []string{}
	for _, name := range names {
		for group, targets := range p.Groups {
			if ok, err := path.Match(name, group); group == name || ok && err == nil {
				list = append(list, targets...)
			}
		}
		for _, target := range p.Available {
			if ok, err := path.Match(name, target); target == name || ok && err == nil {
				list = append(list, target)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Names are those of all groups and targets.
func (p *Project) Names() []string {
	return append(slices.Collect(maps.Keys(p.Groups)), p.Available...)
}

// Order lists targets and all that they need, each after what it needs.
func (p *Project) Order(names ...string) []string {
	list, seen := []string{}, map[string]bool{}
	var add func(name string)
	add = func(name string) {
		target := p.Targets[name]
		if seen[name] || target == nil {
			return
		}
		seen[name] = true
		for _, need := range target.Needs {
			add(need)
		}
		list = append(list, name)
	}
	for _, name := range names {
		add(name)
	}
	return list
}
