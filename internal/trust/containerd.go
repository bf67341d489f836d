package trust

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// containerd reads certs.d/HOST/hosts.toml at each pull, but Kubernetes' half
// of it (CRI) only if config_path says where: since containerd 2.2 by default,
// before that after a change of config.toml and a restart.

func containerdFound(m *Machine) bool {
	return m.OS == "linux" && (m.any("containerd", "nerdctl", "/etc/containerd") || !m.System && m.any(filepath.Join(m.Config, "containerd")))
}

func (m *Machine) containerdFolder(h Host) string {
	return path.Join(m.etc("containerd"), "certs.d", h.String())
}

// hostsFile is hosts.toml for a registry with an authority of its own.
func hostsFile(h Host, certificate string) string {
	return string(marker(h)) + fmt.Sprintf("server = \"https://%s\"\n\n[host.\"https://%s\"]\n  ca = %q\n", h, h, certificate)
}

func hostsFiles(h Host, folder string) []string {
	var all []string
	for _, c := range certificates {
		all = append(all, hostsFile(h, path.Join(folder, c)))
	}
	return all
}

func containerdStep(m *Machine, h Host, a *Authority) (Step, error) {
	base, folder := m.etc("containerd"), m.containerdFolder(h)
	ca, err := m.certificate(base, folder, h, a)
	if err != nil {
		return Step{}, err
	}
	hosts, err := m.whole(base, path.Join(folder, "hosts.toml"), hostsFile(h, ca.Path), hostsFiles(h, folder), "somebody else wrote it")
	if err != nil {
		return Step{}, err
	}
	s := Step{Files: []File{ca, hosts}, Note: "read at each pull; nerdctl looks there by itself, ctr with --hosts-dir " + path.Dir(folder)}
	if hosts.Action == Leave && !strings.Contains(string(hosts.before), ca.Path) {
		s.Todo = append(s.Todo, fmt.Sprintf("in %s, below [host.\"https://%s\"], add: ca = %q", hosts.Path, h, ca.Path))
	}
	if m.System {
		todo, err := m.configPath()
		if err != nil {
			return Step{}, err
		}
		s.Todo = append(s.Todo, todo...)
	}
	return s, nil
}

func containerdUndo(m *Machine, h Host) (Step, error) {
	base, folder := m.etc("containerd"), m.containerdFolder(h)
	files, err := m.undoCertificate(base, folder, h)
	if err != nil {
		return Step{}, err
	}
	hosts := File{Path: path.Join(folder, "hosts.toml"), base: base, folder: true, Action: Remove}
	if hosts.before, err = m.read(hosts.Path); err != nil {
		return Step{}, err
	}
	if hosts.before != nil {
		if !slices.Contains(hostsFiles(h, folder), string(hosts.before)) {
			hosts.Action, hosts.Why = Leave, "trust did not write it like this"
		}
		files = append(files, hosts)
	}
	return Step{Files: files}, nil
}

// criRegistry is the part of containerd's configuration that chooses between
// certs.d and the older settings.
type criRegistry struct {
	ConfigPath string         `toml:"config_path"`
	Mirrors    map[string]any `toml:"mirrors"`
	Configs    map[string]any `toml:"configs"`
}

const containerdConfig = "/etc/containerd/config.toml"

