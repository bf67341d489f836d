package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/bcrypt"

	"slipway/internal/auth"
	"slipway/internal/db"
)

// PasswordCost is the bcrypt cost of passwords that are set here: about a tenth
// of a second.
const PasswordCost = 11

const (
	minPassword = 8
	maxPassword = 72 // bcrypt reads no further
)

// User is a row of users. Times are milliseconds since 1970, 0 for never.
type User struct {
	Name     string
	Groups   []string
	Disabled bool
	Created  int64
	Used     int64
	// HasPassword is false for users that come from elsewhere.
	HasPassword bool
	hash        string
}

// NewUser is what CreateUser needs. Hash comes from HashPassword; empty, the
// user cannot log in with a password.
type NewUser struct {
	Name   string
	Hash   string
	Groups []string
}

// HashPassword makes what is kept of a password. It takes its time: not for use
// within a transaction.
func HashPassword(password string) (string, error) {
	if len(password) < minPassword || len(password) > maxPassword {
		return "", fmt.Errorf("the password has %d bytes: use %d to %d: %w", len(password), minPassword, maxPassword, ErrInvalid)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), PasswordCost)
	return string(hash), err
}

// CreateUser adds a user.
func CreateUser(tx *db.Tx, u NewUser) error {
	if err := auth.CheckName(u.Name); err != nil {
		return fmt.Errorf("create user: %w: %w", err, ErrInvalid)
	}
	groups, err := groupList(u.Groups)
	if err != nil {
		return fmt.Errorf("create user %s: %w", u.Name, err)
	}
	var taken string
	if found, err := tx.Row(`SELECT name FROM users WHERE lower(name) = lower(?)`, []any{u.Name}, &taken); err != nil {
		return err
	} else if found {
		return fmt.Errorf("create user %s: there is %s already; names must differ by more than case: %w", u.Name, taken, ErrExists)
	}
	if _, err := tx.Exec(`INSERT INTO users (name, hash, groups, created_at) VALUES (?, ?, ?, ?)`, u.Name, u.Hash, groups, tx.Now()); err != nil {
		return err
	}
	return auth.Touch(tx)
}

