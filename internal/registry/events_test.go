package registry_test

import (
	"context"
	"errors"
	"testing"

	"slipway/internal/db"
	"slipway/internal/events"
	"slipway/internal/meta"
	"slipway/internal/oci"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
)

// Every change of a tag is in its history and in the outbox, with who made it
// and why; what a guard refused is in neither.
func TestChangesAreRecorded(t *testing.T) {
	ctx := context.Background()
	s := registrytest.Open(t, registry.Config{}, nil)
	first := s.PutImage("app", "v1", []byte("1"))
	second := s.PutImage("app", "v1", []byte("2"))
	s.PutImage("app", "v1", []byte("2")) // again: nothing moves

	no := errors.New("not now")
	refuse := func(_ *db.Tx, m meta.Move) error {
		if m.Repository != "app" || m.Tag != "v1" || m.Old != second.String() || m.New != "" || m.Change.Actor != "ann" {
			t.Errorf("the guard was asked about %+v", m)
		}
		return no
	}
	ann := meta.Change{Actor: "ann", Cause: "cleaning up"}
	if err := s.DeleteTag(ctx, "app", "v1", ann, refuse); !errors.Is(err, no) {
		t.Errorf("DeleteTag: %v", err)
	}
	if err := s.DeleteManifest(ctx, "app", second, ann, refuse); !errors.Is(err, no) {
		t.Errorf("DeleteManifest: %v", err)
	}
	if m, err := s.StatManifest(ctx, "app", oci.Reference{Tag: "v1"}); err != nil || m.Digest != second {
		t.Errorf("after refused deletions: %v, %v", m.Digest, err)
	}
	if err := s.DeleteManifest(ctx, "app", second, ann); err != nil {
		t.Fatal(err)
	}
	if err := s.RestoreManifest(ctx, "app", second, ann); err != nil {
		t.Fatal(err)
	}

	history, err := meta.History(s.DB.Read(ctx), "app", "v1", 10)
	if err != nil {
		t.Fatal(err)
	}
	want := []meta.HistoryEntry{
		{Tag: "v1", Old: "", New: second.String(), Actor: "ann", Cause: "cleaning up"},
		{Tag: "v1", Old: second.String(), New: "", Actor: "ann", Cause: "cleaning up"},
		{Tag: "v1", Old: first.String(), New: second.String(), Actor: "test", Cause: "test"},
		{Tag: "v1", Old: "", New: first.String(), Actor: "test", Cause: "test"},
	}
	if len(history) != len(want) {
		t.Fatalf("history: %+v", history)
	}
	for i, h := range history {
		if h.At == 0 {
			t.Errorf("history %d has no time", i)
		}
		if h.At = 0; h != want[i] {
			t.Errorf("history %d: %+v, want %+v", i, h, want[i])
		}
	}

	var moves []events.Event
	for after := int64(0); ; {
		list, err := events.After(s.DB.Read(ctx), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		for _, e := range list {
			if e.ID <= after {
				t.Errorf("event %d after %d", e.ID, after)
			}
			after = e.ID
			if e.Kind == events.TagMoved || e.Kind == events.TagDeleted {
				moves = append(moves, e)
			}
		}
	}
	if len(moves) != len(want) {
		t.Fatalf("moves: %+v", moves)
	}
	for i, e := range moves {
		w := want[len(want)-1-i]
		if e.Tag != w.Tag || e.OldDigest != w.Old || e.Digest != w.New || e.Actor != w.Actor || e.Cause != w.Cause || e.Repository != "app" {
			t.Errorf("event %+v, want %+v", e, w)
		}
	}
}
