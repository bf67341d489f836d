package mask

// matcher finds many patterns at once while it reads each byte once
// (Aho and Corasick, 1975). A state is a node of the tree of all patterns: the
// longest end of the text read so far that begins a pattern.
//
// Text without secrets stays in the two shallowest levels: as long as no two
// bytes in a row begin a pattern, skip passes over it without following states.
// The transitions of these levels are tables. Deeper nodes, nearly all of them with one child, are lists, so
// that a long key costs 24 bytes for each of its bytes and not a table.
type matcher struct {
	nodes   []node
	shallow [][256]int32         // transitions of the root and its children, which come first in nodes
	pairs   [1 << 16 / 64]uint64 // a bit for each two bytes that begin a pattern
}

type node struct {
	child, sibling int32 // 0: none
	fail           int32 // the longest proper end of this node's text that is a node
	depth          int32 // length of this node's text: how much of the input may yet become a match
	match          int32 // length of the longest pattern that ends here; 0: none
	label          byte
}

// newMatcher takes patterns of two or more bytes.
func newMatcher(patterns [][]byte) *matcher {
	m := &matcher{nodes: make([]node, 1)}
	for _, p := range patterns {
		m.child(0, p[0]) // all of depth one before any deeper, so that they are numbered first
		pair := uint16(p[0])<<8 | uint16(p[1])
		m.pairs[pair/64] |= 1 << (pair % 64)
	}
	m.shallow = make([][256]int32, len(m.nodes))
	for _, p := range patterns {
		at := int32(0)
		for _, c := range p {
			at = m.child(at, c)
		}
		m.nodes[at].match = int32(len(p))
	}
	m.link()
	return m
}

// child is the child of a node by label, made if need be.
func (m *matcher) child(of int32, label byte) int32 {
	if c := m.find(of, label); c != 0 {
		return c
	}
	c := int32(len(m.nodes))
	m.nodes = append(m.nodes, node{label: label, depth: m.nodes[of].depth + 1, sibling: m.nodes[of].child})
	m.nodes[of].child = c
	return c
}

func (m *matcher) find(of int32, label byte) int32 {
	c := m.nodes[of].child
	for c != 0 && m.nodes[c].label != label {
		c = m.nodes[c].sibling
	}
	return c
}

// link sets the fail links, breadth first, and then the tables, which need
// them.
func (m *matcher) link() {
	queue := make([]int32, 1, len(m.nodes))
	for i := 0; i < len(queue); i++ {
		of := queue[i]
		for c := m.nodes[of].child; c != 0; c = m.nodes[c].sibling {
			queue = append(queue, c)
			if of != 0 {
				m.nodes[c].fail = m.walk(m.nodes[of].fail, m.nodes[c].label)
			}
			if m.nodes[c].match == 0 {
				m.nodes[c].match = m.nodes[m.nodes[c].fail].match
			}
		}
		if int(of) < len(m.shallow) {
			for b := range 256 {
				m.shallow[of][b] = m.walk(of, byte(b))
			}
		}
	}
}

// walk is next without the tables.
func (m *matcher) walk(at int32, c byte) int32 {
	for {
		if to := m.find(at, c); to != 0 || at == 0 {
			return to
		}
		at = m.nodes[at].fail
	}
}

// next is the state after one more byte.
func (m *matcher) next(at int32, c byte) int32 {
	for int(at) >= len(m.shallow) {
		if to := m.find(at, c); to != 0 {
			return to
		}
		at = m.nodes[at].fail
	}
	return m.shallow[at][c]
}

// skip is the first place from i on, i > 0, where a byte and the one before it
// begin a pattern, else len(p). No pattern may have begun earlier.
func (m *matcher) skip(p []byte, i int) int {
	pair := uint16(p[i-1])
	for ; i < len(p); i++ {
		pair = pair<<8 | uint16(p[i])
		if m.pairs[pair/64]>>(pair%64)&1 != 0 {
			break
		}
	}
	return i
}
