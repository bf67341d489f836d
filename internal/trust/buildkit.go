package trust

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"

	"github.com/pelletier/go-toml/v2"
)

// buildkitd reads its file once, at its start. Its table is added at the end
// of the file, where it cannot fall into another one; a table for the registry
// that is there already is a person's to change. BuildKit inside of Docker's
// engine reads the engine's certs.d and needs none of this.

func buildkitFound(m *Machine) bool {
	return m.OS == "linux" && (m.any("buildkitd") || m.any(m.etc("buildkit")))
}

func buildkitStep(m *Machine, h Host, a *Authority) (Step, error) {
	base := m.etc("buildkit")
	ca, err := m.certificate(base, path.Join(base, "certs.d", h.String()), h, a)
	if err != nil {
		return Step{}, err
	}
	f := File{Path: path.Join(base, "buildkitd.toml"), base: base, mode: 0o644}
	if f.before, err = m.read(f.Path); err != nil {
		return Step{}, err
	}
	stanza := []string{fmt.Sprintf("[registry.%q]", h), fmt.Sprintf("  ca = [%q]", ca.Path)}
	s := Step{Restart: m.restart("buildkit"), Note: "builders that buildx made read their file when they are made: see the guide"}
	s.Files, s.Todo = m.buildkitTable(h, f, ca, stanza)
	return s, nil
}

func (m *Machine) buildkitTable(h Host, f, ca File, stanza []string) ([]File, []string) {
	byHand := []string{fmt.Sprintf("put this into %s, then run '%s':\n%s\n%s", f.Path, m.restart("buildkit"), stanza[0], stanza[1])}
	registry, err := buildkitRegistry(f.before, h)
	if err != nil {
		f.Action, f.Why = Leave, fmt.Sprintf("it cannot be read: %v", err)
		return []File{ca, f}, byHand
	}
	if registry != nil && slices.Contains(registry.CA, ca.Path) {
		f.Action = Keep
		return []File{ca, f}, nil
	}
	rest, _, _ := cutBlock(string(f.before), h) // of an authority under another name
	if registry, err = buildkitRegistry([]byte(rest), h); err == nil && registry != nil {
		f.Action, f.Why = Leave, "somebody else wrote its table for "+h.String()
		return []File{ca, f}, byHand
	}
	after := insertBlock(rest, len(split(rest)), "", h, stanza)
	if registry, err := buildkitRegistry([]byte(after), h); err != nil || registry == nil {
		f.Action, f.Why = Leave, "a table cannot be added to it"
		return []File{ca, f}, byHand
	}
	f.Content = blockOf(after, h)
	return []File{ca, edited(f, after)}, nil
}

func buildkitUndo(m *Machine, h Host) (Step, error) {
	base := m.etc("buildkit")
	files, err := m.undoBlock(File{Path: path.Join(base, "buildkitd.toml"), base: base}, h, nil)
	if err != nil {
		return Step{}, err
	}
	certificates, err := m.undoCertificate(base, path.Join(base, "certs.d", h.String()), h)
	return Step{Files: append(files, certificates...), Restart: m.restart("buildkit")}, err
}

type buildkitTable struct {
	CA       []string `toml:"ca"`
	Insecure bool     `toml:"insecure"`
	HTTP     bool     `toml:"http"`
}

func buildkitRegistry(text []byte, h Host) (*buildkitTable, error) {
	var c struct {
		Registry map[string]*buildkitTable `toml:"registry"`
	}
	if err := toml.Unmarshal(text, &c); err != nil {
		return nil, err
	}
	return c.Registry[h.String()], nil
}

// restart is the command that restarts a service of the system or the user.
func (m *Machine) restart(service string) string {
	if m.System {
		return "systemctl restart " + service
	}
	return "systemctl --user restart " + filepath.Base(service)
}
