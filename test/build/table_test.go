//go:build linux

package build

import (
	"maps"

	"slipway/internal/pipeline"
)

const (
	reused = pipeline.Reused
	built  = pipeline.Built
)

// changes is the table: by name, what happens to a project between two runs.
var changes = merge(fileChanges, dockerfileChanges, imageChanges, optionChanges, contextChanges)

func merge(tables ...map[string]change) map[string]change {
	all := map[string]change{}
	for _, t := range tables {
		for name := range t {
			if _, twice := all[name]; twice {
				panic("the row " + name + " is there twice")
			}
		}
		maps.Copy(all, t)
	}
	return all
}

// then appends lines to the Dockerfile before the first run.
func then(lines string, more ...func(*project)) func(*project) {
	return func(p *project) {
		for _, f := range more {
			f(p)
		}
		p.add("Dockerfile", lines)
	}
}

// swap replaces a text in a file.
func swap(file, old, new string) func(*project) {
	return func(p *project) { p.replace(file, old, new) }
}

// put writes a file.
func put(file, text string) func(*project) { return func(p *project) { p.write(file, text) } }

// bake adds a line to the target in the bake file.
func field(line string) func(*project) {
	return swap("docker-bake.hcl", "  tags = [\"app:1\"]\n", "  tags = [\"app:1\"]\n  "+line+"\n")
}

func both(list ...func(*project)) func(*project) {
	return func(p *project) {
		for _, f := range list {
			f(p)
		}
	}
}
