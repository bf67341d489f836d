package bench

import (
	"context"
	"fmt"
	"sync"
)

// ledger remembers the manifests of a run, when they are to be deleted.
type ledger struct {
	keep bool
	mu   sync.Mutex
	made []madeManifest
}

type madeManifest struct{ repo, digest string }

func (l *ledger) add(repo, digest string) {
	if !l.keep {
		return
	}
	l.mu.Lock()
	l.made = append(l.made, madeManifest{repo, digest})
	l.mu.Unlock()
}

// Removed says what a cleanup did.
type Removed struct {
	Manifests  int    `json:"manifests"`
	Failed     int    `json:"failed"`
	FirstError string `json:"first_error,omitempty"`
}

// Cleanup deletes every manifest of this run by digest, and with it its tags.
// It does what the registry allows and does not stop at an error: that many
// registries refuse to delete is no failure of the bench. Blobs are left to the
// registry's own collection. Config.Cleanup must have been set.
func (b *Bench) Cleanup(ctx context.Context) (Removed, error) {
	b.pushed.mu.Lock()
	made := b.pushed.made
	b.pushed.made = nil
	b.pushed.mu.Unlock()
	var errs failures
	err := b.each(ctx, len(made), func(ctx context.Context, i int) error {
		if err := b.client.deleteManifest(ctx, made[i].repo, made[i].digest); err != nil {
			errs.add(err)
		}
		return ctx.Err()
	})
	r := Removed{Manifests: len(made) - errs.count(), Failed: errs.count()}
	if errs.first != nil {
		r.FirstError = errs.first.Error()
	}
	if err != nil {
		return r, fmt.Errorf("clean up: %w", err)
	}
	return r, nil
}
