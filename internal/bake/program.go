package bake

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	// Program is the name of the child's program.
	Program = "slipway-bake"
	// ProgramVariable names its file, where it is not beside this program.
	ProgramVariable = "SLIPWAY_BAKE"
)

// program finds the child's program: where the environment says, beside this
// one, or in PATH. It looks each time, so that one that is installed later is
// found.
func program() (string, error) {
	if named := os.Getenv(ProgramVariable); named != "" {
		path, err := exec.LookPath(named)
		if err != nil {
			return "", fmt.Errorf("%s is %s, which should be the program %s: %w", ProgramVariable, named, Program, err)
		}
		return filepath.Abs(path)
	}
	beside := "this program"
	if self, err := os.Executable(); err == nil {
		beside = self
		if path, err := exec.LookPath(filepath.Join(filepath.Dir(self), Program)); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(Program)
	if err != nil {
		return "", fmt.Errorf("bake and compose files are read by the program %s, which is neither beside %s nor in PATH: install it there, or name it in %s; a plain Dockerfile is built without it", Program, beside, ProgramVariable)
	}
	return filepath.Abs(path)
}
