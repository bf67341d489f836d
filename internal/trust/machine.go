package trust

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Machine is where trust is written. Paths in plans are those of its programs;
// the files are below Root.
type Machine struct {
	// Root is a folder that holds the machine's files, for one that is being
	// made or tested; empty: this machine.
	Root string
	// OS is a runtime.GOOS.
	OS string
	// System reports that the programs of root are meant; otherwise those of
	// one user, which have their places below Home and Config.
	System bool
	Home   string
	Config string // the user's XDG configuration folder
	// Runtime is the user's XDG runtime folder, with the sockets of what runs.
	Runtime string
	// Installed reports whether a program is on the path.
	Installed func(program string) bool
	// Output runs a program and returns what it prints. Nil: it cannot.
	Output func(ctx context.Context, program string, args ...string) (string, error)
}

// ThisMachine is the one that the process runs on. With a root, it is one
// whose files are below that folder, and whose programs cannot be run.
func ThisMachine(root string) (*Machine, error) {
	if root != "" {
		abs, err := filepath.Abs(root)
		if err != nil {
			return nil, err
		}
		m := &Machine{Root: abs, OS: "linux", System: true, Home: "/root", Config: "/root/.config"}
		m.Installed = m.installedBelow
		return m, nil
	}
	m := &Machine{OS: runtime.GOOS, System: os.Geteuid() == 0, Runtime: os.Getenv("XDG_RUNTIME_DIR"), Installed: onPath, Output: output}
	var err error
	if m.Home, err = os.UserHomeDir(); err != nil {
		return nil, fmt.Errorf("find the home folder: %w", err)
	}
	if m.Config = os.Getenv("XDG_CONFIG_HOME"); !filepath.IsAbs(m.Config) {
		m.Config = filepath.Join(m.Home, ".config")
	}
	return m, nil
}

func onPath(program string) bool {
	if _, err := exec.LookPath(program); err == nil {
		return true
	}
	// Where daemons are, which users' paths may leave out.
	for _, dir := range []string{"/usr/sbin", "/usr/local/bin", "/usr/local/sbin"} {
		if _, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return true
		}
	}
	return false
}

func (m *Machine) installedBelow(program string) bool {
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin", "/sbin"} {
		if m.exists(filepath.Join(dir, program)) {
			return true
		}
	}
	return false
}

func output(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(append([]string{program}, args...), " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// any reports whether a program is installed or a path exists.
func (m *Machine) any(programsOrPaths ...string) bool {
	for _, name := range programsOrPaths {
		if filepath.IsAbs(name) && m.exists(name) || !filepath.IsAbs(name) && m.Installed(name) {
			return true
		}
	}
	return false
}

func (m *Machine) exists(path string) bool {
	_, err := os.Stat(m.path(path))
	return err == nil
}

// path is where a machine's file is for this process.
func (m *Machine) path(path string) string {
	if m.Root == "" {
		return path
	}
	return filepath.Join(m.Root, path)
}

// read returns a file's content, nil if there is none.
func (m *Machine) read(path string) ([]byte, error) {
	b, err := os.ReadFile(m.path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if b == nil {
		b = []byte{}
	}
	return b, err
}

// etc is where programs of root, or of the user, keep their configuration.
func (m *Machine) etc(name string) string {
	if m.System {
		return "/etc/" + name
	}
	return filepath.Join(m.Config, name)
}
