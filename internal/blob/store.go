// Package blob keeps bytes. It knows nothing of repositories or of which bytes
// are wanted: only a row of the database says that a digest exists, where its
// bytes are and how many there are. A store therefore never lists what it
// serves, and whatever it holds without a row is garbage.
//
// An upload is a file (or an object in parts) that grows from its start. The
// caller keeps the store's State beside the upload's offset; the store keeps
// nothing in memory between calls, so an upload outlives the process. Commit
// turns an upload into a blob under a key that no other commit ever returns,
// even for the same digest. Deleting a key can thus never hit the bytes of a
// newer push of that digest, and needs no lock.
package blob

import (
	"context"
	"errors"
	"io"
	"time"

	"slipway/internal/oci"
)

// State is where a store keeps an upload's bytes, opaque to its caller. The
// zero State is an upload without bytes.
type State string

// Key names the bytes of a committed blob.
type Key string

// ErrNotFound is returned for a key or an upload that the store does not hold.
var ErrNotFound = errors.New("blob: not found")

// File is an open blob. Every implementation can seek, so that ranges cost
// nothing; the file system's is an *os.File, which the kernel can send by itself.
type File interface {
	io.ReadSeekCloser
}

// Store is the contract of every place for bytes. All methods may be called
// concurrently, except that one upload has one caller at a time.
type Store interface {
	// Append writes what r yields to the upload at offset, replacing anything
	// beyond it, and returns the number of bytes written and the upload's new
	// state. Bytes read before r failed are written and counted, so that an
	// upload can go on after a lost connection; the error of r is returned as
	// it is. Nothing is durable yet.
	Append(ctx context.Context, s State, offset int64, r io.Reader) (int64, State, error)

	// Sync makes all that was appended durable, so that the upload can go on
	// from s after a crash or a power cut.
	Sync(ctx context.Context, s State) error

	// Commit makes the first size bytes of the upload readable under a new
	// key; digest only helps a person to find them. They are durable once it
	// returns. The upload is over, also after an error.
	Commit(ctx context.Context, s State, digest oci.Digest, size int64) (Key, error)

	// Abort frees an upload. It is no error if there is none.
	Abort(ctx context.Context, s State) error

	// OpenUpload reads an upload from its start, ErrNotFound if it is gone.
	OpenUpload(ctx context.Context, s State) (File, error)

	// Open reads a blob, ErrNotFound if the key was deleted.
	Open(ctx context.Context, k Key) (File, error)

	// Delete frees a blob's bytes. Open files go on reading. It is no error
	// if there are none.
	Delete(ctx context.Context, k Key) error

	// Walk calls fn for everything that the store holds, in no order. Entries
	// that come or go meanwhile may be missed.
	Walk(ctx context.Context, fn func(Entry) error) error
}

// Entry is something that a store holds: a blob if Key is set, else an upload.
type Entry struct {
	Key      Key
	Digest   oci.Digest // of a blob, as it was given to Commit
	State    State
	Size     int64
	Modified time.Time // of a blob, not before its commit
}

// Spacer is implemented by stores that can run full.
type Spacer interface {
	// Space returns the bytes that can still be written and the size of the
	// whole volume.
	Space() (free, total uint64, err error)
}
