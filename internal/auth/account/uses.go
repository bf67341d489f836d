package account

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"slipway/internal/auth"
	"slipway/internal/db"
)

// flushEvery is how late a last use may be written: a crash loses as much.
const flushEvery = 10 * time.Second

// uses gathers when accounts and tokens were last used, since a write for every
// request would cost more than the request. Its size is bounded by theirs.
type uses struct {
	mu        sync.Mutex
	accounts  map[key]int64
	refreshed map[int64]int64
}

func newUses() *uses { return &uses{accounts: map[key]int64{}, refreshed: map[int64]int64{}} }

func (u *uses) refresh(id, at int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.refreshed[id] = at
}

// Used notes that an identity, and the token that it showed, was used now.
func (a *Accounts) Used(i auth.Identity) {
	if i.Kind != auth.KindUser && i.Kind != auth.KindRobot {
		return
	}
	now := a.db.Now().UnixMilli()
	a.uses.mu.Lock()
	defer a.uses.mu.Unlock()
	a.uses.accounts[key{i.Kind, i.Name, i.Credential}] = now
}

// Run writes last uses every few seconds until ctx ends, and then once more.
func (a *Accounts) Run(ctx context.Context) {
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushEvery)
		if err := a.Flush(last); err != nil {
			a.log.Error("last uses of accounts are not written", "err", err)
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
	}
}

// Flush writes what was noted. What cannot be written is kept for next time.
func (a *Accounts) Flush(ctx context.Context) error {
	u := a.uses
	u.mu.Lock()
	accounts, refreshed := u.accounts, u.refreshed
	u.accounts, u.refreshed = map[key]int64{}, map[int64]int64{}
	u.mu.Unlock()
	if len(accounts) == 0 && len(refreshed) == 0 {
		return nil
	}
	err := a.db.Update(ctx, func(tx *db.Tx) error {
		for k, at := range accounts {
			if err := writeUse(tx, k, at); err != nil {
				return err
			}
		}
		for id, at := range refreshed {
			if _, err := tx.Exec(`UPDATE refresh_tokens SET used_at = ? WHERE id = ? AND used_at < ?`, at, id, at); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.Copy(accounts, u.accounts) // what came since is newer
	maps.Copy(refreshed, u.refreshed)
	u.accounts, u.refreshed = accounts, refreshed
	return fmt.Errorf("write last uses: %w", err)
}

func writeUse(tx *db.Tx, k key, at int64) error {
	query := `UPDATE users SET used_at = ? WHERE name = ? AND used_at < ?`
	if k.kind == auth.KindRobot {
		query = `UPDATE robots SET used_at = ? WHERE name = ? AND used_at < ?`
	}
	if _, err := tx.Exec(query, at, k.name, at); err != nil || k.credential == 0 {
		return err
	}
	_, err := tx.Exec(`UPDATE tokens SET used_at = ? WHERE id = ? AND used_at < ?`, at, k.credential, at)
	return err
}
