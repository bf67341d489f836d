package account

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"slipway/internal/auth"
	"slipway/internal/db"
)

// Person is who has just logged in at an issuer that this server trusts.
type Person struct {
	// Issuer and Subject together mean one person for ever.
	Issuer  string
	Subject string
	// Name is that of the user to be made at the first login. Later ones find
	// the user by its subject, whatever the issuer calls it then.
	Name   string
	Groups []string
	// TokensUntil is when the tokens of the user end, at the latest, in
	// milliseconds since 1970: who is let in elsewhere is to be asked there
	// again.
	TokensUntil int64
}

// Kept is what KeepPerson did.
type Kept struct {
	Name    string
	Made    bool // there was no such user
	Regroup bool // its groups were others
}

// KeepPerson makes the user of a person, or brings it up to date: its groups
// are those of the person and no others. The user has no password, and
// SetPassword gives it none. Another user of that name is an ErrExists, a
// disabled one an ErrRefused.
func KeepPerson(tx *db.Tx, p Person) (Kept, error) {
	if p.Issuer == "" || p.Subject == "" || p.TokensUntil <= tx.Now() {
		return Kept{}, fmt.Errorf("keep a person: it needs an issuer, a subject and an end that is to come: %w", ErrInvalid)
	}
	name, found, err := PersonNamed(tx, p.Issuer, p.Subject)
	if err != nil {
		return Kept{}, err
	}
	k := Kept{Name: name, Made: !found}
	if !found {
		k.Name = p.Name
		if err := CreateUser(tx, NewUser{Name: p.Name, Groups: p.Groups}); err != nil {
			return Kept{}, err
		}
	} else if k.Regroup, err = regroup(tx, name, p.Groups); err != nil {
		return Kept{}, err
	}
	return k, changeUser(tx, k.Name, `UPDATE users SET issuer = ?, subject = ?, tokens_until = ? WHERE name = ?`, p.Issuer, p.Subject, p.TokensUntil, k.Name)
}

func regroup(tx *db.Tx, name string, groups []string) (changed bool, err error) {
	u, _, err := UserNamed(tx, name)
	if err != nil {
		return false, err
	}
	if u.Disabled {
		return false, fmt.Errorf("user %s is disabled here: an administrator can enable it: %w", name, ErrRefused)
	}
	if err := SetGroups(tx, name, groups); err != nil {
		return false, err
	}
	now, _, err := UserNamed(tx, name)
	return !slices.Equal(u.Groups, now.Groups), err
}

// PersonNamed is the name of the user that a person has.
func PersonNamed(tx *db.Tx, issuer, subject string) (name string, found bool, err error) {
	found, err = tx.Row(`SELECT name FROM users WHERE issuer = ? AND subject = ? AND issuer <> ''`, []any{issuer, subject}, &name)
	return name, found, err
}

// comesFrom is the issuer of a user, "" for one of this server, and when its
// tokens end.
func comesFrom(tx *db.Tx, name string) (issuer string, until int64, err error) {
	_, err = tx.Row(`SELECT issuer, tokens_until FROM users WHERE name = ?`, []any{name}, &issuer, &until)
	return issuer, until, err
}

// endOfToken is the end of a new token: what was asked for, but for a person no
// later than the last login allows.
func endOfToken(tx *db.Tx, n NewToken) (int64, error) {
	if n.OwnerKind != auth.KindUser {
		return n.Expires, nil
	}
	issuer, until, err := comesFrom(tx, n.Owner)
	switch {
	case err != nil || issuer == "":
		return n.Expires, err
	case until <= tx.Now():
		return 0, fmt.Errorf("create token %q of %s: the last login at %s was too long ago: log in there again: %w", n.Name, n.Owner, issuer, ErrInvalid)
	case n.Expires > until:
		return 0, fmt.Errorf("create token %q of %s: who logs in at %s gets no token that ends after %s: choose an earlier end, or log in there again: %w", n.Name, n.Owner, issuer, moment(until), ErrInvalid)
	case n.Expires == 0:
		return until, nil
	}
	return n.Expires, nil
}

// freeTokenName is the first of "login 2026-11-25", "login 2026-11-25 (2)" and
// so on that no token of a user has that could still be used.
func freeTokenName(tx *db.Tx, owner string) (string, error) {
	base := "login " + time.UnixMilli(tx.Now()).UTC().Format(time.DateOnly)
	for n := 1; n <= loginsADay; n++ {
		name := base
		if n > 1 {
			name = fmt.Sprintf("%s (%d)", base, n)
		}
		var id int64
		found, err := tx.Row(`SELECT id FROM tokens WHERE owner_kind = ? AND owner = ? AND name = ? AND revoked_at = 0`, []any{auth.KindUser, owner, name}, &id)
		if err != nil || !found {
			return name, err
		}
	}
	return "", fmt.Errorf("%s has logged in %d times today: use one of the tokens, or revoke some: %w", owner, loginsADay, ErrExists)
}

const loginsADay = 100

// LoginToken makes the token that a person gets by a login. It may do what its
// owner may, until Person.TokensUntil.
func LoginToken(tx *db.Tx, owner string, s Secret) (Token, error) {
	issuer, until, err := comesFrom(tx, owner)
	if err == nil && issuer == "" {
		err = errors.New("it is no user that logs in elsewhere")
	}
	if err != nil {
		return Token{}, fmt.Errorf("create token of %s: %w", owner, err)
	}
	name, err := freeTokenName(tx, owner)
	if err != nil {
		return Token{}, err
	}
	return CreateToken(tx, NewToken{OwnerKind: auth.KindUser, Owner: owner, Name: name, Expires: until, CreatedBy: "user:" + owner, Secret: s})
}
