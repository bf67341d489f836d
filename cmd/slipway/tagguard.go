//go:build unix

package main

import (
	"context"
	"errors"

	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/auth/policy"
	"slipway/internal/db"
	"slipway/internal/meta"
	"slipway/internal/mirror"
)

// guardTags holds every move of a tag to the rules about tags, whoever makes it
// and however. A mirrored tag moves with its upstream: what may be pushed there
// is for the mirror's own guard.
func guardTags(a *account.Accounts, p *policy.Policy) meta.Guard {
	return func(tx *db.Tx, m meta.Move) error {
		if m.Tag == "" || m.Old == m.New || m.Change.Actor == mirror.Actor {
			return nil
		}
		by, err := a.ByActor(context.Background(), m.Change.Actor)
		if err != nil {
			if !errors.Is(err, account.ErrInvalid) && !errors.Is(err, account.ErrRefused) {
				return err
			}
			by = auth.Identity{} // who has no account any more is nobody
		}
		return p.CheckMove(tx, policy.Move{Repository: m.Repository, Tag: m.Tag, Old: m.Old, New: m.New, By: by})
	}
}
