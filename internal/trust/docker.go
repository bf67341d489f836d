package trust

import (
	"path"
	"path/filepath"
	"strings"
)

// Docker's engine looks into certs.d at each request. Where it runs decides
// which one: root's engine in /etc, a user's own below his configuration. The
// desktop programs run it in a virtual machine and take over what the host's
// system trusts.

func dockerFound(m *Machine) bool {
	return m.any("docker", "dockerd", "/etc/docker") || m.dockerRootless()
}

// dockerRootless reports whether the user runs an engine of his own.
func (m *Machine) dockerRootless() bool {
	if m.System {
		return false
	}
	places := []string{filepath.Join(m.Config, "docker/daemon.json"), filepath.Join(m.Config, "systemd/user/docker.service")}
	if m.Runtime != "" {
		places = append(places, filepath.Join(m.Runtime, "docker.sock"))
	}
	return m.any(places...)
}

func (m *Machine) dockerBase() string {
	if m.OS == "linux" {
		return m.etc("docker")
	}
	return filepath.Join(m.Home, ".docker")
}

func (m *Machine) dockerFolder(h Host) string {
	name := h.String()
	if m.OS == "windows" { // which has no colons in file names; Docker leaves them out, too
		name = strings.ReplaceAll(name, ":", "")
	}
	return path.Join(filepath.ToSlash(m.dockerBase()), "certs.d", name)
}

func dockerStep(m *Machine, h Host, a *Authority) (Step, error) {
	if m.OS == "linux" && !m.System && !m.dockerRootless() {
		return Step{Todo: []string{"Docker's engine is root's here: run 'sudo slipway trust " + h.String() + "'"}}, nil
	}
	f, err := m.certificate(filepath.ToSlash(m.dockerBase()), m.dockerFolder(h), h, a)
	s := Step{Files: []File{f}}
	switch m.OS {
	case "linux":
		s.Note = "the engine reads it at each request"
		if !m.System {
			s.Note = "your own engine reads it at each request; one of root's needs 'sudo slipway trust " + h.String() + "'"
		}
	case "darwin":
		s.Todo = []string{
			"security add-trusted-cert -r trustRoot -k ~/Library/Keychains/login.keychain-db '" + f.Path + "'",
			"restart Docker Desktop, which takes it over from the keychain",
		}
	case "windows":
		s.Todo = []string{
			`certutil -user -addstore Root "` + filepath.FromSlash(f.Path) + `"`,
			"restart Docker Desktop, which takes it over from the certificate store",
		}
	}
	return s, err
}

func dockerUndo(m *Machine, h Host) (Step, error) {
	files, err := m.undoCertificate(filepath.ToSlash(m.dockerBase()), m.dockerFolder(h), h)
	return Step{Files: files}, err
}
