package tree

// Narrow is the part of the tree that Select lists.
func (t *Tree) Narrow(sources []string) *Tree {
	entries := t.Select(sources)
	n := &Tree{root: t.root, entries: entries, stamps: make([]stamp, 0, len(entries))}
	i := 0
	for _, e := range entries {
		for t.entries[i].Path != e.Path {
			i++
		}
		n.stamps = append(n.stamps, t.stamps[i])
	}
	return n
}
