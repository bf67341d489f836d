package meta

import (
	"slipway/internal/db"
	"slipway/internal/oci"
)

// What a repository uses is the sum of the sizes of its blobs and manifests: a
// blob that several repositories hold counts in each of them. What all of them
// use together is the sum of all blobs, each counted once, with those that wait
// for collection, since their bytes are still on the disk.
//
// Both are counters that move in the transaction, and by the function, that
// adds or removes the row which they are about: Join, Leave, LeaveSome,
// PutManifest and DeleteManifest for the one, AddBlob and RemoveBlob for the
// other. Nothing else may write those rows.

// Use is what a repository uses and what it may.
type Use struct {
	ID    RepoID // 0: there is no such repository
	Name  string
	Bytes int64
	Quota int64 // of its own; 0: no limit
	Own   bool  // it has a quota of its own
}

// UseOf is the use of one repository, which may not exist yet.
func UseOf(tx *db.Tx, repository string) (u Use, err error) {
	var own *int64
	u.Name = repository
	_, err = tx.Row(`SELECT COALESCE(r.id, 0), COALESCE(r.bytes, 0), q.bytes FROM (SELECT CAST(? AS TEXT) AS name) n
		LEFT JOIN repositories r ON r.name = n.name LEFT JOIN quotas q ON q.repository = n.name`, []any{repository}, &u.ID, &u.Bytes, &own)
	u.set(own)
	return u, err
}

// Uses lists up to n repositories, those that use most first.
func Uses(tx *db.Tx, n int) (list []Use, err error) {
	err = tx.Each(`SELECT r.id, r.name, r.bytes, q.bytes FROM repositories r LEFT JOIN quotas q ON q.repository = r.name ORDER BY r.bytes DESC, r.name LIMIT ?`, []any{n},
		func(scan func(...any) error) error {
			var u Use
			var own *int64
			defer func() { u.set(own); list = append(list, u) }()
			return scan(&u.ID, &u.Name, &u.Bytes, &own)
		})
	return list, err
}

func (u *Use) set(own *int64) {
	if u.Own = own != nil; u.Own {
		u.Quota = *own
	}
}

// QuotaOf returns the quota that a repository has of its own, whether the
// repository exists or not.
func QuotaOf(tx *db.Tx, repository string) (bytes int64, own bool, err error) {
	own, err = tx.Row(`SELECT bytes FROM quotas WHERE repository = ?`, []any{repository}, &bytes)
	return bytes, own, err
}

// SetQuota gives a repository a quota of its own; 0 is no limit.
func SetQuota(tx *db.Tx, repository string, bytes int64) error {
	_, err := tx.Exec(`INSERT INTO quotas (repository, bytes) VALUES (?, ?) ON CONFLICT (repository) DO UPDATE SET bytes = excluded.bytes`, repository, bytes)
	return err
}

// RemoveQuota leaves a repository to the quota that all have.
func RemoveQuota(tx *db.Tx, repository string) error {
	_, err := tx.Exec(`DELETE FROM quotas WHERE repository = ?`, repository)
	return err
}

// TotalUse is the size of all blobs, each once.
func TotalUse(tx *db.Tx) (bytes int64, err error) {
	_, err = tx.Row(`SELECT bytes FROM content WHERE one = 1`, nil, &bytes)
	return bytes, err
}

// grow moves the use of a repository.
func grow(tx *db.Tx, id RepoID, by int64) error {
	if by == 0 {
		return nil
	}
	_, err := tx.Exec(`UPDATE repositories SET bytes = bytes + ? WHERE id = ?`, by, id)
	return err
}

// growBy moves the use of a repository by the size of a blob, once or taken off.
func growBy(tx *db.Tx, id RepoID, d oci.Digest, sign int64) error {
	_, err := tx.Exec(`UPDATE repositories SET bytes = bytes + ? * COALESCE((SELECT size FROM blobs WHERE digest = ?), 0) WHERE id = ?`, sign, d, id)
	return err
}

// growTotal moves the use of all.
func growTotal(tx *db.Tx, by int64) error {
	if by == 0 {
		return nil
	}
	_, err := tx.Exec(`UPDATE content SET bytes = bytes + ? WHERE one = 1`, by)
	return err
}
