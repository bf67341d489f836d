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

// everyday are the rows of every run of the tests. The others, which ask about
// smaller things or the same in another way, are for `make test-long`: each row
// takes four solves.
var everyday = map[string]bool{
	"annotation":                          true,
	"argument nobody declares":            true,
	"argument that is used":               true,
	"base moved":                          true,
	"base of unused stage moved":          true,
	"base with steps of its own":          true,
	"blank lines":                         true,
	"comment":                             true,
	"comment in a heredoc":                true,
	"compression":                         true,
	"content":                             true,
	"content not copied":                  true,
	"context elsewhere":                   true,
	"copy becomes hard link":              true,
	"default of a given argument":         true,
	"empty folder added":                  true,
	"empty folder removed":                true,
	"executable bit":                      true,
	"extended attribute":                  true,
	"extra host":                          true,
	"file added":                          true,
	"file becomes folder":                 true,
	"file of a named context":             true,
	"file removed":                        true,
	"file renamed":                        true,
	"file twice":                          true,
	"form of the bake file":               true,
	"git's own folder":                    true,
	"id of a secret":                      true,
	"ignore file of a copied file":        true,
	"ignore file of nothing copied":       true,
	"ignore file of the Dockerfile":       true,
	"ignore file that does not count":     true,
	"image of COPY moved":                 true,
	"image of a mount moved":              true,
	"input of the target below":           true,
	"input of used stage":                 true,
	"label of the target":                 true,
	"line ends":                           true,
	"mode of a folder":                    true,
	"mounted file":                        true,
	"network":                             true,
	"no cache":                            true,
	"nothing":                             true,
	"nothing of the target below":         true,
	"order of instructions":               true,
	"order of keys":                       true,
	"other file of a named context":       true,
	"owner":                               true,
	"pattern does not match":              true,
	"pattern matches more":                true,
	"platform added":                      true,
	"project elsewhere":                   true,
	"proxy argument":                      true,
	"set-user-id bit":                     true,
	"shm size":                            true,
	"size and time kept":                  true,
	"ssh nobody mounts":                   true,
	"symbolic link elsewhere":             true,
	"tags":                                true,
	"target renamed":                      true,
	"timestamp":                           true,
	"unused stage":                        true,
	"used stage renamed":                  true,
	"value of a secret":                   true,
	"what a copied link points at":        true,
	"what a link named by COPY points at": true,
}
