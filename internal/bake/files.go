package bake

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// MaxFile is more than a bake, compose or settings file has that a person wrote.
const MaxFile = 4 << 20

// readRegular reads a file of the checkout. Links are followed within it only;
// a device or pipe is refused rather than waited for.
func readRegular(checkout *os.Root, name string, most int64) ([]byte, error) {
	info, err := checkout.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	if info.Size() > most {
		return nil, fmt.Errorf("it has %d bytes, more than the %d that are allowed", info.Size(), most)
	}
	f, err := checkout.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// exists says whether the checkout has a regular file of that name.
func exists(checkout *os.Root, name string) bool {
	info, err := checkout.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// Reason is an error of the file system without the operation and path.
func Reason(err error) string {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "it does not exist"
	}
	return err.Error()
}

// Within cleans a path of a project's file. It must lead to a place inside of
// the checkout, whose absolute path dir is; whether it does so through links,
// too, is for Check to see.
func Within(dir, name string) (string, bool) {
	if filepath.IsAbs(name) {
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return "", false
		}
		name = rel
	}
	name = path.Clean(filepath.ToSlash(name))
	return name, name != ".." && !strings.HasPrefix(name, "../")
}
