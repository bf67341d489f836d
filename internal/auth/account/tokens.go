package account

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"slipway/internal/auth"
	"slipway/internal/db"
)

// Token is a row of tokens. Times are milliseconds since 1970.
type Token struct {
	ID        int64
	OwnerKind auth.Kind // KindUser or KindRobot
	Owner     string
	Name      string
	Scopes    auth.Scopes // empty: all that the owner may
	Created   int64
	CreatedBy string
	Expires   int64 // 0: never
	Used      int64 // 0: never
	Revoked   int64 // 0: not
}

// NewToken is what CreateToken needs. Secret comes from NewSecret with the
// prefix that PrefixFor gives, before the transaction.
type NewToken struct {
	OwnerKind auth.Kind
	Owner     string
	Name      string
	Scopes    auth.Scopes
	Expires   int64 // milliseconds since 1970; 0: never
	CreatedBy string
	Secret    Secret
}

// PrefixFor is the prefix of tokens of a kind of account.
func PrefixFor(owner auth.Kind) Prefix {
	if owner == auth.KindRobot {
		return PrefixRobot
	}
	return PrefixPersonal
}

// CreateToken adds a token of a user or a robot and returns its row. The owner
// must exist, in the database or in the htpasswd file: the caller knows, since
// it has looked it up with Accounts.Current. The tokens of a user who logs in
// elsewhere have an end, which the last login set; one without gets that.
func CreateToken(tx *db.Tx, n NewToken) (Token, error) {
	if n.OwnerKind != auth.KindUser && n.OwnerKind != auth.KindRobot {
		return Token{}, fmt.Errorf("create token: %q has no tokens, only users and robots: %w", n.OwnerKind, ErrInvalid)
	}
	if p, ok := PrefixOf(n.Secret.value); !ok || p != PrefixFor(n.OwnerKind) || !whole(n.Secret.value) {
		return Token{}, fmt.Errorf("create token: its secret was not made for a %s: %w", n.OwnerKind, ErrInvalid)
	}
	if n.Name == "" {
		return Token{}, fmt.Errorf("create token of %s: it needs a name, which says where it is used: %w", n.Owner, ErrInvalid)
	}
	if err := checkText(n.Name); err != nil {
		return Token{}, fmt.Errorf("create token of %s: name: %w", n.Owner, err)
	}
	if n.Expires != 0 && n.Expires <= tx.Now() {
		return Token{}, fmt.Errorf("create token %q of %s: it would have expired at %s: %w", n.Name, n.Owner, moment(n.Expires), ErrInvalid)
	}
	var err error
	if n.Expires, err = endOfToken(tx, n); err != nil {
		return Token{}, err
	}
	var id int64
	if found, err := tx.Row(`SELECT id FROM tokens WHERE owner_kind = ? AND owner = ? AND name = ? AND revoked_at = 0`, []any{n.OwnerKind, n.Owner, n.Name}, &id); err != nil {
		return Token{}, err
	} else if found {
		return Token{}, fmt.Errorf("create token %q of %s: there is one of that name: revoke it first, or choose another name: %w", n.Name, n.Owner, ErrExists)
	}
	scopes, err := json.Marshal(n.Scopes)
	if err != nil {
		return Token{}, err
	}
	t := Token{OwnerKind: n.OwnerKind, Owner: n.Owner, Name: n.Name, Scopes: n.Scopes, Created: tx.Now(), CreatedBy: n.CreatedBy, Expires: n.Expires}
	if _, err := tx.Row(`INSERT INTO tokens (hash, owner_kind, owner, name, scopes, created_at, created_by, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		[]any{hashSecret(n.Secret.value), t.OwnerKind, t.Owner, t.Name, string(scopes), t.Created, t.CreatedBy, t.Expires}, &t.ID); err != nil {
		return Token{}, err
	}
	return t, auth.Touch(tx)
}

// RevokeToken ends a token, and with it the refresh tokens and access tokens
// that were got with it. Its row stays, for the record. It returns the token as
// it was; revoking again changes nothing.
func RevokeToken(tx *db.Tx, id int64) (Token, error) {
	t, found, err := TokenByID(tx, id)
	if err != nil {
		return t, err
	}
	if !found {
		return t, fmt.Errorf("token %d: %w", id, ErrNotFound)
	}
	if t.Revoked != 0 {
		return t, nil
	}
	if _, err := tx.Exec(`UPDATE tokens SET revoked_at = ? WHERE id = ?`, tx.Now(), id); err != nil {
		return t, err
	}
	if _, err := tx.Exec(`DELETE FROM refresh_tokens WHERE token_id = ?`, id); err != nil {
		return t, err
	}
	return t, auth.Touch(tx)
}

func dropTokens(tx *db.Tx, kind auth.Kind, owner string) error {
	for _, query := range []string{`DELETE FROM tokens WHERE owner_kind = ? AND owner = ?`, `DELETE FROM refresh_tokens WHERE owner_kind = ? AND owner = ?`} {
		if _, err := tx.Exec(query, kind, owner); err != nil {
			return err
		}
	}
	return nil
}

const tokenColumns = `SELECT id, owner_kind, owner, name, scopes, created_at, created_by, expires_at, used_at, revoked_at FROM tokens `

// Tokens lists the tokens of an account, the revoked ones too, by id.
func Tokens(tx *db.Tx, kind auth.Kind, owner string) ([]Token, error) {
	return tokens(tx, tokenColumns+`WHERE owner_kind = ? AND owner = ? ORDER BY id`, kind, owner)
}

// TokenByID reads one token.
func TokenByID(tx *db.Tx, id int64) (Token, bool, error) {
	list, err := tokens(tx, tokenColumns+`WHERE id = ?`, id)
	if err != nil || len(list) == 0 {
		return Token{}, false, err
	}
	return list[0], true, nil
}

func tokens(tx *db.Tx, query string, args ...any) (list []Token, err error) {
	err = tx.Each(query, args, func(scan func(...any) error) error {
		var t Token
		var scopes string
		if err := scan(&t.ID, &t.OwnerKind, &t.Owner, &t.Name, &scopes, &t.Created, &t.CreatedBy, &t.Expires, &t.Used, &t.Revoked); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(scopes), &t.Scopes); err != nil {
			return fmt.Errorf("scopes of token %d: %w", t.ID, err)
		}
		list = append(list, t)
		return nil
	})
	return list, err
}

// check says why a token is of no use at a time. Only its holder is told.
func (t Token) check(now int64) error {
	switch {
	case t.ID == 0:
		return fmt.Errorf("the token is gone: %w", ErrRefused)
	case t.Revoked != 0:
		return fmt.Errorf("token %q was revoked at %s: make a new one: %w", t.Name, moment(t.Revoked), ErrRefused)
	case t.Expires != 0 && t.Expires <= now:
		return fmt.Errorf("token %q expired at %s: make a new one: %w", t.Name, moment(t.Expires), ErrRefused)
	}
	return nil
}

func moment(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

// BySecret is the identity of a personal or robot token. The error is
// ErrRefused if there is no such token or it is of no use any more; it says why
// only to who shows a token that was right once.
func (a *Accounts) BySecret(ctx context.Context, secret string) (auth.Identity, error) {
	prefix, ok := PrefixOf(secret)
	if !ok || prefix == PrefixRefresh || !whole(secret) {
		return auth.Identity{}, fmt.Errorf("this is not a whole token, its checksum is wrong: %w", ErrRefused)
	}
	list, err := tokens(a.db.Read(ctx), tokenColumns+`WHERE hash = ?`, hashSecret(secret))
	if err != nil {
		return auth.Identity{}, fmt.Errorf("look up a token: %w", err)
	}
	if len(list) == 0 || PrefixFor(list[0].OwnerKind) != prefix {
		return auth.Identity{}, fmt.Errorf("the token is not known here: %w", ErrRefused)
	}
	t := list[0]
	i, err := a.Current(ctx, t.OwnerKind, t.Owner, t.ID)
	if err == nil {
		a.Used(i)
	}
	return i, err
}
