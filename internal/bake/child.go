package bake

import (
	"encoding/json"
	"errors"
	"io"
	"runtime/debug"
)

// ChildArg is the first argument of an executable that is to be the child: its
// main function calls Child before anything else.
const ChildArg = "slipway-read-project"

// task is what the child is asked.
type task struct {
	Request
	Root   string              `json:"root"`
	Mode   isolation           `json:"mode"`
	Inline map[string]string   `json:"inline,omitempty"` // files that the checkout does not have
	Gates  map[string][]string `json:"gates,omitempty"`
}

// answer is what the child says.
type answer struct {
	Project *Project `json:"project,omitempty"`
	// NotIsolated asks for another attempt, with less isolation.
	NotIsolated string `json:"notIsolated,omitempty"`
	Error       *Error `json:"error,omitempty"`
}

// Limits of the child.
const (
	childMemory  = 768 << 20 // bytes of data; it is ended beyond
	childSeconds = 20        // of processor time
	maxAnswer    = 32 << 20
)

// Child reads a task, and writes what it finds. The process shuts itself in
// before it looks at anything of the project: it is of no use for other work
// afterwards.
func Child(stdin io.Reader, stdout io.Writer) error {
	var t task
	if err := json.NewDecoder(stdin).Decode(&t); err != nil {
		return err
	}
	debug.SetMemoryLimit(childMemory / 2)
	if err := isolate(t.Root, t.Mode); err != nil {
		return json.NewEncoder(stdout).Encode(answer{NotIsolated: err.Error()})
	}
	project, err := parseProject(t)
	a := answer{Project: project}
	if err != nil {
		a = answer{}
		if !errors.As(err, &a.Error) {
			a.Error = &Error{Message: err.Error()}
		}
	}
	return json.NewEncoder(stdout).Encode(a)
}
