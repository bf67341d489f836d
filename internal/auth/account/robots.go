package account

import (
	"fmt"
	"strings"

	"slipway/internal/auth"
	"slipway/internal/db"
)

// Robot is a row of robots: an account for machines, which has tokens only.
// Times are milliseconds since 1970, 0 for never.
type Robot struct {
	Name        string
	Description string
	Disabled    bool
	Created     int64
	Used        int64
}

const maxDescription = 200

// CreateRobot adds a robot. It may do nothing until a rule names it, and cannot
// log in until it has a token.
func CreateRobot(tx *db.Tx, name, description string) error {
	if err := auth.CheckName(name); err != nil {
		return fmt.Errorf("create robot: %w: %w", err, ErrInvalid)
	}
	if err := checkText(description); err != nil {
		return fmt.Errorf("create robot %s: description: %w", name, err)
	}
	var taken string
	if found, err := tx.Row(`SELECT name FROM robots WHERE lower(name) = lower(?)`, []any{name}, &taken); err != nil {
		return err
	} else if found {
		return fmt.Errorf("create robot %s: there is %s already; names must differ by more than case: %w", name, taken, ErrExists)
	}
	if _, err := tx.Exec(`INSERT INTO robots (name, description, created_at) VALUES (?, ?, ?)`, name, description, tx.Now()); err != nil {
		return err
	}
	return auth.Touch(tx)
}

// SetRobotDisabled shuts a robot out, with all tokens, or lets it in again.
func SetRobotDisabled(tx *db.Tx, name string, disabled bool) error {
	return changeRobot(tx, name, `UPDATE robots SET disabled = ? WHERE name = ?`, toInt(disabled), name)
}

// DeleteRobot removes a robot and its tokens. Rules that name it stay.
func DeleteRobot(tx *db.Tx, name string) error {
	if err := changeRobot(tx, name, `DELETE FROM robots WHERE name = ?`, name); err != nil {
		return err
	}
	return dropTokens(tx, auth.KindRobot, name)
}

func changeRobot(tx *db.Tx, name, query string, args ...any) error {
	n, err := tx.Exec(query, args...)
	if err == nil && n == 0 {
		err = fmt.Errorf("robot %q: %w", name, ErrNotFound)
	}
	if err != nil {
		return err
	}
	return auth.Touch(tx)
}

// Robots lists all robots by name.
func Robots(tx *db.Tx) (list []Robot, err error) {
	err = tx.Each(`SELECT name, description, disabled, created_at, used_at FROM robots ORDER BY name`, nil, func(scan func(...any) error) error {
		r, err := scanRobot(scan)
		list = append(list, r)
		return err
	})
	return list, err
}

// RobotNamed reads one robot.
func RobotNamed(tx *db.Tx, name string) (r Robot, found bool, err error) {
	err = tx.Each(`SELECT name, description, disabled, created_at, used_at FROM robots WHERE name = ?`, []any{name}, func(scan func(...any) error) error {
		found = true
		r, err = scanRobot(scan)
		return err
	})
	return r, found && err == nil, err
}

func scanRobot(scan func(...any) error) (r Robot, err error) {
	var disabled int
	err = scan(&r.Name, &r.Description, &disabled, &r.Created, &r.Used)
	r.Disabled = disabled != 0
	return r, err
}

// checkText holds for what is shown to people and has no other meaning.
func checkText(s string) error {
	if len(s) > maxDescription {
		return fmt.Errorf("it has %d bytes; the limit is %d: %w", len(s), maxDescription, ErrInvalid)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }) {
		return fmt.Errorf("%q has control characters: %w", s, ErrInvalid)
	}
	return nil
}
