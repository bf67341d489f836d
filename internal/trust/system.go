package trust

import (
	"errors"
	"path"
)

// The system's authorities vouch for every name, not only for this registry's,
// and programs that run read them at their start. So trust writes there only
// when it is asked to.

// stores are the folders of authorities that systems have, and the program that
// makes the system's bundle of them.
var stores = []struct{ base, folder, program string }{
	{"/usr/local/share", "ca-certificates", "update-ca-certificates"}, // Debian, Ubuntu, Alpine
	{"/etc/pki/ca-trust", "source/anchors", "update-ca-trust"},        // Fedora, RHEL
	{"/etc/ca-certificates", "trust-source/anchors", "update-ca-trust"},
	{"/etc/pki/trust", "anchors", "update-ca-certificates"}, // SUSE
}

func systemStep(m *Machine, h Host, a *Authority) (Step, error) {
	file := "slipway-" + h.file() + ".crt"
	switch {
	case m.OS == "darwin":
		return Step{Todo: []string{"save https://" + h.String() + authorityPath + " as " + file + ", then run: sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain " + file}}, nil
	case m.OS == "windows":
		return Step{Todo: []string{"save https://" + h.String() + authorityPath + " as " + file + ", then run as administrator: certutil -addstore Root " + file}}, nil
	case !m.System:
		return Step{Todo: []string{"the system's authorities are root's: run 'sudo slipway trust --system " + h.String() + "'"}}, nil
	}
	for _, s := range stores {
		if !m.any(s.program) || !m.exists(s.base) {
			continue
		}
		f := File{Path: path.Join(s.base, s.folder, file), base: s.base, mode: 0o644}
		content, err := m.read(f.Path)
		if err != nil {
			return Step{}, err
		}
		f.before = content
		there, err := NewAuthority(content)
		switch {
		case err == nil && there.cert.Equal(a.cert):
			f.Action = Keep
		case content != nil && ours(h, content) == nil:
			f.Action, f.Why = Leave, "it is of another authority"
		default:
			f.Action, f.after = Write, string(a.file(h))
			f.Content = f.after
		}
		return Step{Files: []File{f}, Run: []string{s.program}, Note: "it now vouches for every name; programs that run see it after a restart"}, nil
	}
	return Step{}, errors.New("this system keeps its authorities in no place that trust knows: see its manual, and leave out --system")
}

func systemUndo(m *Machine, h Host) (Step, error) {
	var step Step
	if !m.System || m.OS != "linux" {
		return step, nil
	}
	for _, s := range stores {
		f := File{Path: path.Join(s.base, s.folder, "slipway-"+h.file()+".crt"), base: s.base, Action: Remove}
		var err error
		if f.before, err = m.read(f.Path); err != nil {
			return Step{}, err
		}
		if f.before == nil {
			continue
		}
		if ours(h, f.before) == nil {
			f.Action, f.Why = Leave, "trust did not write it like this"
		}
		step.Files, step.Run = append(step.Files, f), []string{s.program}
	}
	return step, nil
}
