package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"slipway/internal/db"
	"slipway/internal/meta"
	"slipway/internal/oci"
)

// Quota is how much may be kept. Sizes are bytes, and 0 is no limit. What
// counts is said in package meta.
//
// The transaction that adds content decides: it compares the counters before
// and after, so pushes at the same time cannot pass the limit together. What is
// asked earlier only saves a client from sending what will be refused. Nothing
// that adds no bytes is refused, so tags move, and images are pushed again,
// where no more fits; but an upload in parts, which says at its end what it is,
// has to fit as if it were new. Uploads under way do not count; storage.reserve keeps
// them from filling the disk.
type Quota struct {
	Total      int64 // of all blobs, each once
	Repository int64 // of each repository that has no quota of its own
	// Exempt, if set, names repositories that only Total holds for. Those of
	// the server itself, whose names begin with an underscore, always are.
	Exempt func(repository string) bool
}

// Limit is what a repository may use; 0 is no limit.
func (q *Quota) Limit(u meta.Use) int64 {
	switch {
	case strings.HasPrefix(u.Name, "_") || (q.Exempt != nil && q.Exempt(u.Name)):
		return 0
	case u.Own:
		return u.Quota
	}
	return q.Repository
}

// allowance compares what a transaction adds with what it may.
type allowance struct {
	name          string
	limit, total  int64 // 0: none
	before, after struct{ repository, total int64 }
}

// admit runs a change that may add content to a repository, which it makes if
// it is missing, and refuses the change if it adds more than fits.
func (r *Registry) admit(tx *db.Tx, repository string, a *allowance, change func(meta.RepoID) error) error {
	u, err := meta.UseOf(tx, repository)
	if err != nil {
		return err
	}
	id := u.ID
	if id == 0 {
		if id, err = meta.EnsureRepository(tx, repository); err != nil {
			return err
		}
	}
	*a = allowance{name: repository, limit: r.Quota.Limit(u), total: r.Quota.Total}
	a.before.repository = u.Bytes
	if a.total > 0 {
		if a.before.total, err = meta.TotalUse(tx); err != nil {
			return err
		}
	}
	a.after = a.before
	if err := change(id); err != nil {
		return err
	}
	return a.check(tx)
}

func (a *allowance) check(tx *db.Tx) error {
	if a.limit > 0 {
		u, err := meta.UseOf(tx, a.name)
		if err != nil {
			return err
		}
		if a.after.repository = u.Bytes; u.Bytes > a.limit && u.Bytes > a.before.repository {
			return overQuota(a.name, a.before.repository, a.limit, u.Bytes-a.before.repository)
		}
	}
	if a.total > 0 {
		total, err := meta.TotalUse(tx)
		if err != nil {
			return err
		}
		if a.after.total = total; total > a.total && total > a.before.total {
			return overTotal(a.before.total, a.total, total-a.before.total)
		}
	}
	return nil
}

// warn says, after the commit, that a limit is near, once on the way up.
func (a *allowance) warn(log *slog.Logger) {
	near := func(before, after, limit int64) bool {
		mark := limit - limit/10
		return limit > 0 && before < mark && after >= mark
	}
	if near(a.before.repository, a.after.repository, a.limit) {
		log.Warn("a repository has used 90 % of its quota: delete images of it, or raise the quota with 'slipway quota'", "repo", a.name, "bytes", a.after.repository, "quota", a.limit)
	}
	if near(a.before.total, a.after.total, a.total) {
		log.Warn("the registry has used 90 % of quota.total: delete images and run 'slipway gc', or raise it", "bytes", a.after.total, "quota", a.total)
	}
}

// errQuota is within every refusal because of a quota.
var errQuota = errors.New("quota")

// overQuota is DENIED, which clients do not try again, with the status 413.
func overQuota(repository string, use, limit, need int64) error {
	return oci.NewError(oci.CodeDenied, fmt.Sprintf(
		"the quota of repository %s is %s, it uses %s, and this brings at least %s: delete images of it and run 'slipway gc', or ask an administrator to raise the quota with 'slipway quota %s SIZE'",
		repository, size(limit), size(use), size(need), repository)).
		WithStatus(http.StatusRequestEntityTooLarge).WithDetail(map[string]int64{"quota": limit, "used": use, "needed": need}).WithCause(errQuota)
}

func overTotal(use, limit, need int64) error {
	return oci.NewError(oci.CodeInsufficientSpace, fmt.Sprintf(
		"the quota of the whole registry is %s, it uses %s, and this brings at least %s: delete images and run 'slipway gc', or ask its administrator to raise quota.total",
		size(limit), size(use), size(need))).WithDetail(map[string]int64{"quota": limit, "used": use, "needed": need}).WithCause(errQuota)
}

// size is exact where it is small, since limits are met by single bytes.
func size(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// room is what an upload may come to, as it looks before all of it is here.
type room struct {
	bytes  int64 // -1: no limit
	refuse func(need int64) error
}

// room looks at the counters for an upload to a repository, of the blob d if
// that is known: where it is already it adds nothing.
func (r *Registry) room(ctx context.Context, repository string, d oci.Digest) (room, error) {
	tx := r.DB.Read(ctx)
	all := room{bytes: -1}
	u, err := meta.UseOf(tx, repository)
	if err != nil {
		return all, err
	}
	if limit := r.Quota.Limit(u); limit > 0 {
		_, _, has, err := meta.StatBlob(tx, repository, d)
		if err != nil {
			return all, err
		}
		if !has {
			all = room{max(limit-u.Bytes, 0), func(need int64) error { return overQuota(repository, u.Bytes, limit, need) }}
		}
	}
	if total := r.Quota.Total; total > 0 {
		_, there, err := meta.BlobSize(tx, d)
		if err != nil {
			return all, err
		}
		use, err := meta.TotalUse(tx)
		if err != nil {
			return all, err
		}
		if left := max(total-use, 0); !there && (all.bytes < 0 || left < all.bytes) {
			all = room{left, func(need int64) error { return overTotal(use, total, need) }}
		}
	}
	return all, nil
}

// check refuses more bytes than fit.
func (r *room) check(bytes int64) error {
	if r.bytes < 0 || bytes <= r.bytes {
		return nil
	}
	return r.refuse(bytes)
}
