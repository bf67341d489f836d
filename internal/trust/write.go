package trust

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
)

// open returns the folder that a file may not leave, by a link or otherwise,
// and the file's name below it.
func (m *Machine) open(f File, create bool) (*os.Root, string, error) {
	base := m.path(f.base)
	if create {
		if err := os.MkdirAll(base, 0o755); err != nil {
			return nil, "", err
		}
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return nil, "", err
	}
	rel, ok := strings.CutPrefix(filepath.ToSlash(f.Path), filepath.ToSlash(f.base)+"/")
	if !ok {
		return nil, "", errors.Join(fmt.Errorf("%s is not in %s", f.Path, f.base), root.Close())
	}
	return root, rel, nil
}

// write replaces a file at once: readers see the old or the new one. It keeps
// the mode and owner of a file that was there.
func (m *Machine) write(f File) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", f.Path, err)
		}
	}()
	root, rel, err := m.open(f, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if err := root.MkdirAll(path.Dir(rel), 0o755); err != nil {
		return err
	}
	was, err := unchanged(root, rel, f.before)
	if err != nil {
		return err
	}
	temporary := path.Join(path.Dir(rel), "."+path.Base(rel)+"."+uuid.NewString())
	file, err := root.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = root.Remove(temporary) // what failed before matters more
		}
	}()
	_, err = file.WriteString(f.after)
	if err == nil {
		err = dress(file, was, f.mode)
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return root.Rename(temporary, rel)
}

// dress gives a new file the mode and owner of the one that it replaces.
func dress(file *os.File, was fs.FileInfo, mode fs.FileMode) error {
	if was == nil {
		return file.Chmod(mode)
	}
	if err := sameOwner(file, was); err != nil {
		return err
	}
	return file.Chmod(was.Mode().Perm())
}

// unchanged checks that a file is what the plan was made from, and no link,
// whose target would be replaced by a file of its own.
func unchanged(root *os.Root, rel string, before []byte) (fs.FileInfo, error) {
	info, err := root.Lstat(rel)
	if errors.Is(err, fs.ErrNotExist) && before == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a plain file")
	}
	now, err := root.ReadFile(rel)
	if err != nil {
		return nil, err
	}
	if before == nil || !bytes.Equal(now, before) {
		return nil, errors.New("somebody changed it meanwhile: run the command again")
	}
	return info, nil
}

// remove takes a file away, and its folder if nothing else is in there.
func (m *Machine) remove(f File) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("remove %s: %w", f.Path, err)
		}
	}()
	root, rel, err := m.open(f, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if _, err := unchanged(root, rel, f.before); err != nil {
		return err
	}
	if err := root.Remove(rel); err != nil {
		return err
	}
	if f.folder {
		_ = root.Remove(path.Dir(rel)) // it has something else in it
	}
	return nil
}
