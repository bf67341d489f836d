package bake

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// checkCycles refuses stages that need each other, as BuildKit does also for
// stages that nothing needs.
func (a *analysis) checkCycles() error {
	const visiting, done = 1, 2
	state := map[*stage]int{}
	var visit func(s *stage) error
	visit = func(s *stage) error {
		if state[s] == done {
			return nil
		}
		state[s] = visiting
		for _, e := range s.edges {
			if state[e.to] == visiting {
				return &Error{Position{Line: e.line}, fmt.Sprintf("stage %s needs stage %s, which needs it in turn", s.title(), e.to.title())}
			}
			if err := visit(e.to); err != nil {
				return err
			}
		}
		if s.base != nil && s.context == "" {
			if err := visit(s.base); err != nil { // a base is always an earlier stage
				return err
			}
		}
		state[s] = done
		return nil
	}
	for _, s := range a.stages {
		if err := visit(s); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) title() string {
	return cmp.Or(s.Name, fmt.Sprint(s.number))
}

// reach marks the stages that the one asked for is made of.
func (a *analysis) reach() error {
	asked := a.stages[len(a.stages)-1]
	if a.options.Stage != "" {
		asked = a.byName[strings.ToLower(a.options.Stage)]
		if asked == nil {
			names := slices.Sorted(maps.Keys(a.byName))
			return &Error{Position{}, fmt.Sprintf("there is no stage %q%s", a.options.Stage, Suggest(a.options.Stage, names))}
		}
	}
	var mark func(s *stage)
	mark = func(s *stage) {
		if s.reached {
			return
		}
		s.reached = true
		if s.base != nil && s.context == "" {
			mark(s.base)
		}
		for _, e := range s.edges {
			mark(e.to)
		}
	}
	mark(asked)
	for _, s := range a.stages {
		if s.reached {
			a.result.Reachable = append(a.result.Reachable, s.number)
		}
	}
	return nil
}

// walk goes through the reachable stages, from the first on, and collects what
// they read.
func (a *analysis) walk() error {
	contexts := map[string]bool{}
	for _, s := range a.stages {
		if !s.reached {
			continue
		}
		for _, e := range s.edges {
			if e.to.number > s.number && e.to.context == "" {
				what := "mount"
				if e.copy {
					what = "copy"
				}
				return &Error{Position{Line: e.line}, fmt.Sprintf("stage %s cannot %s from stage %s, which comes after it", s.title(), what, e.to.title())}
			}
		}
		w := &walker{analysis: a, stage: s, contexts: contexts}
		switch {
		case s.context != "":
			contexts[s.context], a.result.WholeContext[s.context] = true, true
			s.env = newEnviron(true)
		case s.base != nil:
			s.env = s.base.env.clone()
		case s.image == scratch:
			s.env = newEnviron(false)
		default:
			s.env = newEnviron(true)
			if err := w.image(s.image, ImageFrom, s.platform, firstLine(s.Location)); err != nil {
				return parser.WithLocation(err, s.Location)
			}
			a.result.OnBuildUnknown = true
		}
		for _, command := range s.commands() {
			if err := w.command(command); err != nil {
				return parser.WithLocation(err, command.Location())
			}
		}
	}
	slices.SortStableFunc(a.result.Images, func(x, y ImageUse) int { return cmp.Compare(x.Line, y.Line) })
	a.result.Contexts = slices.Sorted(maps.Keys(contexts))
	return nil
}

// walker goes through the instructions of one stage.
type walker struct {
	*analysis
	stage    *stage
	contexts map[string]bool
}

func (w *walker) command(command instructions.Command) error {
	line, env := firstLine(command.Location()), w.stage.env
	switch c := command.(type) {
	case *instructions.ArgCommand:
		return w.arg(c)
	case *instructions.EnvCommand:
		before := env.clone()
		for _, kv := range c.Env {
			key, certain, err := before.expand(w.lex, kv.Key)
			if err != nil {
				return err
			}
			if !certain {
				env.open = true // any name may have been set
				clear(env.known)
				continue
			}
			value, certain, err := before.expand(w.lex, kv.Value)
			if err != nil {
				return err
			}
			env.set(key, value, certain)
		}
	case *instructions.CopyCommand:
		for _, source := range c.SourcePaths {
			value, certain, err := env.expand(w.lex, source)
			if err != nil {
				return err
			}
			if err := w.copied(c.From, value, certain, line); err != nil {
				return err
			}
		}
		if len(c.SourcePaths) == 0 && c.From != "" {
			return w.copied(c.From, "", false, line)
		}
	case *instructions.AddCommand:
		sum, sumCertain, err := env.expand(w.lex, c.Checksum)
		if err != nil {
			return err
		}
		for _, source := range c.SourcePaths {
			value, certain, err := env.expand(w.lex, source)
			if err != nil {
				return err
			}
			w.added(source, value, certain, sumCertain && sum != "", line)
		}
	case *instructions.RunCommand:
		return w.run(c, line)
	}
	return nil
}

func (w *walker) arg(c *instructions.ArgCommand) error {
	for _, arg := range c.Args {
		given, isGiven := w.options.Args[arg.Key]
		switch global, isGlobal := w.global.known[arg.Key]; {
		case isGiven:
			w.stage.env.set(arg.Key, given, true)
		case arg.Value != nil:
			value, certain, err := w.stage.env.expand(w.lex, *arg.Value)
			if err != nil {
				return err
			}
			w.stage.env.set(arg.Key, value, certain)
		case isGlobal:
			w.stage.env.set(arg.Key, global, true)
		}
	}
	return nil
}

// copied notes a path that COPY reads.
func (w *walker) copied(from, source string, certain bool, line int) error {
	if from == "" {
		w.read("", source, certain, line)
		return nil
	}
	if to, err := w.findStage(from); err != nil || to != nil {
		return err
	}
	return w.foreign(from, source, certain, ImageCopy, line)
}

// foreign notes what is read of a named context, or else of an image.
func (w *walker) foreign(from, source string, certain bool, kind ImageKind, line int) error {
	if from == scratch {
		return nil
	}
	platform := w.stage.platform
	if kind != ImageFrom { // BuildKit asks for these in the target's platform
		platform = formatted(w.target)
	}
	if name := w.namedContext(tagged(from), platform); name != "" {
		w.contexts[name] = true
		w.read(name, source, certain, line)
		return nil
	}
	return w.image(from, kind, platform, line)
}

// image notes an image, or the named context that stands for it.
func (w *walker) image(name string, kind ImageKind, platform string, line int) error {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return fmt.Errorf("%q is neither a stage nor the name of an image: %w", name, err)
	}
	full := reference.TagNameOnly(ref).String()
	if context := w.namedContext(full, platform); context != "" {
		w.contexts[context], w.result.WholeContext[context] = true, true
		return nil
	}
	use := ImageUse{Name: ContextName(full), Written: name, Reference: full, Platform: platform, Kind: kind, Line: line}
	if !slices.Contains(w.result.Images, use) {
		w.result.Images = append(w.result.Images, use)
	}
	return nil
}

