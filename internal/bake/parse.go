package bake

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxDockerfile is more than any person writes.
const maxDockerfile = 4 << 20

// scratch is the empty image.
const scratch = "scratch"

// ParseDockerfile analyses a Dockerfile. An error is an *Error, with the place.
func ParseDockerfile(content []byte, o DockerfileOptions) (*Dockerfile, error) {
	o.Name = cmp.Or(o.Name, "Dockerfile")
	if len(content) > maxDockerfile {
		return nil, &Error{Position{File: o.Name}, fmt.Sprintf("the file has %d bytes, more than the %d that are allowed", len(content), maxDockerfile)}
	}
	a := &analysis{options: o, result: &Dockerfile{WholeContext: map[string]bool{}}}
	for _, step := range []func() error{
		func() error { return a.parse(content) },
		a.readMetaArgs,
		a.resolveStages,
		a.checkCycles,
		a.reach,
		a.walk,
	} {
		if err := step(); err != nil {
			return nil, locate(o.Name, err)
		}
	}
	a.result.Canonical = a.canonical(content)
	a.result.Args = a.usedArgs()
	return a.result, nil
}

// ContextName is how BuildKit writes the name of a named context: the familiar
// form of an image's name, without :latest.
func ContextName(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return strings.TrimSuffix(reference.FamiliarString(named), ":latest")
}

// analysis is one Dockerfile being analysed.
type analysis struct {
	options DockerfileOptions
	result  *Dockerfile

	lex      *shell.Lex
	escape   rune
	metaArgs []instructions.ArgCommand
	metaUses map[string]map[string]bool // meta argument -> those its default names
	global   *environ
	target   ocispec.Platform

	nodes     [][]*parser.Node // of each stage, FROM first
	metaNodes []*parser.Node
	stages    []*stage
	byName    map[string]*stage // the last of each name
}

// stage is one FROM, and what it stands on.
type stage struct {
	instructions.Stage
	number   int
	base     *stage // nil: an image or scratch
	image    string // expanded, when base is nil
	platform string
	args     map[string]bool // meta arguments that FROM uses
	context  string          // the named context that takes the place of the stage
	// edges are the stages that its instructions name.
	edges []edge
	// triggers are the ONBUILD instructions that its base stage left.
	triggers []instructions.Command
	reached  bool
	env      *environ
}

type edge struct {
	to   *stage
	line int
	copy bool // COPY, not a mount
}

func (a *analysis) parse(content []byte) error {
	a.result.Syntax = a.options.Args["BUILDKIT_SYNTAX"]
	if a.result.Syntax == "" {
		if image, _, _, ok := parser.DetectSyntax(content); ok {
			a.result.Syntax = image
		}
	} else if words := strings.Fields(a.result.Syntax); len(words) > 0 {
		a.result.Syntax = words[0]
	}

	ast, err := parser.Parse(bytes.NewReader(content))
	if err != nil {
		return err
	}
	for _, w := range ast.Warnings {
		a.warn(w.Short, w.Location.Start.Line)
	}
	config := &linter.Config{}
	if text, _, _, ok := parser.ParseDirective("check", content); ok {
		if parsed, err := linter.ParseLintOptions(text); err == nil {
			config = parsed
		}
	}
	config.Warn = func(rule, _, _, message string, location []parser.Range) {
		a.warn(rule+": "+message, firstLine(location))
	}
	stages, metaArgs, err := instructions.Parse(ast.AST, linter.New(config))
	if err != nil {
		return err
	}
	if len(stages) == 0 {
		return &Error{Position{}, "the file has no FROM: nothing can be built from it"}
	}
	a.lex, a.escape, a.metaArgs = shell.NewLex(ast.EscapeToken), ast.EscapeToken, metaArgs
	for _, n := range ast.AST.Children {
		switch {
		case strings.EqualFold(n.Value, "from"):
			a.nodes = append(a.nodes, []*parser.Node{n})
		case len(a.nodes) == 0:
			a.metaNodes = append(a.metaNodes, n)
		default:
			last := len(a.nodes) - 1
			a.nodes[last] = append(a.nodes[last], n)
		}
	}
	if len(a.nodes) != len(stages) {
		return fmt.Errorf("the file has %d FROM lines and %d stages", len(a.nodes), len(stages))
	}
	for i, s := range stages {
		a.stages = append(a.stages, &stage{Stage: s, number: i})
	}
	return nil
}

