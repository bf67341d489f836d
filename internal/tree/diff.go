package tree

import (
	"bytes"
	"maps"
)

// What says how an entry differs.
type What string

// What can differ. A change of the type hides the others.
const (
	Added   What = "added"
	Removed What = "removed"
	Retyped What = "type"
	Content What = "content"
	Mode    What = "mode"
	Link    What = "link"
	Xattrs  What = "xattrs"
)

// Change is one difference between two trees.
type Change struct {
	Path string
	What What
}

// Diff lists what became of the old entries, in the order of the paths. Both
// lists are in the order of Entries. An entry that differs in several ways is
// listed several times.
func Diff(before, after []Entry) []Change {
	var changes []Change
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && compare(before[0].Path, after[0].Path) < 0:
			changes = append(changes, Change{before[0].Path, Removed})
			before = before[1:]
		case len(before) == 0 || compare(before[0].Path, after[0].Path) > 0:
			changes = append(changes, Change{after[0].Path, Added})
			after = after[1:]
		default:
			changes = appendDifferences(changes, &before[0], &after[0])
			before, after = before[1:], after[1:]
		}
	}
	return changes
}

func appendDifferences(changes []Change, before, after *Entry) []Change {
	if before.Type != after.Type {
		return append(changes, Change{after.Path, Retyped})
	}
	for _, d := range []struct {
		differ bool
		what   What
	}{
		{before.Digest != after.Digest || before.Size != after.Size, Content},
		{before.Mode != after.Mode, Mode},
		{before.Link != after.Link, Link},
		{!maps.EqualFunc(before.Xattrs, after.Xattrs, bytes.Equal), Xattrs},
	} {
		if d.differ {
			changes = append(changes, Change{after.Path, d.what})
		}
	}
	return changes
}