var commitID = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// added notes what ADD reads: an address, a repository or a path.
func (w *walker) added(word, source string, certain, checked bool, line int) {
	if !certain {
		// What the word begins with may tell that it is an address.
		w.read("", "", false, line)
		w.unpinned("add-http", word, line)
		return
	}
	if git, ok, err := dfgitutil.ParseGitRef(source); ok && err == nil {
		if !checked && !commitID.MatchString(git.Ref) && !commitID.MatchString(git.Checksum) {
			w.unpinned("add-git", source, line)
		}
		return
	}
	if strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://") {
		if !checked {
			w.unpinned("add-http", source, line)
		}
		return
	}
	w.read("", source, true, line)
}

func (w *walker) run(c *instructions.RunCommand, line int) error {
	if instructions.GetNetwork(c) != instructions.NetworkNone {
		w.unpinned("run", c.String(), line)
	}
	if len(instructions.GetMounts(c)) == 0 {
		return nil
	}
	from := []string{} // read before expansion, which does not change it
	for _, mount := range instructions.GetMounts(c) {
		from = append(from, mount.From)
	}
	certain := true
	err := c.Expand(func(word string) (string, error) {
		value, known, err := w.stage.env.expand(w.lex, word)
		certain = certain && known
		return value, err
	})
	if err != nil && certain {
		return err
	}
	if !certain {
		for _, name := range from {
			if err := w.mounted(name, "", false, line); err != nil {
				return err
			}
		}
		return nil
	}
	for _, mount := range instructions.GetMounts(c) {
		switch {
		case mount.Type == instructions.MountTypeBind,
			mount.Type == instructions.MountTypeCache && mount.From != "":
			if err := w.mounted(mount.From, mount.Source, true, line); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *walker) mounted(from, source string, certain bool, line int) error {
	if from == "" {
		w.read("", source, certain, line)
		return nil
	}
	if w.byName[strings.ToLower(from)] != nil {
		return nil
	}
	return w.foreign(from, source, certain, ImageMount, line)
}

func (w *walker) unpinned(kind, what string, line int) {
	w.result.Unpinned = append(w.result.Unpinned, Unpinned{kind, what, line})
}

// read notes a path of a context.
func (w *walker) read(context, source string, certain bool, line int) {
	clean := strings.TrimPrefix(path.Join("/", source), "/")
	if !certain || clean == "" || strings.Contains(source, "..") && strings.ContainsAny(source, "*?[") {
		w.result.WholeContext[context] = true
		clean = "."
	}
	w.result.Sources = append(w.result.Sources, Source{Context: context, Path: clean, Line: line})
}