func (a *analysis) warn(message string, line int) {
	a.result.Warnings = append(a.result.Warnings, Position{a.options.Name, line}.String()+": "+message)
}

// readMetaArgs gives values to the arguments before the first FROM, which are
// all that FROM lines can use.
func (a *analysis) readMetaArgs() error {
	build, err := platform(a.options.BuildPlatform, platforms.DefaultSpec())
	if err != nil {
		return err
	}
	if a.target, err = platform(a.options.TargetPlatform, build); err != nil {
		return err
	}
	targetStage := a.options.Stage
	if targetStage == "" {
		targetStage = a.stages[len(a.stages)-1].Name
	}
	a.global = &environ{known: map[string]string{}, unknown: map[string]bool{}}
	for _, kv := range [][2]string{
		{"BUILDPLATFORM", platforms.Format(build)}, {"BUILDOS", build.OS}, {"BUILDOSVERSION", build.OSVersion},
		{"BUILDARCH", build.Architecture}, {"BUILDVARIANT", build.Variant},
		{"TARGETPLATFORM", platforms.FormatAll(a.target)}, {"TARGETOS", a.target.OS}, {"TARGETOSVERSION", a.target.OSVersion},
		{"TARGETARCH", a.target.Architecture}, {"TARGETVARIANT", a.target.Variant},
		{"TARGETSTAGE", cmp.Or(targetStage, "default")},
	} {
		value := kv[1]
		if given, ok := a.options.Args[kv[0]]; ok {
			value = given
		}
		a.global.set(kv[0], value, true)
	}
	a.metaUses = map[string]map[string]bool{}
	for _, command := range a.metaArgs {
		for _, arg := range command.Args {
			if a.metaUses[arg.Key] == nil {
				a.metaUses[arg.Key] = map[string]bool{}
			}
			if given, ok := a.options.Args[arg.Key]; ok {
				a.global.set(arg.Key, given, true)
				continue
			}
			if arg.Value == nil {
				continue
			}
			value, used, err := a.expandGlobal(*arg.Value)
			if err != nil {
				return parser.WithLocation(err, command.Location())
			}
			maps.Copy(a.metaUses[arg.Key], used)
			a.global.set(arg.Key, value, true)
		}
	}
	return nil
}

// expandGlobal expands a word outside of the stages, and tells which variables
// it names.
func (a *analysis) expandGlobal(word string) (string, map[string]bool, error) {
	watch := &watched{environ: a.global}
	result, err := a.lex.ProcessWordWithMatches(word, watch)
	if watch.missed {
		return "", nil, errors.New("a variable's value is too long")
	}
	used := map[string]bool{}
	for name := range result.Matched {
		used[name] = true
	}
	for name := range result.Unmatched {
		used[name] = true
	}
	return result.Result, used, err
}

// resolveStages finds what each stage stands on, and which stages its
// instructions name.
func (a *analysis) resolveStages() error {
	a.byName = map[string]*stage{}
	for _, s := range a.stages {
		line := firstLine(s.Location)
		base, used, err := a.expandGlobal(s.BaseName)
		if err != nil {
			return parser.WithLocation(err, s.Location)
		}
		if base == "" {
			names := strings.Join(slices.Sorted(maps.Keys(used)), ", ")
			return &Error{Position{Line: line}, fmt.Sprintf(
				"FROM %s names no image, because %s has no value: give it one with ARG before the first FROM, or as a build argument", s.BaseName, cmp.Or(names, "it"))}
		}
		s.args, s.platform = used, platforms.FormatAll(a.target)
		if s.Platform != "" {
			value, used, err := a.expandGlobal(s.Platform)
			if err != nil {
				return parser.WithLocation(err, s.Location)
			}
			maps.Copy(s.args, used)
			p, err := platforms.Parse(value)
			if err != nil {
				return &Error{Position{Line: line}, fmt.Sprintf("FROM --platform=%s: %q is not a platform", s.Platform, value)}
			}
			s.platform = platforms.FormatAll(p)
		}
		if s.Name != "" {
			s.context = a.namedContext(s.Name, s.platform)
		}
		if earlier, ok := a.byName[base]; ok {
			s.base = earlier
		} else {
			s.image = base
		}
		if s.Name != "" {
			a.byName[s.Name] = s
		}
		a.result.Stages = append(a.result.Stages, Stage{Name: s.Name, Base: base, Line: line})
	}
	for _, s := range a.stages {
		if s.base != nil {
			if err := s.inheritTriggers(); err != nil {
				return parser.SetLocation(err, s.Location)
			}
		}
		for _, command := range s.commands() {
			if err := a.connect(s, command); err != nil {
				return parser.WithLocation(err, command.Location())
			}
		}
	}
	return nil
}

