package audit

import (
	"fmt"
	"strings"

	"slipway/internal/db"
)

// Filter chooses entries. Its zero value chooses all.
type Filter struct {
	Since, Until int64 // milliseconds since 1970, the first included and the second not; 0: open
	Actor        string
	Address      string
	Action       string
	Repository   string
	Outcome      Outcome
	// Before and After are ids of entries: pages go on where the last ended.
	Before, After int64
	// Forward lists the oldest first; otherwise the newest come first.
	Forward bool
	// Limit is the most entries of a page. Default 100, at most 1000.
	Limit int
}

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// List reads a page of entries. The next page begins Before (or, forward,
// After) the id of the last entry.
func List(tx *db.Tx, f Filter) (list []Entry, err error) {
	if f.Outcome != "" && f.Outcome != Allowed && f.Outcome != Refused {
		return nil, fmt.Errorf("outcome %q is not known: use %s or %s", f.Outcome, Allowed, Refused)
	}
	if f.Limit <= 0 {
		f.Limit = defaultLimit
	}
	query, args := f.statement()
	list = []Entry{}
	err = tx.Each(query, args, func(scan func(...any) error) error {
		var e Entry
		if err := scan(&e.ID, &e.At, &e.Actor, &e.Address, &e.Action, &e.Repository, &e.Subject, &e.OldDigest, &e.NewDigest, &e.Outcome, &e.Reason, &e.Times); err != nil {
			return err
		}
		list = append(list, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	return list, nil
}

// statement has only the conditions that are set, so that an index serves them.
// There are few enough of them for the database to keep each prepared.
func (f Filter) statement() (query string, args []any) {
	query = `SELECT id, at, actor, address, action, repository, subject, old_digest, new_digest, outcome, reason, times FROM audit WHERE id > ?`
	args = []any{f.After}
	add := func(set bool, condition string, value any) {
		if set {
			query += " AND " + condition
			args = append(args, value)
		}
	}
	add(f.Before > 0, `id < ?`, f.Before)
	add(f.Since > 0, `at >= ?`, f.Since)
	add(f.Until > 0, `at < ?`, f.Until)
	add(f.Actor != "", `actor = ?`, f.Actor)
	add(f.Address != "", `address = ?`, f.Address)
	add(f.Action != "", `action = ?`, f.Action)
	add(f.Repository != "", `repository = ?`, f.Repository)
	add(f.Outcome != "", `outcome = ?`, f.Outcome)
	direction := `DESC`
	if f.Forward {
		direction = `ASC`
	}
	return query + ` ORDER BY id ` + direction + ` LIMIT ?`, append(args, min(f.Limit, maxLimit))
}

// String is one line for people, without its time.
func (e Entry) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", e.Actor, e.Outcome, e.Action)
	if e.Repository != "" {
		fmt.Fprintf(&b, " in %s", e.Repository)
	}
	if e.Subject != "" {
		fmt.Fprintf(&b, " %s", e.Subject)
	}
	if e.OldDigest != "" || e.NewDigest != "" {
		fmt.Fprintf(&b, " %s -> %s", orNone(e.OldDigest), orNone(e.NewDigest))
	}
	if e.Address != "" {
		fmt.Fprintf(&b, " from %s", e.Address)
	}
	if e.Times > 1 {
		fmt.Fprintf(&b, ", %d times", e.Times)
	}
	if e.Reason != "" {
		fmt.Fprintf(&b, ": %s", e.Reason)
	}
	return b.String()
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
