package trust

import (
	"fmt"
	"path"
	"slices"
)

// certificates are the names under which trust puts an authority into a
// folder. Docker and Podman read every .crt file there, so another's ca.crt
// can stay.
var certificates = []string{"ca.crt", "slipway.crt"}

// certificate plans the file of the authority in a folder for h below base,
// and returns its path.
func (m *Machine) certificate(base, folder string, h Host, a *Authority) (File, error) {
	var free *File
	for _, name := range certificates {
		f := File{Path: path.Join(folder, name), base: base, mode: 0o644, folder: true}
		content, err := m.read(f.Path)
		if err != nil {
			return f, err
		}
		f.before = content
		if there, err := NewAuthority(content); err == nil && there.cert.Equal(a.cert) {
			f.Action = Keep
			return f, nil
		}
		if free != nil {
			continue
		}
		old := ours(h, content)
		if content != nil && old == nil {
			continue // of somebody else
		}
		f.Action, f.after = Write, string(a.file(h))
		f.Content = f.after
		if old != nil {
			f.Why = "in place of " + old.Fingerprint()
		} else if name != certificates[0] {
			f.Why = certificates[0] + " is of another authority, and stays"
		}
		free = &f
	}
	if free == nil {
		return File{
			Path: path.Join(folder, certificates[0]), base: base, Action: Leave,
			Why: fmt.Sprintf("it and %s are of other authorities: take away what no longer counts", certificates[1]),
		}, nil
	}
	return *free, nil
}

// undoCertificate plans to take back what certificate wrote into a folder.
func (m *Machine) undoCertificate(base, folder string, h Host) ([]File, error) {
	var files []File
	for _, name := range certificates {
		f := File{Path: path.Join(folder, name), base: base, folder: true, Action: Remove}
		content, err := m.read(f.Path)
		if err != nil {
			return nil, err
		}
		if content == nil {
			continue
		}
		f.before = content
		if ours(h, content) == nil {
			f.Action, f.Why = Leave, "trust did not write it like this"
		}
		files = append(files, f)
	}
	return files, nil
}

// whole plans a file that is trust's alone: one of the older contents is
// replaced, another's file is left.
func (m *Machine) whole(base, name, content string, older []string, why string) (File, error) {
	f := File{Path: name, base: base, mode: 0o644, folder: true, Action: Write, Content: content, after: content}
	var err error
	if f.before, err = m.read(name); err != nil {
		return f, err
	}
	switch {
	case f.before == nil:
	case string(f.before) == content:
		f.Action, f.Content = Keep, ""
	case slices.Contains(older, string(f.before)):
		f.Why = "in place of an older one of trust's"
	default:
		f.Action, f.Content, f.Why = Leave, "", why
	}
	return f, nil
}
