package mirror

import (
	"database/sql"

	"slipway/internal/db"
	"slipway/internal/meta"
	"slipway/internal/oci"
)

// tagState is what is known here of a tag.
type tagState struct {
	digest  oci.Digest
	checked int64 // when the upstream last confirmed it, in milliseconds since 1970
	set     bool  // by a person: the upstream has no say
}

func findTag(tx *db.Tx, repository, tag string) (s tagState, found bool, err error) {
	var checked sql.NullInt64
	found, err = tx.Row(`SELECT t.digest, c.checked_at FROM repositories r
		JOIN tags t ON t.repository_id = r.id
		JOIN manifests m ON m.repository_id = r.id AND m.digest = t.digest
		LEFT JOIN mirror_tags c ON c.repository = r.name AND c.tag = t.name AND c.digest = t.digest
		WHERE r.name = ? AND t.name = ?`, []any{repository, tag}, &s.digest, &checked)
	s.checked, s.set = checked.Int64, !checked.Valid
	return s, found, err
}

// confirmTag notes that the upstream says now that the tag points at d.
func confirmTag(tx *db.Tx, repository, tag string, d oci.Digest) error {
	_, err := tx.Exec(`INSERT INTO mirror_tags (repository, tag, digest, checked_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (repository, tag) DO UPDATE SET digest = excluded.digest, checked_at = excluded.checked_at`, repository, tag, d, tx.Now())
	return err
}

// reconfirmTag is confirmTag for a tag that is here, unless a person has set
// it meanwhile.
func reconfirmTag(tx *db.Tx, repository, tag string, d oci.Digest) error {
	_, err := tx.Exec(`UPDATE mirror_tags SET checked_at = ? WHERE repository = ? AND tag = ? AND digest = ?`, tx.Now(), repository, tag, d)
	return err
}

// ownTag makes a tag a person's.
func ownTag(tx *db.Tx, repository, tag string) error {
	_, err := tx.Exec(`DELETE FROM mirror_tags WHERE repository = ? AND tag = ?`, repository, tag)
	return err
}

// cacheManifest notes that a manifest came from an upstream.
func cacheManifest(tx *db.Tx, repository string, d oci.Digest) error {
	_, err := tx.Exec(`INSERT INTO mirror_manifests (repository, digest, fetched_at) VALUES (?, ?, ?)
		ON CONFLICT (repository, digest) DO UPDATE SET fetched_at = excluded.fetched_at`, repository, d, tx.Now())
	return err
}

// ownManifest makes a manifest, and those below it, a person's.
func ownManifest(tx *db.Tx, repository string, d oci.Digest) error {
	_, err := tx.Exec(`DELETE FROM mirror_manifests WHERE repository = ? AND digest IN (
		WITH RECURSIVE down (digest) AS (SELECT CAST(? AS TEXT) UNION SELECT e.child FROM edges e JOIN down ON e.parent = down.digest)
		SELECT digest FROM down)`, repository, d)
	return err
}

// lastUse is when a cached manifest was last fetched or pulled.
func lastUse(tx *db.Tx, repository string, d oci.Digest) (at int64, cached bool, err error) {
	var pulled int64
	cached, err = tx.Row(`SELECT m.pushed_at, m.pulled_at FROM mirror_manifests c JOIN repositories r ON r.name = c.repository
		JOIN manifests m ON m.repository_id = r.id AND m.digest = c.digest
		WHERE c.repository = ? AND c.digest = ?`, []any{repository, d}, &at, &pulled)
	return max(at, pulled), cached, err
}

// expectedSize is what a manifest of the repository says that a blob has.
func expectedSize(tx *db.Tx, repository string, d oci.Digest) (size int64, found bool, err error) {
	found, err = tx.Row(`SELECT e.size FROM repositories r JOIN manifests m ON m.repository_id = r.id
		JOIN edges e ON e.parent = m.digest AND e.child = ?
		WHERE r.name = ? LIMIT 1`, []any{d, repository}, &size)
	return size, found, err
}

// held is a manifest of an upstream's repository, as eviction sees it.
type held struct {
	id         meta.RepoID
	repository string
	digest     oci.Digest
	size       int64
	used       int64 // last fetch, pull, or confirmation of a tag
	cached     bool  // not a person's
}

// heldManifests calls fn for every manifest in a repository that holds cached
// content.
func heldManifests(tx *db.Tx, fn func(held)) error {
	return tx.Each(`SELECT r.id, r.name, m.digest, m.size, c.digest IS NOT NULL, m.pushed_at, m.pulled_at,
			COALESCE((SELECT MAX(t.checked_at) FROM mirror_tags t WHERE t.repository = r.name AND t.digest = m.digest), 0)
		FROM repositories r JOIN manifests m ON m.repository_id = r.id
		LEFT JOIN mirror_manifests c ON c.repository = r.name AND c.digest = m.digest
		WHERE r.name IN (SELECT repository FROM mirror_manifests)`, nil, func(scan func(...any) error) error {
		var h held
		var pushed, pulled, checked int64
		if err := scan(&h.id, &h.repository, &h.digest, &h.size, &h.cached, &pushed, &pulled, &checked); err != nil {
			return err
		}
		h.used = max(pushed, pulled, checked)
		fn(h)
		return nil
	})
}

// part is something that a manifest points at.
type part struct {
	digest oci.Digest
	kind   oci.EdgeKind
	size   int64 // of a blob that its repository holds; 0 for others
}

func partsOf(tx *db.Tx, id meta.RepoID, d oci.Digest) (list []part, err error) {
	err = tx.Each(`SELECT e.child, e.kind, COALESCE(b.size, 0) FROM edges e
		LEFT JOIN members m ON m.repository_id = ? AND m.digest = e.child
		LEFT JOIN blobs b ON b.digest = m.digest
		WHERE e.parent = ?`, []any{id, d}, func(scan func(...any) error) error {
		var p part
		if err := scan(&p.digest, &p.kind, &p.size); err != nil {
			return err
		}
		list = append(list, p)
		return nil
	})
	return list, err
}

// neededElsewhere reports whether a repository that holds no cached content
// has the digest as a blob or a manifest.
func neededElsewhere(tx *db.Tx, d oci.Digest) (needed bool, err error) {
	var one int
	return tx.Row(`SELECT 1 FROM repositories r WHERE r.name NOT IN (SELECT repository FROM mirror_manifests)
		AND (r.id IN (SELECT repository_id FROM members WHERE digest = ?) OR r.id IN (SELECT repository_id FROM manifests WHERE digest = ?)) LIMIT 1`, []any{d, d}, &one)
}

// forget drops notes about what is no longer here.
func forget(tx *db.Tx, n int) (int64, error) {
	a, err := tx.Exec(`DELETE FROM mirror_manifests WHERE (repository, digest) IN (SELECT c.repository, c.digest FROM mirror_manifests c
		WHERE NOT EXISTS (SELECT 1 FROM repositories r JOIN manifests m ON m.repository_id = r.id WHERE r.name = c.repository AND m.digest = c.digest) LIMIT ?)`, n)
	if err != nil {
		return a, err
	}
	b, err := tx.Exec(`DELETE FROM mirror_tags WHERE (repository, tag) IN (SELECT c.repository, c.tag FROM mirror_tags c
		WHERE NOT EXISTS (SELECT 1 FROM repositories r JOIN tags t ON t.repository_id = r.id WHERE r.name = c.repository AND t.name = c.tag AND t.digest = c.digest) LIMIT ?)`, n)
	return max(a, b), err
}
