package meta

import "slipway/internal/db"

// Repository is a named set of content.
type Repository struct {
	ID             RepoID
	Name           string
	DeleteUntagged bool // collection deletes manifests that no tag, index or subject holds
	CreatedAt      int64
}

// FindRepository returns found=false for a name that holds nothing.
func FindRepository(tx *db.Tx, name string) (r Repository, found bool, err error) {
	r.Name = name
	found, err = tx.Row(`SELECT id, delete_untagged, created_at FROM repositories WHERE name = ?`, []any{name}, &r.ID, &r.DeleteUntagged, &r.CreatedAt)
	return r, found, err
}

// EnsureRepository returns the repository's row and makes it if it is missing.
func EnsureRepository(tx *db.Tx, name string) (RepoID, error) {
	r, found, err := FindRepository(tx, name)
	if err != nil || found {
		return r.ID, err
	}
	_, err = tx.Row(`INSERT INTO repositories (name, created_at) VALUES (?, ?) RETURNING id`, []any{name, tx.Now()}, &r.ID)
	return r.ID, err
}

// SetDeleteUntagged opts a repository in to, or out of, losing its untagged
// manifests to collection.
func SetDeleteUntagged(tx *db.Tx, id RepoID, on bool) error {
	_, err := tx.Exec(`UPDATE repositories SET delete_untagged = ? WHERE id = ?`, on, id)
	return err
}

// Catalog lists up to n names of repositories that hold a manifest, except the
// server's own ones, whose names begin with an underscore, in byte
// order after last.
func Catalog(tx *db.Tx, last string, n int) (names []string, err error) {
	err = tx.Each(`SELECT name FROM repositories r
		WHERE name > ? AND substr(name, 1, 1) <> '_' AND EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = r.id)
		ORDER BY name LIMIT ?`, []any{last, n}, func(scan func(...any) error) error {
		var s string
		defer func() { names = append(names, s) }()
		return scan(&s)
	})
	return names, err
}

// NextRepository walks all repositories in the order of their rows.
func NextRepository(tx *db.Tx, after RepoID) (r Repository, found bool, err error) {
	found, err = tx.Row(`SELECT id, name, delete_untagged, created_at FROM repositories WHERE id > ? ORDER BY id LIMIT 1`,
		[]any{after}, &r.ID, &r.Name, &r.DeleteUntagged, &r.CreatedAt)
	return r, found, err
}

// RemoveRepository forgets a repository that holds nothing, and its settings.
func RemoveRepository(tx *db.Tx, id RepoID) error {
	_, err := tx.Exec(`DELETE FROM repositories WHERE id = ?
		AND NOT EXISTS (SELECT 1 FROM members WHERE repository_id = ?)
		AND NOT EXISTS (SELECT 1 FROM manifests WHERE repository_id = ?)`, id, id, id)
	return err
}
