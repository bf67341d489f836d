package bake

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// DefaultIgnoreFile is the ignore file of a context, in its root.
const DefaultIgnoreFile = ".dockerignore"

// maxIgnore is more than any person writes.
const maxIgnore = 4 << 20

// IgnoreFile gives the ignore files that BuildKit would choose from, the first
// that exists: the Dockerfile's own, beside it, and then the one in the root of
// the context. Both paths are relative to the checkout.
func IgnoreFile(dockerfile, context string) []string {
	list := []string{path.Join(context, DefaultIgnoreFile)}
	if dockerfile == "" {
		return list
	}
	return append([]string{dockerfile + DefaultIgnoreFile}, list...)
}

// ReadIgnore reads the ignore file that BuildKit would choose, and gives its
// path ("" when there is none) and patterns. An empty Dockerfile's own file
// makes BuildKit look at the context's.
func ReadIgnore(checkout *os.Root, dockerfile, context string) (file string, patterns []string, err error) {
	for _, name := range IgnoreFile(dockerfile, context) {
		content, err := readRegular(checkout, name, maxIgnore)
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(content) == 0 {
			continue
		}
		if err != nil {
			return "", nil, &Error{Position{File: name}, "cannot be read: " + Reason(err)}
		}
		patterns, err := ParseIgnore(name, content)
		return name, patterns, err
	}
	return "", nil, nil
}

// ParseIgnore reads the patterns of an ignore file.
func ParseIgnore(name string, content []byte) ([]string, error) {
	patterns, err := ignorefile.ReadAll(bytes.NewReader(content))
	if err == nil {
		_, err = patternmatcher.New(patterns)
	}
	if err != nil {
		return nil, &Error{Position{File: name}, "is not an ignore file: " + err.Error()}
	}
	return patterns, nil
}