// commands are the instructions of a stage, those that its base stage left for
// it first.
func (s *stage) commands() []instructions.Command {
	if s.context != "" {
		return nil
	}
	return append(slices.Clone(s.triggers), s.Commands...)
}

func (s *stage) inheritTriggers() error {
	for _, command := range s.base.Commands {
		onbuild, ok := command.(*instructions.OnbuildCommand)
		if !ok {
			continue
		}
		ast, err := parser.Parse(strings.NewReader(onbuild.Expression))
		if err != nil {
			return err
		}
		if len(ast.AST.Children) != 1 {
			return fmt.Errorf("ONBUILD %s is not one instruction", onbuild.Expression)
		}
		node := ast.AST.Children[0]
		node.StartLine, node.EndLine = firstLine(s.Location), firstLine(s.Location)
		trigger, err := instructions.ParseCommand(node)
		if err != nil {
			return err
		}
		s.triggers = append(s.triggers, trigger)
	}
	return nil
}

// connect notes the stages that an instruction names.
func (a *analysis) connect(s *stage, command instructions.Command) error {
	line := firstLine(command.Location())
	switch c := command.(type) {
	case *instructions.CopyCommand:
		if c.From == "" {
			return nil
		}
		to, err := a.findStage(c.From)
		if err != nil || to == nil {
			return err
		}
		s.edges = append(s.edges, edge{to, line, true})
	case *instructions.RunCommand:
		for _, mount := range instructions.GetMounts(c) {
			if to := a.byName[strings.ToLower(mount.From)]; mount.From != "" && to != nil {
				s.edges = append(s.edges, edge{to, line, false})
			}
		}
	}
	return nil
}

// findStage finds what COPY --from names: a stage, by number or name, or nil.
func (a *analysis) findStage(from string) (*stage, error) {
	if strings.Contains(from, "$") {
		return nil, errors.New("COPY --from does not take variables: define a stage with FROM that uses an ARG of the file's beginning, and name that")
	}
	if number, err := strconv.Atoi(from); err == nil {
		if number < 0 || number >= len(a.stages) {
			return nil, fmt.Errorf("there is no stage %d: the file has %d, counted from 0", number, len(a.stages))
		}
		return a.stages[number], nil
	}
	return a.byName[strings.ToLower(from)], nil
}

// namedContext is the named context that stands for a name, or "".
func (a *analysis) namedContext(name, platform string) string {
	if strings.EqualFold(name, scratch) || strings.EqualFold(name, "context") {
		return ""
	}
	name = ContextName(name)
	for _, context := range a.options.Contexts {
		base, only, limited := strings.Cut(context, "::")
		if ContextName(base) == name && (!limited || only == platform) {
			return name
		}
	}
	return ""
}

func platform(text string, otherwise ocispec.Platform) (ocispec.Platform, error) {
	if text == "" {
		return platforms.Normalize(otherwise), nil
	}
	p, err := platforms.Parse(text)
	if err != nil {
		return p, &Error{Position{}, fmt.Sprintf("%q is not a platform", text)}
	}
	return platforms.Normalize(p), nil
}

func firstLine(location []parser.Range) int {
	if len(location) == 0 {
		return 0
	}
	return location[0].Start.Line
}

// locate makes an *Error of what parsing reports.
func locate(file string, err error) error {
	var ours *Error
	if errors.As(err, &ours) {
		ours.File = cmp.Or(ours.File, file)
		return ours
	}
	e := &Error{Position{File: file}, err.Error()}
	var located *parser.LocationError
	if errors.As(err, &located) && len(located.Locations) > 0 {
		e.Line = firstLine(located.Locations[len(located.Locations)-1])
	}
	var unknown *instructions.UnknownInstructionError
	if errors.As(err, &unknown) {
		e.Line = cmp.Or(e.Line, unknown.Line)
	}
	if e.Line == 0 {
		var line int
		if n, _ := fmt.Sscanf(e.Message, "dockerfile parse error on line %d:", &line); n == 1 {
			e.Line = line
		}
	}
	if _, rest, ok := strings.Cut(e.Message, fmt.Sprintf("dockerfile parse error on line %d: ", e.Line)); ok {
		e.Message = rest
	}
	return e
}
