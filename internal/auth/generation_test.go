package auth_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"slipway/internal/auth"
	"slipway/internal/db"
)

func TestGeneration(t *testing.T) {
	ctx := context.Background()
	d, err := db.Open(ctx, filepath.Join(t.TempDir(), "slipway.db"), db.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	g := auth.NewGeneration(d)
	current := func() int64 {
		t.Helper()
		v, err := g.Current(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	was := current()
	other := func(tx *db.Tx) error {
		_, err := tx.Exec(`INSERT INTO settings (name, value) VALUES ('x', 'y') ON CONFLICT DO NOTHING`)
		return err
	}
	if err := d.Update(ctx, other); err != nil {
		t.Fatal(err)
	}
	if got := current(); got != was {
		t.Errorf("a commit of something else moved the generation from %d to %d", was, got)
	}
	undone := errors.New("undone")
	if err := d.Update(ctx, func(tx *db.Tx) error { return errors.Join(auth.Touch(tx), undone) }); !errors.Is(err, undone) {
		t.Fatal(err)
	}
	if got := current(); got != was {
		t.Errorf("what was undone moved the generation from %d to %d", was, got)
	}
	if err := d.Update(ctx, auth.Touch); err != nil {
		t.Fatal(err)
	}
	if got := current(); got == was {
		t.Error("a change did not move the generation")
	}
}
