package reader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	buildx "github.com/docker/buildx/bake"
	"github.com/docker/buildx/bake/hclparser"
	"github.com/hashicorp/hcl/v2"

	"slipway/internal/bake"
)

// evaluate evaluates a project's files with buildx's own code. It runs in
// the child, whose working folder is the checkout.
func evaluate(t *bake.Task) (*bake.Project, error) {
	var files []buildx.File
	compose := []string{}
	for _, name := range t.Files {
		content, inline := t.Inline[name]
		data := []byte(content)
		if !inline {
			info, err := os.Stat(name)
			if err == nil && info.Size() > bake.MaxFile {
				err = fmt.Errorf("it has %d bytes, more than the %d that are allowed", info.Size(), bake.MaxFile)
			}
			if err == nil {
				data, err = os.ReadFile(name)
			}
			if err != nil {
				return nil, mistake(bake.Position{File: name}, "cannot be read: "+bake.Reason(err))
			}
		}
		if isYAML(name) {
			compose = append(compose, name)
		}
		files = append(files, buildx.File{Name: name, Data: data})
	}
	if err := checkReads(compose, t.Vars, t.Mode == bake.IsolateChecks); err != nil {
		return nil, err
	}

	defaults := map[string]string{"BAKE_CMD_CONTEXT": "", "BAKE_LOCAL_PLATFORM": platforms.Format(platforms.DefaultSpec())}
	where := locations(files)
	config, meta, err := buildx.ParseFiles(files, defaults, t.Vars)
	if err != nil {
		return nil, where.evaluation(err, compose)
	}
	where.rename(meta)
	p := &bake.Project{Groups: map[string][]string{}, Targets: map[string]*bake.Target{}}
	for _, g := range config.Groups {
		p.Groups[g.Name], _ = config.ResolveGroup(g.Name)
	}
	for _, target := range config.Targets {
		p.Available = append(p.Available, target.Name)
	}
	slices.Sort(p.Available)
	if len(p.Available) == 0 {
		return p, nil
	}

	asked, err := choose(p, t.Targets)
	if err != nil {
		return nil, where.about(err)
	}
	wanted := slices.Clone(asked)
	for name, held := range t.Gates {
		if tests := p.Expand(name); len(tests) > 0 {
			p.Gates = append(p.Gates, bake.Gate{Name: name, Tests: tests, Holds: p.Expand(held...)})
			wanted = append(wanted, tests...)
		}
	}
	slices.SortFunc(p.Gates, func(x, y bake.Gate) int { return cmp.Compare(x.Name, y.Name) })
	targets, _, err := buildx.ReadTargets(context.Background(), files, wanted, t.Set, defaults, t.Vars, &buildx.EntitlementConf{})
	if err != nil {
		return nil, where.evaluation(err, compose)
	}
	for name, target := range targets {
		c := converter{where: where, name: name, project: p}
		if p.Targets[name], err = c.convert(target); err != nil {
			return nil, err
		}
	}
	// An image that is built only for others is linked, and so never exported.
	p.Selected = p.Order(asked...)
	for _, name := range p.Selected {
		p.Targets[name].Linked = !slices.Contains(asked, name)
	}
	bindGates(p)
	slices.Sort(p.Warnings)
	return p, addServices(p, files, t.Vars)
}

