package trust

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// warnings names settings from before trust that leave connections to h
// without protection. A file that cannot be read is its own tool's to complain
// about.
func (m *Machine) warnings(h Host) []string {
	list := []string{}
	daemon := m.etc("docker") + "/daemon.json"
	if text, err := m.read(daemon); err == nil {
		var c struct {
			Insecure []string `json:"insecure-registries"`
		}
		if json.Unmarshal(text, &c) == nil {
			for _, entry := range c.Insecure {
				if covers(entry, h) {
					reload := "systemctl reload docker"
					if !m.System {
						reload = "systemctl --user reload docker"
					}
					list = append(list, fmt.Sprintf("%s has %s in insecure-registries, so Docker does not check the certificate: "+
						"it is no longer needed; take it out, then run '%s'", daemon, entry, reload))
				}
			}
		}
	}
	for _, file := range m.registriesConf() {
		if text, err := m.read(file); err == nil && insecureRegistry(text, h) {
			list = append(list, fmt.Sprintf("%s says that %s is insecure, so Podman, Buildah and Skopeo do not check the certificate: "+
				"it is no longer needed; take 'insecure = true' out", file, h))
		}
	}
	if text, err := m.read(m.etc("buildkit") + "/buildkitd.toml"); err == nil {
		if r, err := buildkitRegistry(text, h); err == nil && r != nil && (r.HTTP || r.Insecure) {
			list = append(list, fmt.Sprintf("%s/buildkitd.toml says that %s is insecure or plain HTTP: take that out of its table", m.etc("buildkit"), h))
		}
	}
	return list
}

// covers reports whether an entry of insecure-registries, a host or a network,
// means h.
func covers(entry string, h Host) bool {
	if entry == h.String() {
		return true
	}
	network, err := netip.ParsePrefix(entry)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(h.name)
	return err == nil && network.Contains(ip)
}

// registriesConf lists the files that Podman reads, the user's in place of the
// system's.
func (m *Machine) registriesConf() []string {
	base := m.podmanBase()
	if !m.exists(base + "/registries.conf") {
		base = "/etc/containers"
	}
	files := []string{base + "/registries.conf"}
	more, _ := filepath.Glob(m.path(base + "/registries.conf.d/*.conf")) // the pattern is well formed
	for _, f := range more {
		files = append(files, strings.TrimPrefix(f, m.Root))
	}
	return files
}

func insecureRegistry(text []byte, h Host) bool {
	var c struct {
		Registry []struct {
			Prefix   string `toml:"prefix"`
			Location string `toml:"location"`
			Insecure bool   `toml:"insecure"`
		} `toml:"registry"`
	}
	if toml.Unmarshal(text, &c) == nil {
		for _, r := range c.Registry {
			of := r.Location
			if of == "" {
				of = r.Prefix
			}
			if of, _, _ := strings.Cut(of, "/"); r.Insecure && of == h.String() {
				return true
			}
		}
	}
	var old struct {
		Registries struct {
			Insecure struct {
				Registries []string `toml:"registries"`
			} `toml:"insecure"`
		} `toml:"registries"`
	}
	if toml.Unmarshal(text, &old) == nil {
		for _, r := range old.Registries.Insecure.Registries {
			if r == h.String() {
				return true
			}
		}
	}
	return false
}
