package git

import (
	"context"
	"fmt"
	"path"
	"strings"
)

// addModules adds the trees of submodules, at the commits that the tree names.
func (p *plan) addModules(ctx context.Context, f *fetched, gitmodules string, modules []node, prefix string, depth int) error {
	urls := map[string]string{}
	if gitmodules != "" {
		config, err := f.config(ctx, gitmodules)
		if err != nil {
			return fmt.Errorf("%w: read %s: %w", ErrSubmodule, path.Join(prefix, ".gitmodules"), err)
		}
		for key, at := range config {
			if name, ok := strings.CutSuffix(key, ".path"); ok && strings.HasPrefix(key, "submodule.") {
				urls[path.Clean(at)] = config[name+".url"]
			}
		}
	}
	for _, m := range modules {
		at := path.Join(prefix, m.path)
		if p.modules++; p.modules > p.o.MaxSubmodules {
			return fmt.Errorf("%w: %s: there are more than %d", ErrSubmodule, at, p.o.MaxSubmodules)
		}
		if depth >= p.o.MaxNesting {
			return fmt.Errorf("%w: %s: they are nested more than %d deep", ErrSubmodule, at, p.o.MaxNesting)
		}
		if urls[m.path] == "" {
			return fmt.Errorf("%w: %s: .gitmodules has no address for it", ErrSubmodule, at)
		}
		if err := p.addModule(ctx, f, urls[m.path], m.id, at, depth); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrSubmodule, at, err)
		}
	}
	return nil
}

func (p *plan) addModule(ctx context.Context, parent *fetched, address, sha, at string, depth int) error {
	u, err := parent.o.URL.resolveRelative(address)
	if err != nil {
		return err
	}
	if u.Ref != "" || u.Subdir != "" {
		return fmt.Errorf("%w: %s: a submodule has no # part", ErrURL, u)
	}
	o := p.o.elsewhere(u)
	o.URL.Ref = sha
	c, err := fetch(ctx, o)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", o.URL, err)
	}
	return p.add(ctx, c.from, c.SHA, at, depth+1)
}
