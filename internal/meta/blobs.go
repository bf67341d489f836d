package meta

import (
	"database/sql"

	"slipway/internal/blob"
	"slipway/internal/db"
	"slipway/internal/oci"
)

// Blob is where the bytes of a digest are.
type Blob struct {
	Digest  oci.Digest
	Size    int64
	Key     blob.Key // empty: the bytes are in the database
	Content []byte   // of an inline blob, where it was asked for
}

// FindBlob returns a blob that the repository holds, with its inline content.
func FindBlob(tx *db.Tx, repository string, d oci.Digest) (b Blob, found bool, err error) {
	b.Digest = d
	var key sql.NullString
	found, err = tx.Row(`SELECT b.size, b.store_key, c.content
		FROM repositories r
		JOIN members m ON m.repository_id = r.id
		JOIN blobs b ON b.digest = m.digest
		LEFT JOIN blob_content c ON c.digest = b.digest
		WHERE r.name = ? AND m.digest = ?`, []any{repository, d}, &b.Size, &key, &b.Content)
	b.Key = blob.Key(key.String)
	return b, found, err
}

// StatBlob returns the size of a blob that the repository holds, and when it
// was last used there.
func StatBlob(tx *db.Tx, repository string, d oci.Digest) (size, used int64, found bool, err error) {
	found, err = tx.Row(`SELECT b.size, m.touched_at FROM repositories r
		JOIN members m ON m.repository_id = r.id
		JOIN blobs b ON b.digest = m.digest
		WHERE r.name = ? AND m.digest = ?`, []any{repository, d}, &size, &used)
	return size, used, found, err
}

// BlobSize returns the size of a blob, whoever holds it.
func BlobSize(tx *db.Tx, d oci.Digest) (size int64, found bool, err error) {
	found, err = tx.Row(`SELECT size FROM blobs WHERE digest = ?`, []any{d}, &size)
	return size, found, err
}

// BlobContent returns inline content, such as a manifest's.
func BlobContent(tx *db.Tx, d oci.Digest) (content []byte, found bool, err error) {
	found, err = tx.Row(`SELECT content FROM blob_content WHERE digest = ?`, []any{d}, &content)
	return content, found, err
}

// AddBlob records that the bytes of a digest exist: inline if b.Key is empty.
// If they exist already the first stay, added is false, and the caller's key
// is of no use.
func AddBlob(tx *db.Tx, b Blob) (added bool, err error) {
	n, err := tx.Exec(`UPDATE blobs SET touched_at = ? WHERE digest = ?`, tx.Now(), b.Digest)
	if err != nil || n > 0 {
		return false, err
	}
	key := sql.NullString{String: string(b.Key), Valid: b.Key != ""}
	if _, err := tx.Exec(`INSERT INTO blobs (digest, size, store_key, touched_at) VALUES (?, ?, ?, ?)`, b.Digest, b.Size, key, tx.Now()); err != nil {
		return false, err
	}
	if err := growTotal(tx, b.Size); err != nil {
		return false, err
	}
	if b.Key == "" {
		if b.Content == nil {
			b.Content = []byte{} // the empty blob is content too
		}
		_, err = tx.Exec(`INSERT INTO blob_content (digest, content) VALUES (?, ?)`, b.Digest, b.Content)
	}
	return err == nil, err
}

// HealBlob gives a blob whose bytes under the key lost are gone the new place
// of b, unless that was done already.
func HealBlob(tx *db.Tx, b Blob, lost blob.Key) (healed bool, err error) {
	key := sql.NullString{String: string(b.Key), Valid: b.Key != ""}
	n, err := tx.Exec(`UPDATE blobs SET store_key = ? WHERE digest = ? AND store_key = ?`, key, b.Digest, lost)
	if err != nil || n == 0 {
		return false, err
	}
	if b.Key == "" {
		if _, err := tx.Exec(`INSERT INTO blob_content (digest, content) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING`, b.Digest, b.Content); err != nil {
			return false, err
		}
	}
	return true, AddGarbage(tx, lost)
}

