package reader

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/template"
	"go.yaml.in/yaml/v3"

	"slipway/internal/bake"
)

// reads finds which files a compose file reads besides itself. It refuses those
// outside of the checkout with their place: within the child's root they would
// merely be missing, and without a root of its own they must not be opened.
type reads struct {
	environment map[string]string
	strict      bool // nothing else keeps the loader in the checkout
	root        string
	seen        map[string]bool
}

// maxReads is more files than a project's compose files include.
const maxReads = 1000

// checkReads refuses compose files that read what is outside of the checkout.
func checkReads(files []string, vars map[string]string, strict bool) error {
	if len(files) == 0 {
		return nil
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	r := &reads{environment: maps.Clone(vars), strict: strict, root: root, seen: map[string]bool{}}
	if r.environment == nil {
		r.environment = map[string]string{}
	}
	if err := r.dotEnv("."); err != nil {
		return err
	}
	for _, name := range files {
		if err := r.file(name, path.Dir(name), bake.Position{File: name}); err != nil {
			return err
		}
	}
	return nil
}

// dotEnv reads the .env of a folder, the only environment of an interpolation.
func (r *reads) dotEnv(folder string) error {
	name := path.Join(folder, ".env")
	r.seen[name] = true
	if err := r.inside(name, bake.Position{File: name}, name); err != nil {
		return err
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return nil //nolint:nilerr // it is optional; the loader reports one that it cannot read
	}
	set, err := dotenv.UnmarshalBytesWithLookup(content, func(key string) (string, bool) {
		v, ok := r.environment[key]
		return v, ok
	})
	if err != nil {
		return mistake(bake.Position{File: name}, err.Error())
	}
	for key, v := range set {
		if _, ok := r.environment[key]; !ok {
			r.environment[key] = v
		}
	}
	return nil
}

// inside refuses a path that leaves the checkout.
func (r *reads) inside(name string, at bake.Position, written string) error {
	leaves := mistake(at, fmt.Sprintf("%s is outside of the checkout", written))
	clean, ok := bake.Within(r.root, name)
	if !ok {
		return leaves
	}
	if !r.strict {
		return nil
	}
	resolved, err := filepath.EvalSymlinks(clean)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return mistake(at, fmt.Sprintf("%s cannot be read: %s", written, bake.Reason(err)))
	}
	if _, ok := bake.Within(r.root, resolved); !ok {
		return leaves
	}
	return nil
}

// file looks through one compose file, whose paths are relative to folder.
func (r *reads) file(name, folder string, at bake.Position) error {
	name = path.Clean(name)
	if r.seen[name] {
		return nil // the loader reports cycles
	}
	r.seen[name] = true
	if len(r.seen) > maxReads {
		return mistake(at, fmt.Sprintf("more than %d files are included", maxReads))
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return mistake(at, fmt.Sprintf("%s cannot be read: %s", name, bake.Reason(err)))
	}
	if len(content) > bake.MaxFile {
		return mistake(at, fmt.Sprintf("%s has %d bytes, more than the %d that are allowed", name, len(content), bake.MaxFile))
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	for {
		var document map[string]any
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			e := mistake(bake.Position{File: name}, err.Error())
			if m := yamlLine.FindStringSubmatch(e.Message); m != nil {
				_, _ = fmt.Sscan(m[1], &e.Line)
			}
			return e
		}
		if err := r.document(document, name, folder, content); err != nil {
			return err
		}
	}
}

func (r *reads) document(document map[string]any, file, folder string, content []byte) error {
	includes, _ := document["include"].([]any)
	for _, include := range includes {
		entry, ok := include.(map[string]any)
		if !ok {
			entry = map[string]any{"path": include}
		}
		at := folder
		for i, written := range texts(entry["path"]) {
			name, err := r.resolve(written, file, folder, content)
			if err != nil || name == "" {
				return err
			}
			if i == 0 {
				at = path.Dir(name)
				for _, project := range texts(entry["project_directory"]) {
					if at, err = r.resolve(project, file, folder, content); err != nil || at == "" {
						return err
					}
				}
				if entry["env_file"] == nil {
					if err := r.dotEnv(at); err != nil {
						return err
					}
				}
			}
			if err := r.file(name, at, place(file, content, written)); err != nil {
				return err
			}
		}
		if err := r.plain(entry["env_file"], file, folder, content); err != nil {
			return err
		}
	}
	services, _ := document["services"].(map[string]any)
	for _, definition := range services {
		service, _ := definition.(map[string]any)
		if extends, ok := service["extends"].(map[string]any); ok {
			for _, written := range texts(extends["file"]) {
				name, err := r.resolve(written, file, folder, content)
				if err != nil {
					return err
				}
				if name == "" {
					continue
				}
				if err := r.file(name, path.Dir(name), place(file, content, written)); err != nil {
					return err
				}
			}
		}
		for _, key := range []string{"env_file", "label_file"} {
			if err := r.plain(service[key], file, folder, content); err != nil {
				return err
			}
		}
	}
	return nil
}

// plain notes files that are read and name no others.
func (r *reads) plain(value any, file, folder string, content []byte) error {
	for _, written := range texts(value) {
		name, err := r.resolve(written, file, folder, content)
		if err != nil {
			return err
		}
		if name != "" {
			r.seen[name] = true
		}
	}
	return nil
}

// resolve gives the path that a word of a compose file means, or "" when that
// cannot be told.
func (r *reads) resolve(written, file, folder string, content []byte) (string, error) {
	at := place(file, content, written)
	if strings.Contains(written, "://") || strings.HasPrefix(written, "git@") || strings.HasPrefix(written, "oci:") {
		return "", mistake(at, written+" is an address: a project includes files of its checkout only")
	}
	name, err := template.Substitute(written, func(key string) (string, bool) {
		v, ok := r.environment[key]
		return v, ok
	})
	if r.strict && strings.Contains(written, "$") { // an include may have an environment of its own
		return "", mistake(at, written+": a path with variables needs the reader to be isolated, which this machine does not allow")
	}
	if err != nil || name == "" {
		return "", nil //nolint:nilerr // the loader reports it
	}
	if path.IsAbs(name) {
		// Within its own root the child cannot tell it from a relative one.
		return "", mistake(at, written+" is outside of the checkout: paths are relative to it")
	}
	name = path.Join(folder, name)
	if err := r.inside(name, at, written); err != nil {
		return "", err
	}
	name, _ = bake.Within(r.root, name)
	return name, nil
}

// texts are the paths in a value: a text, or a list of texts or of mappings.
func texts(value any) (list []string) {
	switch v := value.(type) {
	case string:
		return []string{v}
	case []any:
		for _, element := range v {
			list = append(list, texts(element)...)
		}
	case map[string]any:
		return texts(v["path"])
	}
	return list
}

// place is the first line of a file that has a text.
func place(file string, content []byte, text string) bake.Position {
	before, _, found := bytes.Cut(content, []byte(text))
	if !found {
		return bake.Position{File: file}
	}
	return bake.Position{File: file, Line: 1 + bytes.Count(before, []byte("\n"))}
}
