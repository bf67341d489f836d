package trust

import (
	"path"
	"path/filepath"
)

// Podman, Buildah, Skopeo and CRI-O share a library. It looks at each request
// into certs.d of the user, then of the system, and takes the first that has a
// folder for the registry. The user's is below ~/.config, whatever XDG says.

func podmanFound(m *Machine) bool {
	return m.any("podman", "buildah", "skopeo", "crio", "/etc/containers")
}

func (m *Machine) podmanBase() string {
	if m.System {
		return "/etc/containers"
	}
	return filepath.ToSlash(filepath.Join(m.Home, ".config", "containers"))
}

func podmanStep(m *Machine, h Host, a *Authority) (Step, error) {
	if m.OS == "windows" {
		return Step{Todo: []string{"Podman runs in a virtual machine here: run 'slipway trust " + h.String() + "' in it, after 'podman machine ssh'"}}, nil
	}
	f, err := m.certificate(m.podmanBase(), path.Join(m.podmanBase(), "certs.d", h.String()), h, a)
	s := Step{Files: []File{f}, Note: "read at each request; Podman, Buildah and Skopeo share it"}
	if m.OS == "darwin" {
		s.Todo = []string{"Podman's virtual machine has its own: run 'slipway trust " + h.String() + "' in it, after 'podman machine ssh'"}
	}
	return s, err
}

func podmanUndo(m *Machine, h Host) (Step, error) {
	files, err := m.undoCertificate(m.podmanBase(), path.Join(m.podmanBase(), "certs.d", h.String()), h)
	return Step{Files: files}, err
}
