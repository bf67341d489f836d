package trust

import (
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// k3s and RKE2 write containerd's configuration themselves when they start,
// from registries.yaml. It may hold credentials and other people's comments, so
// lines are put into its text, rather than the text being made anew.

// configsLine is what trust adds if the file has no configs yet. It stands
// outside of a registry's block, since others' entries may come below it.
const configsLine = "configs: # slipway trust"

func k3s(name, service string) tool {
	base := "/etc/rancher/" + name
	file := File{Path: base + "/registries.yaml", base: base, mode: 0o600}
	folder := func(h Host) string { return path.Join(base, "certs.d", h.String()) }
	return tool{
		name:  name,
		found: func(m *Machine) bool { return m.OS == "linux" && m.System && m.any(name, base) },
		step: func(m *Machine, h Host, a *Authority) (Step, error) {
			if !m.System {
				return Step{Todo: []string{name + " is root's: run 'sudo slipway trust " + h.String() + "'"}}, nil
			}
			ca, err := m.certificate(base, folder(h), h, a)
			if err != nil {
				return Step{}, err
			}
			f := file
			if f.before, err = m.read(f.Path); err != nil {
				return Step{}, err
			}
			s := Step{Restart: "systemctl restart " + service, Note: "on a node that is only an agent, the service is " + strings.TrimSuffix(service, "-server") + "-agent"}
			text, _, _ := cutBlock(string(f.before), h)
			after, err := addConfig(text, h, ca.Path)
			if err != nil {
				f.Action, f.Why = Leave, err.Error()
				s.Todo = []string{fmt.Sprintf("put this into %s, then run '%s':\n%s", f.Path, s.Restart, strings.Join(k3sLines(h, ca.Path, 0), "\n"))}
			} else {
				if f = edited(f, after); f.Action == Write {
					f.Content = blockOf(after, h)
				}
			}
			s.Files = []File{ca, f}
			return s, nil
		},
		undo: func(m *Machine, h Host) (Step, error) {
			if !m.System {
				return Step{}, nil // it may not even be read
			}
			files, err := m.undoBlock(file, h, cleanConfigs)
			if err != nil {
				return Step{}, err
			}
			certificates, err := m.undoCertificate(base, folder(h), h)
			return Step{Files: append(files, certificates...), Restart: "systemctl restart " + service}, err
		},
	}
}

// k3sLines are the lines of an entry, without those of its first levels that
// are there already: configs, the registry, tls.
func k3sLines(h Host, ca string, there int) []string {
	lines := []string{"configs:", fmt.Sprintf("%q:", h), "tls:", fmt.Sprintf("ca_file: %q", ca)}[there:]
	for i := range lines {
		lines[i] = strings.Repeat("  ", i) + lines[i]
	}
	return lines
}

// addConfig returns registries.yaml with the registry's authority in it; the
// same text if it names it already. The error says why a person has to do it.
func addConfig(text string, h Host, ca string) (string, error) {
	before, err := decodeYAML(text)
	if err != nil {
		return "", fmt.Errorf("it cannot be read: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return "", fmt.Errorf("it cannot be read: %w", err)
	}
	var after string
	if len(doc.Content) == 0 {
		after = appendConfigs(text, h, ca)
	} else if after, err = insertConfig(text, doc.Content[0], h, ca); err != nil {
		return "", err
	}
	// The text was edited by its lines; what it means is checked.
	now, err := decodeYAML(after)
	if err != nil {
		return "", fmt.Errorf("its form is not one that lines can be added to (%w)", err)
	}
	if takeConfig(now, h) != ca {
		return "", errors.New("its form is not one that lines can be added to")
	}
	takeConfig(before, h)
	if !reflect.DeepEqual(before, now) {
		return "", errors.New("its form is not one that lines can be added to")
	}
	return after, nil
}

func appendConfigs(text string, h Host, ca string) string {
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	text += configsLine + "\n"
	return insertBlock(text, len(split(text)), "  ", h, k3sLines(h, ca, 1))
}

// insertConfig goes down as far as the entry is there, and puts the rest below.
func insertConfig(text string, at *yaml.Node, h Host, ca string) (string, error) {
	var above *yaml.Node // the key whose value is looked at
	for depth, name := range []string{"configs", h.String(), "tls", "ca_file"} {
		if at.Kind != yaml.MappingNode || at.Style&yaml.FlowStyle != 0 || len(at.Content) == 0 {
			return "", fmt.Errorf("what is above %s on line %d is not written line by line", name, at.Line)
		}
		i := indexKey(at, name)
		switch {
		case i < 0 && depth == 0:
			return appendConfigs(text, h, ca), nil
		case i < 0:
			// Right below the key: the first entry may be in a block of its own.
			return insertBlock(text, above.Line, strings.Repeat(" ", at.Content[0].Column-1), h, k3sLines(h, ca, depth)), nil
		case depth == 3 && at.Content[i+1].Value == ca:
			return text, nil
		case depth == 3:
			return "", fmt.Errorf("its entry for %s names another ca_file, %s", h, at.Content[i+1].Value)
		}
		key, value := at.Content[i], at.Content[i+1]
		if value.Tag == "!!null" && value.Value == "" {
			return insertBlock(text, key.Line, strings.Repeat(" ", key.Column+1), h, k3sLines(h, ca, depth+1)), nil
		}
		above, at = key, value
	}
	return text, nil
}

// indexKey is where a mapping's key is among its Content, in which keys and
// values take turns; -1 if it has no such key.
func indexKey(mapping *yaml.Node, name string) int {
	for i := 0; i < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return i
		}
	}
	return -1
}

// cleanConfigs takes out the line that appendConfigs added, if nothing is
// below it any more.
func cleanConfigs(text string) string {
	lines := split(text)
	i := slices.Index(lines, configsLine)
	if i < 0 {
		return text
	}
	for _, l := range lines[i+1:] {
		if l != "" && l[0] == ' ' {
			return text
		}
		if strings.TrimSpace(l) != "" {
			break
		}
	}
	return join(slices.Delete(lines, i, i+1))
}

func decodeYAML(text string) (map[string]any, error) {
	m := map[string]any{}
	err := yaml.Unmarshal([]byte(text), &m)
	return m, err
}

// takeConfig removes the registry's ca_file, with the levels above that have
// nothing else, and returns it.
func takeConfig(m map[string]any, h Host) string {
	levels := []map[string]any{m}
	keys := []string{"configs", h.String(), "tls", "ca_file"}
	for _, k := range keys[:3] {
		below, ok := levels[len(levels)-1][k].(map[string]any)
		if !ok {
			below = map[string]any{}
		}
		levels = append(levels, below)
	}
	ca, _ := levels[3]["ca_file"].(string)
	delete(levels[3], "ca_file")
	for i := 2; i >= 0; i-- {
		if len(levels[i+1]) == 0 {
			delete(levels[i], keys[i])
		}
	}
	return ca
}