// SetPassword gives a user another password. Whoever had logged in with the old
// one has to log in again: its refresh tokens end, tokens do not.
func SetPassword(tx *db.Tx, name, hash string) error {
	if issuer, _, err := comesFrom(tx, name); err != nil {
		return err
	} else if issuer != "" {
		return fmt.Errorf("user %s logs in at %s and gets no password here, which would outlast that: %w", name, issuer, ErrInvalid)
	}
	if err := changeUser(tx, name, `UPDATE users SET hash = ? WHERE name = ?`, hash, name); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM refresh_tokens WHERE owner_kind = ? AND owner = ? AND token_id = 0`, auth.KindUser, name)
	return err
}

// SetGroups replaces the groups of a user.
func SetGroups(tx *db.Tx, name string, groups []string) error {
	list, err := groupList(groups)
	if err != nil {
		return fmt.Errorf("change user %s: %w", name, err)
	}
	return changeUser(tx, name, `UPDATE users SET groups = ? WHERE name = ?`, list, name)
}

// SetUserDisabled shuts a user out, with all tokens, or lets it in again.
func SetUserDisabled(tx *db.Tx, name string, disabled bool) error {
	return changeUser(tx, name, `UPDATE users SET disabled = ? WHERE name = ?`, toInt(disabled), name)
}

// DeleteUser removes a user and its tokens. Rules that name it stay: a later
// user of that name has them.
func DeleteUser(tx *db.Tx, name string) error {
	if err := changeUser(tx, name, `DELETE FROM users WHERE name = ?`, name); err != nil {
		return err
	}
	return dropTokens(tx, auth.KindUser, name)
}

func changeUser(tx *db.Tx, name, query string, args ...any) error {
	n, err := tx.Exec(query, args...)
	if err == nil && n == 0 {
		err = fmt.Errorf("user %q: %w", name, ErrNotFound)
	}
	if err != nil {
		return err
	}
	return auth.Touch(tx)
}

// Users lists all users of the database by name.
func Users(tx *db.Tx) (list []User, err error) {
	err = tx.Each(`SELECT name, hash, groups, disabled, created_at, used_at FROM users ORDER BY name`, nil, func(scan func(...any) error) error {
		u, err := scanUser(scan)
		list = append(list, u)
		return err
	})
	return list, err
}

// UserNamed reads one user of the database.
func UserNamed(tx *db.Tx, name string) (u User, found bool, err error) {
	err = tx.Each(`SELECT name, hash, groups, disabled, created_at, used_at FROM users WHERE name = ?`, []any{name}, func(scan func(...any) error) error {
		found = true
		u, err = scanUser(scan)
		return err
	})
	return u, found && err == nil, err
}

func scanUser(scan func(...any) error) (u User, err error) {
	var groups string
	var disabled int
	if err := scan(&u.Name, &u.hash, &groups, &disabled, &u.Created, &u.Used); err != nil {
		return u, err
	}
	u.Disabled, u.HasPassword = disabled != 0, u.hash != ""
	if err := json.Unmarshal([]byte(groups), &u.Groups); err != nil {
		return u, fmt.Errorf("groups of user %s: %w", u.Name, err)
	}
	return u, nil
}

func groupList(groups []string) (string, error) {
	for _, g := range groups {
		if err := auth.CheckGroup(g); err != nil {
			return "", fmt.Errorf("%w: %w", err, ErrInvalid)
		}
		if g == auth.GroupHtpasswd {
			return "", fmt.Errorf("group %s is that of the users in the htpasswd file: choose another: %w", g, ErrInvalid)
		}
	}
	list := slices.Clone(groups)
	slices.Sort(list)
	list = slices.Compact(list)
	if list == nil {
		list = []string{}
	}
	b, err := json.Marshal(list)
	return string(b), err
}

// EnsureAdmin makes the user admin with a random password if there is no user
// at all, and returns the password, to be shown once: nothing else knows it.
// It is empty if there was a user. tx runs in the same transaction and may be
// nil.
func (a *Accounts) EnsureAdmin(ctx context.Context, also func(*db.Tx) error) (password string, err error) {
	if any, err := hasUser(a.db.Read(ctx)); err != nil || any {
		return "", err
	}
	password = randomPassword()
	hash, err := HashPassword(password)
	if err != nil {
		return "", err
	}
	err = a.db.Update(ctx, func(tx *db.Tx) error {
		if any, err := hasUser(tx); err != nil || any {
			return errors.Join(err, ErrExists)
		}
		if err := CreateUser(tx, NewUser{Name: "admin", Hash: hash, Groups: []string{auth.GroupAdmins}}); err != nil || also == nil {
			return err
		}
		return also(tx)
	})
	if errors.Is(err, ErrExists) { // another process was first
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("make the user admin: %w", err)
	}
	return password, nil
}

// ResetPassword gives a user a random password, enables it, and returns the
// password, to be shown once. also runs in the same transaction and may be nil.
func (a *Accounts) ResetPassword(ctx context.Context, name string, also func(*db.Tx) error) (password string, err error) {
	password = randomPassword()
	hash, err := HashPassword(password)
	if err != nil {
		return "", err
	}
	err = a.db.Update(ctx, func(tx *db.Tx) error {
		if err := errors.Join(SetPassword(tx, name, hash), SetUserDisabled(tx, name, false)); err != nil || also == nil {
			return err
		}
		return also(tx)
	})
	if err != nil {
		return "", err
	}
	return password, nil
}

func hasUser(tx *db.Tx) (bool, error) {
	var one int
	return tx.Row(`SELECT 1 FROM users LIMIT 1`, nil, &one)
}

func toInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
