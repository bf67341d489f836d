package meta

import (
	"database/sql"

	"slipway/internal/blob"
	"slipway/internal/db"
	"slipway/internal/oci"
)

// The functions of this file are collection's view: what might go, asked in
// slices, and the removals, which ask again in their own transaction.

// Candidate is content that collection looks at.
type Candidate struct {
	Digest oci.Digest
	Size   int64
	At     int64 // last push or use
	InUse  bool
}

// UsedBy calls fn for everything that manifests of a repository point at,
// for up to n manifests after last, and returns the last of them.
func UsedBy(tx *db.Tx, id RepoID, last oci.Digest, n int, fn func(parent, child oci.Digest)) (oci.Digest, int, error) {
	list, err := Manifests(tx, id, last, n)
	if err != nil {
		return "", 0, err
	}
	for _, m := range list {
		last = m.Digest
		if err := tx.Each(`SELECT child FROM edges WHERE parent = ?`, []any{m.Digest}, func(scan func(...any) error) error {
			var d oci.Digest
			if err := scan(&d); err != nil {
				return err
			}
			fn(m.Digest, d)
			return nil
		}); err != nil {
			return "", 0, err
		}
	}
	return last, len(list), nil
}

// MembersAfter lists up to n blobs of a repository in the order of their digests.
func MembersAfter(tx *db.Tx, id RepoID, last oci.Digest, n int) (list []Candidate, err error) {
	err = tx.Each(`SELECT m.digest, b.size, m.touched_at FROM members m JOIN blobs b ON b.digest = m.digest
		WHERE m.repository_id = ? AND m.digest > ? ORDER BY m.digest LIMIT ?`, []any{id, last, n}, scanCandidates(&list, false))
	return list, err
}

// BlobsAfter lists up to n blobs in the order of their digests; InUse is set
// for those that a repository holds.
func BlobsAfter(tx *db.Tx, last oci.Digest, n int) (list []Candidate, err error) {
	err = tx.Each(`SELECT b.digest, b.size, b.touched_at,
			EXISTS (SELECT 1 FROM members m WHERE m.digest = b.digest) OR EXISTS (SELECT 1 FROM manifests f WHERE f.digest = b.digest)
		FROM blobs b WHERE b.digest > ? ORDER BY b.digest LIMIT ?`, []any{last, n}, scanCandidates(&list, true))
	return list, err
}

// UntaggedAfter lists up to n manifests of a repository in the order of their
// digests; InUse is set for those that a tag points at.
func UntaggedAfter(tx *db.Tx, id RepoID, last oci.Digest, n int) (list []Candidate, err error) {
	err = tx.Each(`SELECT m.digest, m.size, m.pushed_at,
			EXISTS (SELECT 1 FROM tags t WHERE t.repository_id = m.repository_id AND t.digest = m.digest)
		FROM manifests m WHERE m.repository_id = ? AND m.digest > ? ORDER BY m.digest LIMIT ?`, []any{id, last, n}, scanCandidates(&list, true))
	return list, err
}

func scanCandidates(list *[]Candidate, inUse bool) func(func(...any) error) error {
	return func(scan func(...any) error) error {
		var c Candidate
		dest := []any{&c.Digest, &c.Size, &c.At}
		if inUse {
			dest = append(dest, &c.InUse)
		}
		if err := scan(dest...); err != nil {
			return err
		}
		*list = append(*list, c)
		return nil
	}
}

// IndexOf returns an index of the repository that holds the manifest.
func IndexOf(tx *db.Tx, id RepoID, d oci.Digest) (index oci.Digest, found bool, err error) {
	found, err = tx.Row(`SELECT e.parent FROM edges e JOIN manifests m ON m.digest = e.parent AND m.repository_id = ?
		WHERE e.child = ? AND e.kind = 'manifest' LIMIT 1`, []any{id, d}, &index)
	return index, found, err
}

// ParentsOf calls fn for every manifest of the repository that points at d: for
// indexes, or for those that use it as a blob.
func ParentsOf(tx *db.Tx, id RepoID, d oci.Digest, index bool, fn func(oci.Digest)) error {
	return tx.Each(`SELECT e.parent FROM edges e JOIN manifests m ON m.digest = e.parent AND m.repository_id = ?
		WHERE e.child = ? AND (e.kind = 'manifest') = ?`, []any{id, d, index}, scanDigests(fn))
}

func scanDigests(fn func(oci.Digest)) func(func(...any) error) error {
	return func(scan func(...any) error) error {
		var d oci.Digest
		if err := scan(&d); err != nil {
			return err
		}
		fn(d)
		return nil
	}
}

// PresentSubject returns the subject of a manifest if the repository holds it.
func PresentSubject(tx *db.Tx, id RepoID, d oci.Digest) (subject oci.Digest, found bool, err error) {
	found, err = tx.Row(`SELECT s.digest FROM manifests m JOIN manifests s ON s.repository_id = m.repository_id AND s.digest = m.subject
		WHERE m.repository_id = ? AND m.digest = ?`, []any{id, d}, &subject)
	return subject, found, err
}

// ancestors are a digest and all manifests above it, wherever they are.
const ancestors = `WITH RECURSIVE up (digest) AS (SELECT CAST(? AS TEXT) UNION SELECT e.parent FROM edges e JOIN up ON e.child = up.digest) `

// Ancestors calls fn for a digest and all manifests above it.
func Ancestors(tx *db.Tx, d oci.Digest, fn func(oci.Digest)) error {
	return tx.Each(ancestors+`SELECT digest FROM up`, []any{d}, scanDigests(fn))
}

