package meta

import (
	"slipway/internal/db"
	"slipway/internal/oci"
)

// Pin keeps a digest, and all that it points at, from collection until a time
// in milliseconds since 1970, on the database's clock (Tx.Now). holder says
// for a person who needs it, such as "build 44". Pinning again moves the time.
func Pin(tx *db.Tx, holder string, d oci.Digest, expires int64) error {
	_, err := tx.Exec(`INSERT INTO pins (holder, digest, expires_at) VALUES (?, ?, ?)
		ON CONFLICT (holder, digest) DO UPDATE SET expires_at = excluded.expires_at`, holder, d, expires)
	return err
}

// Unpin ends all pins of a holder.
func Unpin(tx *db.Tx, holder string) error {
	_, err := tx.Exec(`DELETE FROM pins WHERE holder = ?`, holder)
	return err
}
