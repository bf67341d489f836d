package gc

import (
	"context"

	"slipway/internal/db"
	"slipway/internal/meta"
	"slipway/internal/oci"
)

// forecast is what a dry run would have removed so far. Later steps ask it, so
// that they come to the same answers as after a real removal. In a real run it
// stays empty: the rows themselves are gone.
type forecast struct {
	manifests map[meta.RepoID]map[oci.Digest]struct{} // deleted
	members   map[meta.RepoID]int                     // memberships that ended
	copies    map[oci.Digest]int64                    // repositories that lost a manifest
	leaving   map[oci.Digest]int64                    // repositories that let go of a blob
}

func newForecast() forecast {
	return forecast{map[meta.RepoID]map[oci.Digest]struct{}{}, map[meta.RepoID]int{}, map[oci.Digest]int64{}, map[oci.Digest]int64{}}
}

func (f *forecast) deleteManifest(id meta.RepoID, d oci.Digest) {
	if f.manifests[id] == nil {
		f.manifests[id] = map[oci.Digest]struct{}{}
	}
	f.manifests[id][d] = struct{}{}
	f.copies[d]++
}

func (f *forecast) leave(id meta.RepoID, d oci.Digest) {
	f.members[id]++
	f.leaving[d]++
}

func (f *forecast) deleted(id meta.RepoID, d oci.Digest) bool {
	_, ok := f.manifests[id][d]
	return ok
}

// parent returns a manifest of the repository that would still point at d.
func (f *forecast) parent(tx *db.Tx, id meta.RepoID, d oci.Digest, index bool) (parent oci.Digest, found bool, err error) {
	if len(f.manifests[id]) == 0 {
		if index {
			return meta.IndexOf(tx, id, d)
		}
		return meta.UserOf(tx, id, d)
	}
	err = meta.ParentsOf(tx, id, d, index, func(p oci.Digest) {
		if !found && !f.deleted(id, p) {
			parent, found = p, true
		}
	})
	return parent, found, err
}

// held reports whether a repository would still hold a blob, as a member or
// as a manifest.
func (f *forecast) held(ctx context.Context, d *db.DB, digest oci.Digest) (bool, error) {
	tx := d.Read(ctx)
	n, err := meta.CountMembers(tx, digest)
	if err != nil || n > f.leaving[digest] {
		return true, err
	}
	n, err = meta.CountManifests(tx, digest)
	return n > f.copies[digest], err
}

// restorable reports whether a deletion that was forecast would keep a blob.
func (f *forecast) restorable(tx *db.Tx, d oci.Digest) (found bool, err error) {
	if len(f.copies) == 0 {
		return false, nil
	}
	err = meta.Ancestors(tx, d, func(a oci.Digest) { found = found || f.copies[a] > 0 })
	return found, err
}
