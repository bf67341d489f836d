package bake

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// check looks whether every path of the project is in the checkout, and leads to
// a place within it, and whether what it names is there.
func (p *Project) check(dir string, checkout *os.Root) error {
	for _, name := range slices.Sorted(maps.Keys(p.Targets)) {
		c := checker{target: p.Targets[name], project: p, dir: dir, checkout: checkout}
		for _, step := range []func() error{c.contexts, c.dockerfile, c.secrets, c.options} {
			if err := step(); err != nil {
				return err
			}
		}
	}
	return nil
}

// fillIn decides what the child could not: a secret of which only the name is
// given is the file of that name, where there is one, else the variable.
func (p *Project) fillIn(checkout *os.Root) {
	for _, t := range p.Targets {
		for i, s := range t.Secrets {
			if s.Path == "" && s.Env == "" {
				if exists(checkout, s.ID) {
					t.Secrets[i].Path = s.ID
				} else {
					t.Secrets[i].Env = s.ID
				}
			}
		}
		if t.Dockerfile != "" && !t.DockerfileRemote {
			clean := path.Clean(t.Dockerfile)
			lower := path.Join(path.Dir(clean), "dockerfile")
			if path.Base(clean) == "Dockerfile" && !exists(checkout, clean) && exists(checkout, lower) {
				t.Dockerfile = lower
			}
		}
	}
}

// checker looks at the paths of one target.
type checker struct {
	target   *Target
	project  *Project
	dir      string
	checkout *os.Root
}

func (c checker) fail(field, format string, args ...any) error {
	at := c.target.Position
	if line, ok := c.target.Fields[field]; ok {
		at = line
	}
	return &Error{at, fmt.Sprintf("target %s: ", c.target.Name) + fmt.Sprintf(format, args...)}
}

// inside cleans a path, and refuses one that leaves the checkout. What does not
// exist is found by whoever needs it.
func (c checker) inside(field, what, written string) (string, fs.FileInfo, error) {
	clean, ok := Within(c.dir, written)
	if !ok {
		return "", nil, c.fail(field, "%s %s is outside of the checkout", what, written)
	}
	info, err := c.checkout.Stat(clean)
	if err == nil {
		return clean, info, nil
	}
	if _, lerr := filepath.EvalSymlinks(filepath.Join(c.dir, clean)); lerr == nil {
		// It is there, but not for who stays within the checkout.
		return "", nil, c.fail(field, "%s %s leads outside of the checkout through a symbolic link", what, written)
	}
	return clean, nil, nil
}

func (c checker) contexts() error {
	t := c.target
	context, err := c.folder("context", "context", t.Context)
	if err != nil {
		return err
	}
	t.Context = context
	for _, name := range slices.Sorted(maps.Keys(t.Contexts)) {
		context, err := c.folder("contexts", "context "+name, t.Contexts[name])
		if err != nil {
			return err
		}
		t.Contexts[name] = context
	}
	return nil
}

func (c checker) folder(field, what string, context Context) (Context, error) {
	if context.Kind != ContextLocal && context.Kind != ContextOCILayout {
		return context, nil
	}
	written, suffix := context.Value, ""
	if context.Kind == ContextOCILayout {
		// The path ends where a tag or digest begins.
		if i := strings.LastIndexAny(written, "/"); i >= 0 {
			if j := strings.IndexAny(written[i:], ":@"); j >= 0 {
				written, suffix = written[:i+j], written[i+j:]
			}
		} else if j := strings.IndexAny(written, ":@"); j >= 0 {
			written, suffix = written[:j], written[j:]
		}
	}
	clean, info, err := c.inside(field, what, written)
	if err != nil {
		return context, err
	}
	if info == nil {
		return context, c.fail(field, "%s %s does not exist", what, written)
	}
	if !info.IsDir() {
		return context, c.fail(field, "%s %s is not a folder", what, written)
	}
	return Context{context.Kind, clean + suffix}, nil
}

func (c checker) dockerfile() error {
	t := c.target
	if t.Dockerfile == "" {
		return nil
	}
	if t.DockerfileRemote {
		t.Dockerfile = path.Clean(t.Dockerfile)
		return nil
	}
	clean, info, err := c.inside("dockerfile", "dockerfile", t.Dockerfile)
	if err != nil {
		return err
	}
	if info == nil {
		return c.fail("dockerfile", "dockerfile %s does not exist", path.Clean(t.Dockerfile))
	}
	if !info.Mode().IsRegular() {
		return c.fail("dockerfile", "dockerfile %s is not a regular file", clean)
	}
	t.Dockerfile = clean
	return nil
}

func (c checker) secrets() error {
	t := c.target
	for i, s := range t.Secrets {
		if s.Path == "" {
			continue
		}
		clean, info, err := c.inside("secret", "secret "+s.ID+" from", s.Path)
		if err != nil {
			return err
		}
		if info == nil {
			return c.fail("secret", "the file %s of secret %s does not exist", s.Path, s.ID)
		}
		if !info.Mode().IsRegular() {
			return c.fail("secret", "the file %s of secret %s is not a regular file", s.Path, s.ID)
		}
		t.Secrets[i].Path = clean
	}
	for i, s := range t.SSH {
		for j, key := range s.Paths {
			clean, info, err := c.inside("ssh", "ssh key "+s.ID+" from", key)
			if err != nil {
				return err
			}
			if info == nil {
				return c.fail("ssh", "the file %s of ssh %s does not exist", key, s.ID)
			}
			t.SSH[i].Paths[j] = clean
		}
	}
	return nil
}

// options refuses caches and outputs that write or read outside, and takes out
// the outputs that are not images.
func (c checker) options() error {
	t := c.target
	for field, list := range map[string][]Options{"cache-from": t.CacheFrom, "cache-to": t.CacheTo, "output": t.Outputs} {
		for _, o := range list {
			for _, key := range []string{"src", "dest"} {
				if o.Attrs[key] == "" || field != "output" && o.Type != "local" {
					continue
				}
				if _, _, err := c.inside(field, fmt.Sprintf("%s of type %s: %s", field, o.Type, key), o.Attrs[key]); err != nil {
					return err
				}
			}
		}
	}
	t.Outputs = slices.DeleteFunc(t.Outputs, func(o Options) bool {
		return o.Type != "image" && o.Type != "registry" && o.Type != "cacheonly"
	})
	return nil
}