// Join makes a blob a member of a repository.
func Join(tx *db.Tx, id RepoID, d oci.Digest) error {
	n, err := tx.Exec(`INSERT INTO members (repository_id, digest, touched_at) VALUES (?, ?, ?) ON CONFLICT (repository_id, digest) DO NOTHING`, id, d, tx.Now())
	if err != nil {
		return err
	}
	if n > 0 {
		return growBy(tx, id, d, 1)
	}
	_, err = tx.Exec(`UPDATE members SET touched_at = ? WHERE repository_id = ? AND digest = ?`, tx.Now(), id, d)
	return err
}

// Touch tells collection that a client relies on a blob that it is told
// exists; found is false if it no longer does.
func Touch(tx *db.Tx, repository string, d oci.Digest) (found bool, err error) {
	n, err := tx.Exec(`UPDATE members SET touched_at = ? WHERE digest = ? AND repository_id = (SELECT id FROM repositories WHERE name = ?)`, tx.Now(), d, repository)
	return n > 0, err
}

// Leave takes a blob out of a repository.
func Leave(tx *db.Tx, id RepoID, d oci.Digest) (was bool, err error) {
	n, err := tx.Exec(`DELETE FROM members WHERE repository_id = ? AND digest = ?`, id, d)
	if err != nil || n == 0 {
		return false, err
	}
	return true, growBy(tx, id, d, -1)
}

// LeaveSome takes up to n blobs out of a repository and returns how many.
func LeaveSome(tx *db.Tx, id RepoID, n int) (int64, error) {
	var bytes int64
	if _, err := tx.Row(`SELECT COALESCE(SUM(b.size), 0) FROM blobs b WHERE b.digest IN (SELECT digest FROM members WHERE repository_id = ? ORDER BY digest LIMIT ?)`, []any{id, n}, &bytes); err != nil {
		return 0, err
	}
	if err := grow(tx, id, -bytes); err != nil {
		return 0, err
	}
	return tx.Exec(`DELETE FROM members WHERE repository_id = ? AND digest IN (SELECT digest FROM members WHERE repository_id = ? ORDER BY digest LIMIT ?)`, id, id, n)
}

// IsMember reports whether a repository holds a blob.
func IsMember(tx *db.Tx, id RepoID, d oci.Digest) (size int64, found bool, err error) {
	found, err = tx.Row(`SELECT b.size FROM members m JOIN blobs b ON b.digest = m.digest WHERE m.repository_id = ? AND m.digest = ?`, []any{id, d}, &size)
	return size, found, err
}

// Holders lists up to n names of repositories that hold a blob.
func Holders(tx *db.Tx, d oci.Digest, n int) (names []string, err error) {
	err = tx.Each(`SELECT r.name FROM members m JOIN repositories r ON r.id = m.repository_id WHERE m.digest = ? LIMIT ?`, []any{d, n},
		func(scan func(...any) error) error {
			var s string
			defer func() { names = append(names, s) }()
			return scan(&s)
		})
	return names, err
}

// UserOf returns a manifest of the repository that uses the blob.
func UserOf(tx *db.Tx, id RepoID, d oci.Digest) (manifest oci.Digest, found bool, err error) {
	found, err = tx.Row(`SELECT e.parent FROM edges e JOIN manifests m ON m.digest = e.parent AND m.repository_id = ?
		WHERE e.child = ? AND e.kind <> 'manifest' LIMIT 1`, []any{id, d}, &manifest)
	return manifest, found, err
}

// Totals are the sizes that metrics show.
type Totals struct{ Blobs, Bytes, InlineBytes int64 }

// CountBlobs adds up all blobs. It reads them all: not for a request.
func CountBlobs(tx *db.Tx) (t Totals, err error) {
	_, err = tx.Row(`SELECT COUNT(*), COALESCE(SUM(size), 0), COALESCE(SUM(CASE WHEN store_key IS NULL THEN size ELSE 0 END), 0) FROM blobs`, nil, &t.Blobs, &t.Bytes, &t.InlineBytes)
	return t, err
}