// configPath says what containerd's configuration lacks for Kubernetes' pulls
// to look into certs.d.
func (m *Machine) configPath() ([]string, error) {
	text, err := m.read(containerdConfig)
	if err != nil {
		return nil, err
	}
	registry, version, off, err := m.criRegistry(containerdConfig, text, 0)
	if err != nil {
		return []string{fmt.Sprintf("mend %s, which cannot be read: %v", containerdConfig, err)}, nil
	}
	const folder = "/etc/containerd/certs.d"
	table := criTables[max(version, 1)]
	switch {
	case off:
		return nil, nil // nothing but nerdctl and ctr pulls, and they know certs.d
	case slices.Contains(strings.Split(registry.ConfigPath, ":"), folder):
		return nil, nil
	case registry.ConfigPath != "":
		return []string{fmt.Sprintf("%s has config_path = %q in [%s]: add %s to it after a colon, then run 'systemctl restart containerd'", containerdConfig, registry.ConfigPath, table, folder)}, nil
	}
	old := registry.Mirrors != nil || registry.Configs != nil
	if !old && m.containerdAtLeast(2, 2) {
		return nil, nil // its default
	}
	if text == nil {
		version, table = 2, criTables[2]
		if m.containerdAtLeast(2, 0) {
			version, table = 3, criTables[3]
		}
	}
	stanza := fmt.Sprintf("[%s]\n  config_path = %q", table, folder)
	if text == nil {
		stanza = fmt.Sprintf("version = %d\n", version) + stanza
	}
	todo := fmt.Sprintf("once, for Kubernetes' pulls: put this into %s, then run 'systemctl restart containerd':\n%s", containerdConfig, stanza)
	if old {
		todo += "\nIt excludes mirrors and configs of the same table, which are there: move them to hosts.toml files first."
	}
	return []string{todo}, nil
}

// criTables are the tables of the registry's settings by configuration version.
var criTables = map[int]string{
	1: "plugins.cri.registry",
	2: `plugins."io.containerd.grpc.v1.cri".registry`,
	3: `plugins."io.containerd.cri.v1.images".registry`,
}

// criRegistry reads a configuration and the files that it imports. off reports
// that Kubernetes' half is switched off, as Docker's packages do.
func (m *Machine) criRegistry(name string, text []byte, depth int) (r criRegistry, version int, off bool, err error) {
	type images struct {
		Registry criRegistry `toml:"registry"`
	}
	var c struct {
		Version  int      `toml:"version"`
		Imports  []string `toml:"imports"`
		Disabled []string `toml:"disabled_plugins"`
		Plugins  struct {
			V1 images `toml:"cri"`
			V2 images `toml:"io.containerd.grpc.v1.cri"`
			V3 images `toml:"io.containerd.cri.v1.images"`
		} `toml:"plugins"`
	}
	if err := toml.Unmarshal(text, &c); err != nil {
		return r, 0, false, err
	}
	for _, p := range c.Disabled {
		off = off || p == "cri" || p == "io.containerd.grpc.v1.cri" || p == "io.containerd.cri.v1.images"
	}
	for _, of := range []images{c.Plugins.V1, c.Plugins.V2, c.Plugins.V3} {
		r.merge(of.Registry)
	}
	if depth > 3 { // they may import each other
		return r, c.Version, off, nil
	}
	for _, pattern := range c.Imports {
		if !path.IsAbs(pattern) {
			pattern = path.Join(path.Dir(name), pattern)
		}
		files, err := filepath.Glob(m.path(pattern))
		if err != nil {
			return r, 0, false, err
		}
		for _, file := range files {
			file = strings.TrimPrefix(file, m.Root)
			more, err := m.read(file)
			if err != nil {
				return r, 0, false, err
			}
			imported, _, o, err := m.criRegistry(file, more, depth+1)
			if err != nil {
				return r, 0, false, fmt.Errorf("%s: %w", file, err)
			}
			r.merge(imported)
			off = off || o
		}
	}
	return r, c.Version, off, nil
}

func (r *criRegistry) merge(more criRegistry) {
	if more.ConfigPath != "" {
		r.ConfigPath = more.ConfigPath
	}
	if more.Mirrors != nil {
		r.Mirrors = more.Mirrors
	}
	if more.Configs != nil {
		r.Configs = more.Configs
	}
}

var version = regexp.MustCompile(`\bv?(\d+)\.(\d+)\.\d+`)

// containerdAtLeast asks the program itself; one that cannot be asked is old.
func (m *Machine) containerdAtLeast(major, minor int) bool {
	if m.Output == nil {
		return false
	}
	text, err := m.Output(context.Background(), "containerd", "--version")
	found := version.FindStringSubmatch(text)
	if err != nil || found == nil {
		return false
	}
	a, _ := strconv.Atoi(found[1])
	b, _ := strconv.Atoi(found[2])
	return a > major || a == major && b >= minor
}
