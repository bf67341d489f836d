package meta

import (
	"database/sql"
	"encoding/json"
	"errors"

	"slipway/internal/db"
	"slipway/internal/oci"
)

// Manifest is a manifest in a repository. Its bytes are an inline blob.
type Manifest struct {
	Digest       oci.Digest
	MediaType    string
	ArtifactType string
	Subject      oci.Digest
	Size         int64
	Annotations  map[string]string
	Content      []byte // where it was asked for
}

// PutManifest records a manifest, its bytes and its edges. Pushing it again
// only counts as use.
func PutManifest(tx *db.Tx, id RepoID, m *oci.Manifest, digest oci.Digest, content []byte) error {
	added, err := AddBlob(tx, Blob{Digest: digest, Size: int64(len(content)), Content: content})
	if err != nil {
		return err
	}
	if !added {
		// The same bytes may be known as an ordinary blob, in the store.
		if _, err := tx.Exec(`INSERT INTO blob_content (digest, content) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING`, digest, content); err != nil {
			return err
		}
	}
	// Pushed again as what it is, it has all its rows.
	if has, err := tx.Exec(`UPDATE manifests SET pushed_at = ? WHERE repository_id = ? AND digest = ? AND media_type = ?`, tx.Now(), id, digest, m.MediaType); err != nil || has > 0 {
		return err
	}
	_, had, err := HasManifest(tx, id, digest) // as another media type
	if err != nil {
		return err
	}
	if !had {
		if err := grow(tx, id, int64(len(content))); err != nil {
			return err
		}
	}
	subject := sql.NullString{String: m.Subject.String(), Valid: m.Subject != ""}
	annotations := ""
	if m.Subject != "" && len(m.Annotations) > 0 {
		b, err := json.Marshal(m.Annotations)
		if err != nil {
			return err
		}
		annotations = string(b)
	}
	if _, err := tx.Exec(`INSERT INTO manifests (repository_id, digest, media_type, artifact_type, subject, annotations, size, pushed_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (repository_id, digest) DO UPDATE SET media_type = excluded.media_type,
		artifact_type = excluded.artifact_type, subject = excluded.subject, annotations = excluded.annotations, pushed_at = excluded.pushed_at`,
		id, digest, m.MediaType, m.ArtifactType, subject, annotations, len(content), tx.Now()); err != nil {
		return err
	}
	for _, e := range m.Edges {
		if _, err := tx.Exec(`INSERT INTO edges (parent, child, kind, size) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`, digest, e.Digest, e.Kind, e.Size); err != nil {
			return err
		}
	}
	return nil
}

const (
	byTag = `SELECT m.digest, m.media_type, m.size FROM repositories r
		JOIN tags t ON t.repository_id = r.id
		JOIN manifests m ON m.repository_id = r.id AND m.digest = t.digest
		WHERE r.name = ? AND t.name = ?`
	byDigest = `SELECT m.digest, m.media_type, m.size FROM repositories r
		JOIN manifests m ON m.repository_id = r.id
		WHERE r.name = ? AND m.digest = ?`
	contentByTag = `SELECT m.digest, m.media_type, m.size, c.content FROM repositories r
		JOIN tags t ON t.repository_id = r.id
		JOIN manifests m ON m.repository_id = r.id AND m.digest = t.digest
		JOIN blob_content c ON c.digest = m.digest
		WHERE r.name = ? AND t.name = ?`
	contentByDigest = `SELECT m.digest, m.media_type, m.size, c.content FROM repositories r
		JOIN manifests m ON m.repository_id = r.id
		JOIN blob_content c ON c.digest = m.digest
		WHERE r.name = ? AND m.digest = ?`
)

// StatManifest resolves a tag or a digest.
func StatManifest(tx *db.Tx, repository string, ref oci.Reference) (m Manifest, found bool, err error) {
	if ref.Tag != "" {
		found, err = tx.Row(byTag, []any{repository, ref.Tag}, &m.Digest, &m.MediaType, &m.Size)
	} else {
		found, err = tx.Row(byDigest, []any{repository, ref.Digest}, &m.Digest, &m.MediaType, &m.Size)
	}
	return m, found, err
}

// FindManifest is StatManifest with the content.
func FindManifest(tx *db.Tx, repository string, ref oci.Reference) (m Manifest, found bool, err error) {
	if ref.Tag != "" {
		found, err = tx.Row(contentByTag, []any{repository, ref.Tag}, &m.Digest, &m.MediaType, &m.Size, &m.Content)
	} else {
		found, err = tx.Row(contentByDigest, []any{repository, ref.Digest}, &m.Digest, &m.MediaType, &m.Size, &m.Content)
	}
	return m, found, err
}

// HasManifest reports whether the repository holds a manifest, and its size.
func HasManifest(tx *db.Tx, id RepoID, d oci.Digest) (size int64, found bool, err error) {
	found, err = tx.Row(`SELECT size FROM manifests WHERE repository_id = ? AND digest = ?`, []any{id, d}, &size)
	return size, found, err
}

// errStop ends a listing early.
var errStop = errors.New("enough")

// Referrers lists up to n manifests whose subject is d, in the order of their
// digests after last, of one artifact type unless that is empty. It stops
// before their annotations take more than budget bytes of JSON, and more is
// true then; one manifest is always listed.
func Referrers(tx *db.Tx, repository string, d oci.Digest, artifactType string, last oci.Digest, n, budget int) (list []Manifest, more bool, err error) {
	err = tx.Each(`SELECT m.digest, m.media_type, m.artifact_type, m.size, m.annotations FROM repositories r
		JOIN manifests m ON m.repository_id = r.id
		WHERE r.name = ? AND m.subject = ? AND m.digest > ? AND (? = '' OR m.artifact_type = ?)
		ORDER BY m.digest LIMIT ?`, []any{repository, d, last, artifactType, artifactType, n},
		func(scan func(...any) error) error {
			m := Manifest{Subject: d}
			var annotations string
			if err := scan(&m.Digest, &m.MediaType, &m.ArtifactType, &m.Size, &annotations); err != nil {
				return err
			}
			if budget -= len(annotations); budget < 0 && len(list) > 0 {
				more = true
				return errStop
			}
			if annotations != "" {
				if err := json.Unmarshal([]byte(annotations), &m.Annotations); err != nil {
					return err
				}
			}
			list = append(list, m)
			return nil
		})
	if errors.Is(err, errStop) {
		err = nil
	}
	return list, more, err
}

// Manifests lists up to n digests of a repository's manifests after last.
func Manifests(tx *db.Tx, id RepoID, last oci.Digest, n int) (list []Manifest, err error) {
	err = tx.Each(`SELECT digest, media_type, size FROM manifests WHERE repository_id = ? AND digest > ? ORDER BY digest LIMIT ?`, []any{id, last, n},
		func(scan func(...any) error) error {
			var m Manifest
			if err := scan(&m.Digest, &m.MediaType, &m.Size); err != nil {
				return err
			}
			list = append(list, m)
			return nil
		})
	return list, err
}
