// Package tree reads a folder as a build context: the list of what is in it,
// after the ignore patterns, with the hash of every file's content. The list
// is an input of the build (two folders with equal lists give the same image)
// and it is what the builder is sent.
//
// # What is an entry
//
// A path, a type, permission bits, and the content: bytes of a file, text of
// a symbolic link. Owners and times are not part of it: a fresh checkout has
// arbitrary ones, and builders ignore them. Empty folders are entries. A hard
// link is one more file with the same content. Fifos and devices are entries
// without content, as BuildKit transfers them. Sockets are left out: they
// exist only while some program runs, and BuildKit would turn them into empty
// files. Of the extended attributes those count that BuildKit counts.
//
// # Never outside, never stale
//
// Nothing follows a symbolic link, so that none leads out of the root. A
// tree is a snapshot of the metadata and the hashes; the bytes stay in the
// folder. Whoever reads them later through FS gets those that were hashed, or
// an error that says that the file changed.
//
// # Hashing once
//
// A [Cache] remembers the hash of a file by its path together with device,
// inode, size, and the times of change in nanoseconds. A program can set a
// file's modification time but not its ctime, so that the same stamp means the
// same bytes, unless the file was written within the clock's resolution of
// being hashed: such "racily clean" hashes are used but not remembered (as in
// git's index).
package tree

import (
	"errors"
	"fmt"

	"slipway/internal/oci"
)

// Errors that callers tell apart. What Load returns wraps them with the place.
var (
	// ErrTooLarge says that the folder is over a limit of Options.
	ErrTooLarge = errors.New("build context is too large")
	// ErrChanged says that a file was changed by somebody while it was needed.
	ErrChanged = errors.New("changed while the build was running")
)

// Type is what kind of thing an entry is.
type Type uint8

// The types of entries.
const (
	File Type = iota + 1
	Dir
	Symlink
	Fifo
	CharDevice
	BlockDevice
)

var typeNames = [...]string{File: "file", Dir: "dir", Symlink: "symlink", Fifo: "fifo", CharDevice: "char", BlockDevice: "block"}

// String is the word that Encode writes.
func (t Type) String() string {
	if t == 0 || int(t) >= len(typeNames) {
		return fmt.Sprintf("type(%d)", uint8(t))
	}
	return typeNames[t]
}

// Entry is one path of a tree.
type Entry struct {
	Path   string            // relative to the root, with slashes; never "."
	Type   Type              //
	Mode   uint32            // permission bits as in Unix, with setuid, setgid and sticky (0o7777)
	Size   int64             // of a file, in bytes; 0 for the others
	Link   string            // text of a symbolic link; "major:minor" of a device
	Digest oci.Digest        // sha256 of a file's content
	Xattrs map[string][]byte // nil when there are none; not to be changed
}

// Tree is a folder at one moment. It is immutable and safe for concurrent use.
type Tree struct {
	root    string
	entries []Entry // in the order of a walk, see compare
	stamps  []stamp // of the entry with the same index
}

// Root is the absolute path of the folder, without symbolic links.
func (t *Tree) Root() string { return t.root }

// Entries lists everything, every folder before what is in it, names within a
// folder in byte order. The caller must not change the list.
func (t *Tree) Entries() []Entry { return t.entries }

// Size is the total of the files' sizes in bytes.
func (t *Tree) Size() int64 {
	var n int64
	for i := range t.entries {
		n += t.entries[i].Size
	}
	return n
}

// compare orders paths as a walk meets them: by component, so that "a/b" comes
// before "a.b". Builders insist on it.
func compare(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		switch {
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		case a[i] < b[i]:
			return -1
		}
		return 1
	}
	return len(a) - len(b)
}
