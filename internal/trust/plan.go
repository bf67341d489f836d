package trust

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Action is what becomes of a file.
type Action string

// The actions of a plan.
const (
	Write  Action = "write"  // make or change it
	Keep   Action = "keep"   // it is as it should be
	Remove Action = "remove" // take it away
	Leave  Action = "leave"  // somebody else decides about it; Why says so
)

// File is one file in a plan.
type File struct {
	Path   string `json:"path"`
	Action Action `json:"action"`
	Why    string `json:"why,omitempty"`
	// Content is what trust's part of the file is, for a plan to be shown. The
	// rest of another's file may hold passwords.
	Content string `json:"content,omitempty"`
	// Done is set by Apply.
	Done bool `json:"done"`

	base   string      // the folder that writing must not leave
	before []byte      // what the plan is made from; nil: no file
	after  string      // all that Write writes
	mode   fs.FileMode // for a new file
	// folder is removed with the file, if it is empty then.
	folder bool
}

// Step is what one tool needs.
type Step struct {
	Tool  string `json:"tool"`
	Files []File `json:"files"`
	// Restart is the command after which a change of Files counts; empty: none
	// is needed.
	Restart string `json:"restart,omitempty"`
	// Run is a command that Apply runs after a change of Files.
	Run []string `json:"run,omitempty"`
	// Todo is what trust leaves to a person, each with its command or text.
	Todo []string `json:"todo,omitempty"`
	// Note is worth knowing, with nothing to do.
	Note string `json:"note,omitempty"`
	// Failed is why Apply could not finish the step; set by Apply.
	Failed string `json:"failed,omitempty"`
}

// Changes reports whether the step writes or removes anything.
func (s *Step) Changes() bool {
	return slices.ContainsFunc(s.Files, func(f File) bool { return f.Action == Write || f.Action == Remove })
}

// Plan is what trust would do on a machine.
type Plan struct {
	Host     Host     `json:"-"`
	Steps    []Step   `json:"steps"`
	Warnings []string `json:"warnings"`
}

// tool is one kind of program that can trust a registry.
type tool struct {
	name    string
	aliases []string // programs that share its places
	found   func(m *Machine) bool
	// onRequest tools are never chosen by being there.
	onRequest bool
	step      func(m *Machine, h Host, a *Authority) (Step, error)
	// undo is like step; both return nothing to do rather than an error.
	undo func(m *Machine, h Host) (Step, error)
}

func tools() []tool {
	return []tool{
		{name: "docker", found: dockerFound, step: dockerStep, undo: dockerUndo},
		{name: "podman", aliases: []string{"buildah", "skopeo", "cri-o"}, found: podmanFound, step: podmanStep, undo: podmanUndo},
		{name: "containerd", aliases: []string{"nerdctl", "ctr"}, found: containerdFound, step: containerdStep, undo: containerdUndo},
		{name: "buildkit", aliases: []string{"buildkitd"}, found: buildkitFound, step: buildkitStep, undo: buildkitUndo},
		k3s("k3s", "k3s"),
		k3s("rke2", "rke2-server"),
		{name: "system", onRequest: true, found: func(*Machine) bool { return true }, step: systemStep, undo: systemUndo},
	}
}

// Tools are the names that Plan accepts.
func Tools() []string {
	var list []string
	for _, t := range tools() {
		list = append(append(list, t.name), t.aliases...)
	}
	return list
}

// choose returns the tools of these names, or those that are here.
func (m *Machine) choose(names []string, all bool) ([]tool, error) {
	var chosen []tool
	for _, name := range names {
		if !slices.Contains(Tools(), name) {
			return nil, fmt.Errorf("there is no tool %q: choose of %s", name, strings.Join(Tools(), ", "))
		}
	}
	for _, t := range tools() {
		named := slices.ContainsFunc(names, func(n string) bool { return n == t.name || slices.Contains(t.aliases, n) })
		here := len(names) == 0 && !t.onRequest && t.found(m)
		if named || here || (all && len(names) == 0) {
			chosen = append(chosen, t)
		}
	}
	return chosen, nil
}

// Plan says what the tools of these names need to trust h, or, without names,
// those that the machine has. It changes nothing.
func (m *Machine) Plan(h Host, a *Authority, names []string) (*Plan, error) {
	chosen, err := m.choose(names, false)
	if err != nil {
		return nil, err
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("none of the tools that trust knows is installed here: name one that will be, with --for %s", strings.Join(Tools(), "|"))
	}
	p := &Plan{Host: h, Warnings: m.warnings(h)}
	for _, t := range chosen {
		s, err := t.step(m, h, a)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		s.Tool = t.name
		p.add(s)
	}
	return p, nil
}

// PlanUndo says what of trust's there is for h. Without names it looks at the
// places of every tool.
func (m *Machine) PlanUndo(h Host, names []string) (*Plan, error) {
	chosen, err := m.choose(names, true)
	if err != nil {
		return nil, err
	}
	p := &Plan{Host: h, Warnings: []string{}}
	for _, t := range chosen {
		s, err := t.undo(m, h)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		if len(s.Files) > 0 {
			s.Tool = t.name
			p.add(s)
		}
	}
	return p, nil
}

func (p *Plan) add(s Step) {
	if s.Files == nil {
		s.Files = []File{}
	}
	if !s.Changes() {
		s.Restart, s.Run = "", nil
	}
	p.Steps = append(p.Steps, s)
}

// Apply does what the plan says. Each file is replaced at once, and a file that
// changed since the plan is an error. A tool that fails does not keep the
// others from being served.
func (m *Machine) Apply(ctx context.Context, p *Plan) error {
	var failed []error
	for i := range p.Steps {
		s := &p.Steps[i]
		if err := m.apply(ctx, s); err != nil {
			s.Failed = err.Error()
			failed = append(failed, fmt.Errorf("%s: %w", s.Tool, err))
		}
	}
	return errors.Join(failed...)
}

func (m *Machine) apply(ctx context.Context, s *Step) error {
	for i := range s.Files {
		f := &s.Files[i]
		var err error
		switch f.Action {
		case Write:
			err = m.write(*f)
		case Remove:
			err = m.remove(*f)
		}
		f.Done = err == nil && (f.Action == Write || f.Action == Remove)
		if err != nil {
			if errors.Is(err, fs.ErrPermission) {
				return fmt.Errorf("%w; run it as root, with sudo", err)
			}
			return err
		}
	}
	if len(s.Run) == 0 || !s.Changes() {
		return nil
	}
	if m.Output == nil {
		s.Todo, s.Run = append(s.Todo, "run there: "+strings.Join(s.Run, " ")), nil
		return nil
	}
	_, err := m.Output(ctx, s.Run[0], s.Run[1:]...)
	return err
}