// choose expands the names and patterns that were asked for.
func choose(p *bake.Project, names []string) ([]string, error) {
	if len(names) == 0 {
		names = []string{"default"}
	}
	list := []string{}
	for _, name := range names {
		name = strings.ReplaceAll(name, ".", "_") // as buildx does with compose services
		found := p.Expand(name)
		if len(found) == 0 {
			if name == "default" {
				return nil, mistake(bake.Position{}, "there is no group or target named default, so a target has to be named"+bake.Suggest("", p.Names()))
			}
			return nil, mistake(bake.Position{}, fmt.Sprintf("there is no target or group %q%s", name, bake.Suggest(name, p.Names())))
		}
		for _, target := range found {
			if !slices.Contains(p.Available, target) {
				return nil, &missingError{target, p.Names()}
			}
		}
		list = append(list, found...)
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// bindGates leaves the gates that hold back selected targets.
func bindGates(p *bake.Project) {
	kept := []bake.Gate{}
	for _, g := range p.Gates {
		g.Holds = slices.DeleteFunc(g.Holds, func(name string) bool {
			return !slices.Contains(p.Selected, name) || slices.Contains(g.Tests, name)
		})
		if len(g.Holds) > 0 {
			kept = append(kept, g)
		}
	}
	p.Gates = kept
	needed := slices.Clone(p.Selected)
	for _, g := range p.Gates {
		needed = append(needed, p.Order(g.Tests...)...)
	}
	for name := range p.Targets {
		if !slices.Contains(needed, name) {
			delete(p.Targets, name)
		}
	}
}

// missingError is a target that something names and nothing defines.
type missingError struct {
	name  string
	names []string
}

func (e *missingError) Error() string {
	return fmt.Sprintf("there is no target %q%s", e.name, bake.Suggest(e.name, e.names))
}

// places is where targets stand in the project's files.
type places struct {
	files   []buildx.File
	blocks  map[string]block
	origins map[string]string // the name a target got by its name expression -> the block's
}

// block is one target's definition; of several, the last.
type block struct {
	bake.Position
	fields map[string]bake.Position
}

func (w *places) target(name string) bake.Position {
	return w.of(name).Position
}

// field is where a target says something, or else where the target stands.
func (w *places) field(name string, fields ...string) bake.Position {
	b := w.of(name)
	for _, field := range fields {
		if at, ok := b.fields[field]; ok {
			return at
		}
	}
	return b.Position
}

func (w *places) of(name string) block {
	b, ok := w.blocks[name]
	if !ok {
		b, ok = w.blocks[w.origins[name]]
	}
	if !ok && len(w.files) > 0 {
		b = block{Position: bake.Position{File: w.files[len(w.files)-1].Name}}
	}
	return b
}

func (w *places) rename(meta *hclparser.ParseMeta) {
	w.origins = map[string]string{}
	if meta == nil {
		return
	}
	for _, renamed := range meta.Renamed {
		for old, names := range renamed {
			for _, name := range names {
				w.origins[name] = old
			}
		}
	}
}

// about gives a missing target the place that names it.
func (w *places) about(err error) error {
	var missing *missingError
	if !errors.As(err, &missing) {
		var ours *bake.Error
		if errors.As(err, &ours) && ours.File == "" && len(w.files) > 0 {
			ours.File = w.files[len(w.files)-1].Name
		}
		return err
	}
	at := w.mention(missing.name)
	return mistake(at, missing.Error())
}

// mention is the first line that has a name in quotes, and is not its own.
func (w *places) mention(name string) bake.Position {
	for _, f := range w.files {
		for i, line := range strings.Split(string(f.Data), "\n") {
			if strings.Contains(line, `"`+name+`"`) || strings.Contains(line, "target:"+name) || strings.Contains(line, "service:"+name) {
				return bake.Position{File: f.Name, Line: i + 1}
			}
		}
	}
	if len(w.files) == 0 {
		return bake.Position{}
	}
	return bake.Position{File: w.files[0].Name}
}

var (
	failedToFind = regexp.MustCompile(`failed to find target (\S+)`)
	loopFrom     = regexp.MustCompile(`infinite loop from (\S+) to (\S+)`)
	linkToItself = regexp.MustCompile(`target (\S+) cannot link to itself`)
	targetNamed  = regexp.MustCompile(`\btarget ([a-zA-Z0-9_-]+)`)
	yamlLine     = regexp.MustCompile(`\bline (\d+)\b`)
)

// evaluation gives buildx's errors a place, and words where it has few.
func (w *places) evaluation(err error, compose []string) error {
	var diags hcl.Diagnostics
	if errors.As(err, &diags) {
		for _, d := range diags {
			if d.Severity != hcl.DiagError {
				continue
			}
			e := &bake.Error{Message: d.Summary}
			if d.Detail != "" && d.Detail != d.Summary {
				e.Message += ": " + d.Detail
			}
			if d.Subject != nil {
				e.File, e.Line = d.Subject.Filename, d.Subject.Start.Line
			}
			return e
		}
	}
	text := err.Error()
	if m := failedToFind.FindStringSubmatch(text); m != nil {
		return w.about(&missingError{m[1], slices.Collect(maps.Keys(w.blocks))})
	}
	if m := loopFrom.FindStringSubmatch(text); m != nil {
		return mistake(w.field(m[1], "contexts"), fmt.Sprintf("target %s needs target %s, which needs it in turn", m[1], m[2]))
	}
	if m := linkToItself.FindStringSubmatch(text); m != nil {
		return mistake(w.field(m[1], "contexts"), fmt.Sprintf("target %s needs itself", m[1]))
	}
	if m := targetNamed.FindStringSubmatch(text); m != nil {
		if b, ok := w.blocks[m[1]]; ok {
			return mistake(b.Position, text)
		}
	}
	e := &bake.Error{Message: strings.TrimPrefix(text, "failed to parse compose file: ")}
	if len(compose) > 0 {
		e.File = compose[0]
	} else if len(w.files) > 0 {
		e.File = w.files[len(w.files)-1].Name
	}
	for _, name := range compose {
		if strings.Contains(text, name) {
			e.File = name
		}
	}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
	}
	return e
}
