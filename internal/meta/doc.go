// Package meta is the metadata: which repository holds which blobs and
// manifests, what tags point at, what manifests point at, and what happened.
//
// Its functions take the transaction that they run in, so that a caller joins
// several of them into one visible change. They are plain SQL that SQLite and
// PostgreSQL both run; a set of them is grouped in a file by the table that
// they are about. Times are milliseconds since 1970.
//
// Nothing here touches bytes outside the database: a row names them by a
// blob.Key, and only package registry reads them.
package meta

import (
	"slipway/internal/db"
)

// Change says who makes a change and why, for history, events and the log.
type Change struct {
	Actor   string // as auth.Identity names it, such as "user:anna"
	Address string // where the request came from; empty for the server's own work
	Cause   string // what the actor did, such as "push" or "gc: untagged"
}

// RepoID is the row of a repository.
type RepoID int64

// Guard is asked, in the transaction of a move or a deletion, whether it may
// happen. Policies, quotas and gates are guards.
type Guard func(tx *db.Tx, m Move) error

// Move is the change of one tag. An empty digest stands for "no tag".
type Move struct {
	Repository string
	Tag        string
	Old, New   string
	Change     Change
}
