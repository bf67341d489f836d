// Package reader evaluates the bake and compose files of one project, in the
// process that package bake starts for it: the program slipway-bake. Buildx's
// own code does so, and all that comes with it stays out of the program slipway.
//
// The process waits for its task before it knows any project, so that it can be
// started ahead. It then shuts itself in, in the project's checkout and within
// limits of memory and time, and only after that looks at a file of it.
package reader

import (
	"encoding/json"
	"errors"
	"io"
	"runtime/debug"

	"slipway/internal/bake"
)

// Run reads a task, and writes what it finds. An input that ends without one
// asks for nothing. The process is of no use for other work afterwards.
func Run(stdin io.Reader, stdout io.Writer) error {
	var t bake.Task
	if err := json.NewDecoder(stdin).Decode(&t); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	return json.NewEncoder(stdout).Encode(answer(&t))
}

func answer(t *bake.Task) bake.Answer {
	if t.Version != bake.TaskVersion {
		return bake.Answer{OtherVersion: bake.TaskVersion}
	}
	debug.SetMemoryLimit(bake.ChildMemory / 2)
	if err := isolate(t.Root, t.Mode); err != nil {
		return bake.Answer{NotIsolated: err.Error()}
	}
	project, err := evaluate(t)
	if err == nil {
		return bake.Answer{Project: project}
	}
	var wrong *bake.Error
	if !errors.As(err, &wrong) {
		wrong = &bake.Error{Message: err.Error()}
	}
	return bake.Answer{Error: wrong}
}

// mistake is an error of the project.
func mistake(at bake.Position, message string) *bake.Error {
	return &bake.Error{Position: at, Message: message}
}
