package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// BuildKit ends a container when any process in it fails, and a health check
// that fails is no failure of its service. So a process with ReportExit in its
// environment always succeeds; what it came to is the end of its output.

// ReportExit is an entry of a process's environment.
const ReportExit = "SLIPWAY_EXIT=report"

// ExitMark comes before the exit code in such a process's output.
const ExitMark = "\nslipway-exit:"

// reports tells whether runc is to start a process in a container that reports
// its exit code, and takes the entry out of its environment.
func reports(args []string) (bool, error) {
	file := ""
	if !slices.Contains(args, "exec") {
		return false, nil
	}
	for i, arg := range args {
		if arg == "--process" && i+1 < len(args) {
			file = args[i+1]
		}
		if value, ok := strings.CutPrefix(arg, "--process="); ok {
			file = value
		}
	}
	if file == "" {
		return false, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	var p specs.Process
	if err := json.Unmarshal(raw, &p); err != nil {
		return false, fmt.Errorf("reading %s: %w", file, err)
	}
	if !slices.Contains(p.Env, ReportExit) {
		return false, nil
	}
	p.Env = slices.DeleteFunc(p.Env, func(e string) bool { return e == ReportExit })
	if raw, err = json.Marshal(p); err != nil {
		return false, err
	}
	return true, os.WriteFile(file, raw, 0o600)
}

// report runs runc and prints its exit code.
func report(runtime string, args []string) (int, error) {
	cmd := exec.Command(runtime, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 1, err
	}
	fmt.Printf("%s%d\n", ExitMark, cmd.ProcessState.ExitCode())
	return 0, nil
}