// PinHolder returns who pinned a digest or something that needs it.
func PinHolder(tx *db.Tx, d oci.Digest) (holder string, found bool, err error) {
	found, err = tx.Row(ancestors+`SELECT p.holder FROM up JOIN pins p ON p.digest = up.digest WHERE p.expires_at > ? LIMIT 1`, []any{d, tx.Now()}, &holder)
	return holder, found, err
}

// RestorableUntil returns how long a deleted manifest that is, or needs, the
// digest can still be restored. Those deleted up to the time given no longer can.
func RestorableUntil(tx *db.Tx, d oci.Digest, over int64) (until int64, found bool, err error) {
	found, err = tx.Row(ancestors+`SELECT t.expires_at FROM up JOIN tombstones t ON t.digest = up.digest
		WHERE t.expires_at > ? AND t.deleted_at > ? ORDER BY t.expires_at DESC LIMIT 1`, []any{d, tx.Now(), over}, &until)
	return until, found, err
}

// FindCandidate reads a blob again, for the transaction that removes it.
func FindCandidate(tx *db.Tx, d oci.Digest) (c Candidate, found bool, err error) {
	c.Digest = d
	found, err = tx.Row(`SELECT b.size, b.touched_at,
			EXISTS (SELECT 1 FROM members m WHERE m.digest = b.digest) OR EXISTS (SELECT 1 FROM manifests f WHERE f.digest = b.digest)
		FROM blobs b WHERE b.digest = ?`, []any{d}, &c.Size, &c.At, &c.InUse)
	return c, found, err
}

// MemberTouched returns when a member was last pushed, mounted or asked for.
func MemberTouched(tx *db.Tx, id RepoID, d oci.Digest) (at int64, found bool, err error) {
	found, err = tx.Row(`SELECT touched_at FROM members WHERE repository_id = ? AND digest = ?`, []any{id, d}, &at)
	return at, found, err
}

// CountMembers returns how many repositories hold a blob.
func CountMembers(tx *db.Tx, d oci.Digest) (n int64, err error) {
	_, err = tx.Row(`SELECT COUNT(*) FROM members WHERE digest = ?`, []any{d}, &n)
	return n, err
}

// CountManifests returns how many repositories hold a manifest.
func CountManifests(tx *db.Tx, d oci.Digest) (n int64, err error) {
	_, err = tx.Row(`SELECT COUNT(*) FROM manifests WHERE digest = ?`, []any{d}, &n)
	return n, err
}

// RemoveBlob forgets a blob and what it points at. Bytes in the store become
// garbage, to be deleted once this is durable.
func RemoveBlob(tx *db.Tx, d oci.Digest) error {
	var key sql.NullString
	var size int64
	found, err := tx.Row(`SELECT store_key, size FROM blobs WHERE digest = ?`, []any{d}, &key, &size)
	if err != nil || !found {
		return err
	}
	if err := growTotal(tx, -size); err != nil {
		return err
	}
	if key.Valid {
		if err := AddGarbage(tx, blob.Key(key.String)); err != nil {
			return err
		}
	}
	for _, query := range []string{
		`DELETE FROM blobs WHERE digest = ?`,
		`DELETE FROM blob_content WHERE digest = ?`,
		`DELETE FROM edges WHERE parent = ?`,
	} {
		if _, err := tx.Exec(query, d); err != nil {
			return err
		}
	}
	return nil
}

// AddGarbage notes bytes that no row names any more.
func AddGarbage(tx *db.Tx, k blob.Key) error {
	_, err := tx.Exec(`INSERT INTO garbage (store_key, added_at) VALUES (?, ?) ON CONFLICT (store_key) DO NOTHING`, k, tx.Now())
	return err
}

// Garbage lists up to n keys to delete.
func Garbage(tx *db.Tx, n int) (keys []blob.Key, err error) {
	err = tx.Each(`SELECT store_key FROM garbage LIMIT ?`, []any{n}, func(scan func(...any) error) error {
		var k blob.Key
		defer func() { keys = append(keys, k) }()
		return scan(&k)
	})
	return keys, err
}

// RemoveGarbage forgets a key whose bytes are deleted.
func RemoveGarbage(tx *db.Tx, k blob.Key) error {
	_, err := tx.Exec(`DELETE FROM garbage WHERE store_key = ?`, k)
	return err
}

// KeyOf returns where the bytes of a digest are; empty for inline ones.
func KeyOf(tx *db.Tx, d oci.Digest) (k blob.Key, found bool, err error) {
	var key sql.NullString
	found, err = tx.Row(`SELECT store_key FROM blobs WHERE digest = ?`, []any{d}, &key)
	return blob.Key(key.String), found, err
}

// ExpirePins removes up to n pins whose time is over.
func ExpirePins(tx *db.Tx, n int) (int64, error) {
	return tx.Exec(`DELETE FROM pins WHERE (holder, digest) IN (SELECT holder, digest FROM pins WHERE expires_at <= ? LIMIT ?)`, tx.Now(), n)
}

// ExpireTombstones removes up to n tombstones whose time is over, and those of
// deletions up to the time given.
func ExpireTombstones(tx *db.Tx, over int64, n int) (int64, error) {
	return tx.Exec(`DELETE FROM tombstones WHERE (repository, digest) IN (SELECT repository, digest FROM tombstones WHERE expires_at <= ? OR deleted_at <= ? LIMIT ?)`, tx.Now(), over, n)
}
