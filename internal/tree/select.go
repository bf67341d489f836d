package tree

import (
	"context"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/tonistiigi/fsutil"
)

// Select lists the entries that COPY and ADD with these sources can read, in
// the order of the tree: what a source or its wildcards match, all that is in
// a folder, the folders above, and symbolic links on the way with what they
// lead to. "." and "/" are everything; no sources are nothing.
//
// It is what BuildKit would ask for (its FollowPaths), which is at times more
// than what COPY then takes, never less. A source that it cannot interpret
// selects everything.
func (t *Tree) Select(sources []string) []Entry {
	if len(sources) == 0 {
		return nil
	}
	paths := make([]string, len(sources))
	for i, s := range sources {
		paths[i] = clean(s)
		// The filter takes "!" for the opposite; a source means a name.
		if paths[i] == "" || strings.HasPrefix(paths[i], "!") {
			return t.entries
		}
	}
	filtered, err := fsutil.NewFilterFS(&entryFS{entries: t.entries}, &fsutil.FilterOpt{FollowPaths: paths})
	if err != nil {
		return t.entries
	}
	var selected []Entry
	next := 0
	err = filtered.Walk(context.Background(), "/", func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path = filepath.ToSlash(path)
		for t.entries[next].Path != path {
			next++
		}
		selected = append(selected, t.entries[next])
		return nil
	})
	if err != nil {
		return t.entries
	}
	return selected
}
