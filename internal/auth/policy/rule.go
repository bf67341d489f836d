package policy

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"slipway/internal/auth"
	"slipway/internal/db"
)

// What callers branch on. The errors that wrap these say what to do.
var (
	ErrNotFound = errors.New("there is no such rule")
	ErrInvalid  = errors.New("not valid")
)

// Rule allows a subject some actions in some repositories. Times are
// milliseconds since 1970.
type Rule struct {
	ID           int64
	Subject      auth.Subject
	Repositories auth.Glob
	Actions      []auth.Action // of auth.Grantable; none implies another
	Expires      int64         // 0: never. A rule for a network must have an end
	Note         string
	Created      int64
	CreatedBy    string
}

// ParseRule makes a rule of the texts that people write.
func ParseRule(subject, actions, repositories string) (r Rule, err error) {
	if r.Subject, err = auth.ParseSubject(subject); err != nil {
		return r, fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	if r.Actions, err = auth.ParseActions(actions); err != nil {
		return r, fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	if r.Repositories, err = auth.ParseGlob(repositories); err != nil {
		return r, fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	return r, nil
}

// String says what the rule allows, such as "group:dev may pull,push in team/**".
func (r Rule) String() string {
	s := fmt.Sprintf("%s may %s in %s", r.Subject, auth.JoinActions(r.Actions), r.Repositories)
	if r.Expires != 0 {
		s += " until " + moment(r.Expires)
	}
	return s
}

func moment(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

func (r Rule) grace() bool { return r.Subject.Kind == auth.SubjectNetwork }

func (r Rule) live(now int64) bool { return r.Expires == 0 || now < r.Expires }

// AddRule stores a rule and returns it with its id.
func AddRule(tx *db.Tx, r Rule) (Rule, error) {
	switch {
	case r.Subject.Kind == "" || len(r.Actions) == 0 || r.Repositories.String() == "":
		return r, fmt.Errorf("add rule: it needs a subject, actions and repositories: %w", ErrInvalid)
	case r.Expires != 0 && r.Expires <= tx.Now():
		return r, fmt.Errorf("add rule: it would have ended at %s: %w", moment(r.Expires), ErrInvalid)
	case r.grace() && r.Expires == 0:
		return r, fmt.Errorf("add rule for %s: whoever is in a network needs no login, so the rule must have an end: give a date: %w", r.Subject, ErrInvalid)
	}
	if err := checkNote(r.Note); err != nil {
		return r, fmt.Errorf("add rule: %w", err)
	}
	r.Created = tx.Now()
	if _, err := tx.Row(`INSERT INTO rules (subject, repositories, actions, expires_at, note, created_at, created_by) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		[]any{r.Subject.String(), r.Repositories.String(), auth.JoinActions(r.Actions), r.Expires, r.Note, r.Created, r.CreatedBy}, &r.ID); err != nil {
		return r, err
	}
	return r, auth.Touch(tx)
}

// RemoveRule removes a rule and returns it.
func RemoveRule(tx *db.Tx, id int64) (Rule, error) {
	list, err := rules(tx, ruleColumns+`WHERE id = ?`, id)
	if err != nil {
		return Rule{}, err
	}
	if len(list) == 0 {
		return Rule{}, fmt.Errorf("rule %d: %w", id, ErrNotFound)
	}
	if _, err := tx.Exec(`DELETE FROM rules WHERE id = ?`, id); err != nil {
		return Rule{}, err
	}
	return list[0], auth.Touch(tx)
}

const ruleColumns = `SELECT id, subject, repositories, actions, expires_at, note, created_at, created_by FROM rules `

// Rules lists all rules by id.
func Rules(tx *db.Tx) ([]Rule, error) { return rules(tx, ruleColumns+`ORDER BY id`) }

func rules(tx *db.Tx, query string, args ...any) (list []Rule, err error) {
	err = tx.Each(query, args, func(scan func(...any) error) error {
		var id, expires, created int64
		var subject, repositories, actions, note, by string
		if err := scan(&id, &subject, &repositories, &actions, &expires, &note, &created, &by); err != nil {
			return err
		}
		r, err := ParseRule(subject, actions, repositories)
		if err != nil {
			return fmt.Errorf("rule %d: %w", id, err)
		}
		r.ID, r.Expires, r.Note, r.Created, r.CreatedBy = id, expires, note, created, by
		list = append(list, r)
		return nil
	})
	return list, err
}

const maxNote = 200

func checkNote(s string) error {
	if len(s) > maxNote || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }) {
		return fmt.Errorf("the note is longer than %d bytes or has control characters: %w", maxNote, ErrInvalid)
	}
	return nil
}
