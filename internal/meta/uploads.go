package meta

import (
	"slipway/internal/blob"
	"slipway/internal/db"
)

// Upload is what survives of an upload between two requests.
type Upload struct {
	ID         string
	Repository string
	Size       int64 // bytes received, hashed and durable
	HashState  []byte
	State      blob.State // where the store has the bytes, once they are more than Tail holds
	Tail       []byte     // all bytes while they are few
	Version    int64      // 0: no row yet
	Cancelled  bool
}

// FindUpload returns found=false for an upload that has no row: one that no
// bytes have arrived for, or that is over.
func FindUpload(tx *db.Tx, id string) (u Upload, found bool, err error) {
	u.ID = id
	found, err = tx.Row(`SELECT repository, size, hash_state, store_state, tail, version, cancelled FROM uploads WHERE id = ?`, []any{id},
		&u.Repository, &u.Size, &u.HashState, &u.State, &u.Tail, &u.Version, &u.Cancelled)
	return u, found, err
}

// SaveUpload stores progress if the row still has the version that u was read
// with (none, for version 0), and reports whether it did.
func SaveUpload(tx *db.Tx, u Upload) (saved bool, err error) {
	if u.Version == 0 {
		n, err := tx.Exec(`INSERT INTO uploads (id, repository, size, hash_state, store_state, tail, version, cancelled, created_at, updated_at)
			VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
			u.ID, u.Repository, u.Size, u.HashState, u.State, u.Tail, u.Cancelled, tx.Now(), tx.Now())
		return n > 0, err
	}
	n, err := tx.Exec(`UPDATE uploads SET size = ?, hash_state = ?, store_state = ?, tail = ?, cancelled = ?, version = version + 1, updated_at = ?
		WHERE id = ? AND version = ?`, u.Size, u.HashState, u.State, u.Tail, u.Cancelled, tx.Now(), u.ID, u.Version)
	return n > 0, err
}

// RemoveUpload ends an upload that still has the version given.
func RemoveUpload(tx *db.Tx, id string, version int64) (removed bool, err error) {
	n, err := tx.Exec(`DELETE FROM uploads WHERE id = ? AND version = ?`, id, version)
	return n > 0, err
}

// ExpiredUploads lists up to n uploads that nothing was written to since before.
func ExpiredUploads(tx *db.Tx, before int64, n int) (list []Upload, err error) {
	err = tx.Each(`SELECT id, repository, size, store_state, version, cancelled FROM uploads WHERE updated_at < ? ORDER BY updated_at LIMIT ?`, []any{before, n},
		func(scan func(...any) error) error {
			var u Upload
			defer func() { list = append(list, u) }()
			return scan(&u.ID, &u.Repository, &u.Size, &u.State, &u.Version, &u.Cancelled)
		})
	return list, err
}

// UploadStates are all uploads of the store that rows name.
func UploadStates(tx *db.Tx) (map[blob.State]struct{}, error) {
	set := map[blob.State]struct{}{}
	err := tx.Each(`SELECT store_state FROM uploads WHERE store_state <> ''`, nil, func(scan func(...any) error) error {
		var s blob.State
		defer func() { set[s] = struct{}{} }()
		return scan(&s)
	})
	return set, err
}

// CountUploads returns the number of uploads that have bytes.
func CountUploads(tx *db.Tx) (n int64, err error) {
	_, err = tx.Row(`SELECT COUNT(*) FROM uploads WHERE cancelled = 0`, nil, &n)
	return n, err
}
