// Package audit is the record of who did what: every change, written in the
// transaction that makes it, and every attempt that was refused, written
// shortly after. Rows are only ever added.
//
// The two differ in who pays. A change waits for its row, so that none is
// without one. A refused attempt does not: whoever may do nothing must not be
// able to make the database busy or the disk full. A Recorder gathers such
// attempts for a second, writes equal ones as one row with their number, and
// drops what is beyond its room, which it counts and writes down as well. Room
// comes back slowly: a flood fills it once.
package audit

import (
	"fmt"
	"strings"

	"slipway/internal/db"
)

// Outcome is what became of an attempt.
type Outcome string

// The outcomes.
const (
	Allowed Outcome = "allowed"
	Refused Outcome = "refused"
)

// Entry is a row. What an action has no use for is empty. There is never a
// secret in one.
type Entry struct {
	ID         int64
	At         int64  // milliseconds since 1970
	Actor      string // as auth.Identity.Actor has it
	Address    string // where the call came from, without a port
	Action     string // such as push, login, user.create
	Repository string
	Subject    string // what it was about beside the repository: a tag, a user, a rule
	OldDigest  string
	NewDigest  string
	Outcome    Outcome
	Reason     string // why it was refused, or which rule allowed it
	Times      int64  // so many equal attempts; 0 counts as 1
}

// textLimit bounds what a caller can make the table keep.
const textLimit = 400

// Append adds an entry to the transaction that it tells of, at its time.
func Append(tx *db.Tx, e Entry) error { return insert(tx, e, tx.Now()) }

func insert(tx *db.Tx, e Entry, at int64) error {
	e = e.clean()
	_, err := tx.Exec(`INSERT INTO audit (at, actor, address, action, repository, subject, old_digest, new_digest, outcome, reason, times) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		at, e.Actor, e.Address, e.Action, e.Repository, e.Subject, e.OldDigest, e.NewDigest, e.Outcome, e.Reason, max(e.Times, 1))
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	return nil
}

// clean shortens texts and takes out control characters, which could deceive
// who reads the log in a terminal.
func (e Entry) clean() Entry {
	for _, s := range []*string{&e.Actor, &e.Address, &e.Action, &e.Repository, &e.Subject, &e.OldDigest, &e.NewDigest, &e.Reason} {
		if len(*s) > textLimit {
			*s = (*s)[:textLimit] + "…"
		}
		*s = strings.Map(func(r rune) rune {
			if r < ' ' || (r >= 0x7f && r < 0xa0) || r == '\u2028' || r == '\u2029' || (r >= '\u202a' && r <= '\u202e') || (r >= '\u2066' && r <= '\u2069') {
				return '\ufffd'
			}
			return r
		}, strings.ToValidUTF8(*s, "\ufffd"))
	}
	return e
}
