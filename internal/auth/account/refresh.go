package account

import (
	"context"
	"fmt"
	"time"

	"slipway/internal/auth"
	"slipway/internal/db"
)

const (
	// refreshLife is how long a client may keep a refresh token.
	refreshLife = 90 * 24 * time.Hour
	// refreshKept is how many an account may have: each 'docker login' adds
	// one, and the oldest gives way.
	refreshKept = 100
)

// IssueRefresh makes a refresh token for an identity that has just logged in,
// bound to a service. client is what the client calls itself, for the record.
func (a *Accounts) IssueRefresh(ctx context.Context, i auth.Identity, service, client string) (Secret, error) {
	if i.Kind != auth.KindUser && i.Kind != auth.KindRobot {
		return Secret{}, fmt.Errorf("%s gets no refresh token: %w", i.Actor(), ErrInvalid)
	}
	if checkText(client) != nil {
		client = ""
	}
	secret := NewSecret(PrefixRefresh)
	err := a.db.Update(ctx, func(tx *db.Tx) error {
		expires := tx.Now() + refreshLife.Milliseconds()
		if i.Credential != 0 {
			t, found, err := TokenByID(tx, i.Credential)
			if err != nil {
				return err
			}
			if !found || t.Revoked != 0 {
				return fmt.Errorf("the token is gone: %w", ErrRefused)
			}
			if t.Expires != 0 {
				expires = min(expires, t.Expires)
			}
		}
		if _, err := tx.Exec(`INSERT INTO refresh_tokens (hash, owner_kind, owner, token_id, service, client, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			hashSecret(secret.value), i.Kind, i.Name, i.Credential, service, client, tx.Now(), expires); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM refresh_tokens WHERE expires_at <= ?`, tx.Now()); err != nil {
			return err
		}
		_, err := tx.Exec(`DELETE FROM refresh_tokens WHERE owner_kind = ? AND owner = ? AND id NOT IN (
			SELECT id FROM refresh_tokens WHERE owner_kind = ? AND owner = ? ORDER BY id DESC LIMIT ?)`, i.Kind, i.Name, i.Kind, i.Name, refreshKept)
		return err
	})
	if err != nil {
		return Secret{}, fmt.Errorf("issue a refresh token to %s: %w", i.Actor(), err)
	}
	return secret, nil
}

// Refresh is the identity that a refresh token stands for, as it is now. The
// error is ErrRefused if it is of no use, or of another service.
func (a *Accounts) Refresh(ctx context.Context, secret, service string) (auth.Identity, error) {
	refused := fmt.Errorf("the refresh token is not valid any more: log in again: %w", ErrRefused)
	if p, ok := PrefixOf(secret); !ok || p != PrefixRefresh || !whole(secret) {
		return auth.Identity{}, refused
	}
	var kind auth.Kind
	var name, bound string
	var id, credential, expires int64
	found, err := a.db.Read(ctx).Row(`SELECT id, owner_kind, owner, token_id, service, expires_at FROM refresh_tokens WHERE hash = ?`,
		[]any{hashSecret(secret)}, &id, &kind, &name, &credential, &bound, &expires)
	if err != nil {
		return auth.Identity{}, fmt.Errorf("look up a refresh token: %w", err)
	}
	if !found || bound != service || expires <= a.db.Now().UnixMilli() {
		return auth.Identity{}, refused
	}
	i, err := a.Current(ctx, kind, name, credential)
	if err == nil {
		a.Used(i)
		a.uses.refresh(id, a.db.Now().UnixMilli())
	}
	return i, err
}
