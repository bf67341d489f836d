// Package events is the outbox: every visible change writes what happened in
// its own transaction, so that no event is lost and none tells of a change
// that did not last. Deliveries read the outbox in the order of its ids.
package events

import (
	"slipway/internal/audit"
	"slipway/internal/db"
)

// Kind is what happened.
type Kind string

// The kinds of events.
const (
	ManifestPushed    Kind = "manifest.pushed"
	ManifestDeleted   Kind = "manifest.deleted"
	TagMoved          Kind = "tag.moved" // made, or moved from OldDigest to Digest
	TagDeleted        Kind = "tag.deleted"
	RepositoryDeleted Kind = "repository.deleted"
	BlobRemoved       Kind = "blob.removed" // from a repository, by a person
)

// Event is one row of the outbox. Fields that a kind has no use for are empty.
type Event struct {
	ID                                               int64
	Kind                                             Kind
	Repository, Tag, Digest, OldDigest, Actor, Cause string
	Address                                          string // for the audit log only
	At                                               int64  // milliseconds since 1970
}

// Append adds an event to the transaction that made it happen, and an entry to
// the audit log, which outlives the outbox.
func Append(tx *db.Tx, e Event) error {
	if err := audit.Append(tx, audit.Entry{
		Actor: e.Actor, Address: e.Address, Action: string(e.Kind), Repository: e.Repository, Subject: e.Tag,
		OldDigest: e.OldDigest, NewDigest: e.Digest, Outcome: audit.Allowed, Reason: e.Cause,
	}); err != nil {
		return err
	}
	_, err := tx.Exec(`INSERT INTO events (kind, repository, tag, digest, old_digest, actor, cause, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		e.Kind, e.Repository, e.Tag, e.Digest, e.OldDigest, e.Actor, e.Cause, tx.Now())
	return err
}

// After lists up to n events with an id above after, in order.
func After(tx *db.Tx, after int64, n int) (list []Event, err error) {
	err = tx.Each(`SELECT id, kind, repository, tag, digest, old_digest, actor, cause, at FROM events WHERE id > ? ORDER BY id LIMIT ?`, []any{after, n},
		func(scan func(...any) error) error {
			var e Event
			defer func() { list = append(list, e) }()
			return scan(&e.ID, &e.Kind, &e.Repository, &e.Tag, &e.Digest, &e.OldDigest, &e.Actor, &e.Cause, &e.At)
		})
	return list, err
}

// Trim removes up to n events from before a time in milliseconds since 1970.
func Trim(tx *db.Tx, before int64, n int) (int64, error) {
	return tx.Exec(`DELETE FROM events WHERE id IN (SELECT id FROM events WHERE at < ? ORDER BY at LIMIT ?)`, before, n)
}
