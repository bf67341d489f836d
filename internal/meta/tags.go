package meta

import (
	"encoding/json"
	"fmt"

	"slipway/internal/db"
	"slipway/internal/events"
	"slipway/internal/oci"
)

// MoveTag is the one function that makes, moves and deletes a tag (with an
// empty digest). It asks the guards, writes the history and the event, all in
// tx, and reports whether anything changed. The manifest must be in the
// repository.
func MoveTag(tx *db.Tx, id RepoID, repository, tag string, to oci.Digest, c Change, guards ...Guard) (moved bool, err error) {
	var old string
	if _, err := tx.Row(`SELECT digest FROM tags WHERE repository_id = ? AND name = ?`, []any{id, tag}, &old); err != nil {
		return false, err
	}
	m := Move{Repository: repository, Tag: tag, Old: old, New: to.String(), Change: c}
	for _, g := range guards {
		if err := g(tx, m); err != nil {
			return false, err
		}
	}
	if m.Old == m.New {
		return false, nil
	}
	if to == "" {
		_, err = tx.Exec(`DELETE FROM tags WHERE repository_id = ? AND name = ?`, id, tag)
	} else {
		_, err = tx.Exec(`INSERT INTO tags (repository_id, name, digest, moved_at) VALUES (?, ?, ?, ?)
			ON CONFLICT (repository_id, name) DO UPDATE SET digest = excluded.digest, moved_at = excluded.moved_at`, id, tag, to, tx.Now())
	}
	if err != nil {
		return false, err
	}
	if _, err := tx.Exec(`INSERT INTO tag_history (repository, tag, old_digest, new_digest, actor, cause, at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		repository, tag, m.Old, m.New, c.Actor, c.Cause, tx.Now()); err != nil {
		return false, err
	}
	kind := events.TagMoved
	if to == "" {
		kind = events.TagDeleted
	}
	return true, events.Append(tx, events.Event{Kind: kind, Repository: repository, Tag: tag, Digest: m.New, OldDigest: m.Old, Actor: c.Actor, Address: c.Address, Cause: c.Cause})
}

// DeleteManifest is the one function that deletes a manifest: all its tags
// first, through MoveTag, then the manifest, which leaves a tombstone until
// keepUntil (milliseconds since 1970). Collection frees its bytes after that.
func DeleteManifest(tx *db.Tx, id RepoID, repository string, d oci.Digest, c Change, keepUntil int64, guards ...Guard) (deleted bool, err error) {
	var mediaType string
	var size int64
	if found, err := tx.Row(`SELECT media_type, size FROM manifests WHERE repository_id = ? AND digest = ?`, []any{id, d}, &mediaType, &size); err != nil || !found {
		return false, err
	}
	tags, err := TagsOf(tx, id, d)
	if err != nil {
		return false, err
	}
	for _, tag := range tags {
		if _, err := MoveTag(tx, id, repository, tag, "", c, guards...); err != nil {
			return false, err
		}
	}
	if len(tags) == 0 {
		for _, g := range guards {
			if err := g(tx, Move{Repository: repository, Old: d.String(), Change: c}); err != nil {
				return false, err
			}
		}
	}
	if _, err := tx.Exec(`DELETE FROM manifests WHERE repository_id = ? AND digest = ?`, id, d); err != nil {
		return false, err
	}
	if err := grow(tx, id, -size); err != nil {
		return false, err
	}
	list, err := json.Marshal(tags)
	if err != nil {
		return false, err
	}
	if _, err := tx.Exec(`INSERT INTO tombstones (repository, digest, media_type, tags, actor, cause, deleted_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (repository, digest) DO UPDATE SET tags = excluded.tags, actor = excluded.actor, cause = excluded.cause, deleted_at = excluded.deleted_at, expires_at = excluded.expires_at`,
		repository, d, mediaType, string(list), c.Actor, c.Cause, tx.Now(), keepUntil); err != nil {
		return false, err
	}
	return true, events.Append(tx, events.Event{Kind: events.ManifestDeleted, Repository: repository, OldDigest: d.String(), Actor: c.Actor, Address: c.Address, Cause: c.Cause})
}

// Restore takes a deleted manifest back from its tombstone, with the tags that
// it had unless they point elsewhere by now. The children of an index come
// back with it, without tags. What expired is not restored: its bytes may be
// gone in part.
func Restore(tx *db.Tx, repository string, d oci.Digest, c Change, guards ...Guard) (restored bool, err error) {
	var list string
	found, err := tx.Row(`SELECT tags FROM tombstones WHERE repository = ? AND digest = ? AND expires_at > ?`, []any{repository, d, tx.Now()}, &list)
	if err != nil || !found {
		return false, err
	}
	var tags []string
	if err := json.Unmarshal([]byte(list), &tags); err != nil {
		return false, err
	}
	id, err := EnsureRepository(tx, repository)
	if err != nil {
		return false, err
	}
	if err := restoreTree(tx, id, repository, d); err != nil {
		return false, err
	}
	for _, tag := range tags {
		var now string
		if taken, err := tx.Row(`SELECT digest FROM tags WHERE repository_id = ? AND name = ?`, []any{id, tag}, &now); err != nil {
			return false, err
		} else if taken {
			continue
		}
		if _, err := MoveTag(tx, id, repository, tag, d, c, guards...); err != nil {
			return false, err
		}
	}
	return true, nil
}

// restoreTree takes back a manifest, its blobs, and what collection took of
// its children since.
func restoreTree(tx *db.Tx, id RepoID, repository string, d oci.Digest) error {
	var mediaType string
	found, err := tx.Row(`SELECT media_type FROM tombstones WHERE repository = ? AND digest = ? AND expires_at > ?`, []any{repository, d, tx.Now()}, &mediaType)
	if err != nil || !found {
		return err
	}
	content, found, err := BlobContent(tx, d)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("restore %s@%s: its tombstone is there but its bytes are not", repository, d)
	}
	m, err := oci.ParseManifest(mediaType, content)
	if err != nil {
		return fmt.Errorf("restore %s@%s: %w", repository, d, err)
	}
	for _, e := range m.Edges {
		if e.Kind == oci.EdgeForeign {
			continue
		}
		if e.Kind == oci.EdgeManifest {
			if _, there, err := HasManifest(tx, id, e.Digest); err != nil {
				return err
			} else if !there {
				if err := restoreTree(tx, id, repository, e.Digest); err != nil {
					return err
				}
			}
			continue
		}
		if _, there, err := BlobSize(tx, e.Digest); err != nil {
			return err
		} else if there {
			if err := Join(tx, id, e.Digest); err != nil {
				return err
			}
		}
	}
	if err := PutManifest(tx, id, m, d, content); err != nil {
		return err
	}
	_, err = tx.Exec(`DELETE FROM tombstones WHERE repository = ? AND digest = ?`, repository, d)
	return err
}

// TagsOf lists the tags of a manifest.
func TagsOf(tx *db.Tx, id RepoID, d oci.Digest) (tags []string, err error) {
	tags = []string{}
	err = tx.Each(`SELECT name FROM tags WHERE repository_id = ? AND digest = ? ORDER BY name`, []any{id, d}, func(scan func(...any) error) error {
		var s string
		defer func() { tags = append(tags, s) }()
		return scan(&s)
	})
	return tags, err
}

// Tags lists up to n tags of a repository in byte order after last.
func Tags(tx *db.Tx, id RepoID, last string, n int) (tags []string, err error) {
	tags = []string{}
	err = tx.Each(`SELECT name FROM tags WHERE repository_id = ? AND name > ? ORDER BY name LIMIT ?`, []any{id, last, n}, func(scan func(...any) error) error {
		var s string
		defer func() { tags = append(tags, s) }()
		return scan(&s)
	})
	return tags, err
}

// HistoryEntry is one move of a tag.
type HistoryEntry struct {
	Tag, Old, New, Actor, Cause string
	At                          int64
}

// History lists the newest n moves of a tag, the newest first.
func History(tx *db.Tx, repository, tag string, n int) (list []HistoryEntry, err error) {
	err = tx.Each(`SELECT tag, old_digest, new_digest, actor, cause, at FROM tag_history WHERE repository = ? AND tag = ? ORDER BY id DESC LIMIT ?`, []any{repository, tag, n},
		func(scan func(...any) error) error {
			var h HistoryEntry
			defer func() { list = append(list, h) }()
			return scan(&h.Tag, &h.Old, &h.New, &h.Actor, &h.Cause, &h.At)
		})
	return list, err
}

// Pulled records the last pull of a manifest, and of the tag by which it was
// asked for, at a time in milliseconds since 1970.
func Pulled(tx *db.Tx, repository, tag string, d oci.Digest, at int64) error {
	r, found, err := FindRepository(tx, repository)
	if err != nil || !found {
		return err
	}
	if tag != "" {
		if _, err := tx.Exec(`UPDATE tags SET pulled_at = ? WHERE repository_id = ? AND name = ? AND pulled_at < ?`, at, r.ID, tag, at); err != nil {
			return err
		}
	}
	_, err = tx.Exec(`UPDATE manifests SET pulled_at = ? WHERE repository_id = ? AND digest = ? AND pulled_at < ?`, at, r.ID, d, at)
	return err
}
