package certs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// write replaces a file as a whole. When it returns, the new content survives
// a loss of power.
func write(path string, content []byte, mode fs.FileMode) error {
	if err := replace(path, content, mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// sweep removes what a crash left of writing. Nothing else may be writing.
func sweep(folder string, names ...string) {
	for _, name := range names {
		left, _ := filepath.Glob(filepath.Join(folder, "."+name+".*")) // the pattern is good
		for _, path := range left {
			_ = os.Remove(path)
		}
	}
}

func replace(path string, content []byte, mode fs.FileMode) (err error) {
	folder := filepath.Dir(path)
	f, err := os.CreateTemp(folder, "."+filepath.Base(path)+".*") // only its owner may read it
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(folder)
	if err != nil {
		return nil // the name is there, only its durability is not certain
	}
	defer d.Close()
	_ = d.Sync() // some file systems cannot
	return nil
}
