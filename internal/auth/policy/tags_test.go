package policy_test

import (
	"errors"
	"strings"
	"testing"

	"slipway/internal/auth"
	"slipway/internal/auth/policy"
	"slipway/internal/db"
	"slipway/internal/oci"
)

func (w *world) tagRule(r policy.TagRule, err error) policy.TagRule {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.db.Update(ctx, func(tx *db.Tx) error { r, err = policy.AddTagRule(tx, r); return err }); err != nil {
		w.t.Fatal(err)
	}
	return r
}

func TestCheckMove(t *testing.T) {
	w := newWorld(t, 0)
	w.tagRule(policy.ParseTagRule("protected", "team/**", "v*", "group:release", "robot:ci"))
	w.tagRule(policy.ParseTagRule("immutable", "team/**", "v*.*"))
	override, err := policy.ParseTagRule("immutable", "other", "*")
	override.AdminOverride = true
	w.tagRule(override, err)
	release := auth.Identity{Kind: auth.KindUser, Name: "rita", Groups: []string{"release"}}

	for _, c := range []struct {
		who             auth.Identity
		repository, tag string
		old, new        string
		want            string // in the error; "": allowed
	}{
		{anna, "team/app", "latest", "a", "b", ""}, {anna, "team/app", "v1", "", "a", "protected"}, {anna, "team/app", "v1", "a", "", "protected"},
		{release, "team/app", "v1", "a", "b", ""}, {ci, "team/app", "v1", "", "a", ""}, {root, "team/app", "v1", "a", "b", ""}, {auth.Local, "team/app", "v1", "a", "b", ""},
		{nobody, "team/app", "v1", "a", "b", "tag rule 1"}, {anna, "app", "v1", "a", "b", ""},
		// Both rules are about v1.0, and both have to agree.
		{release, "team/app", "v1.0", "", "a", ""}, {release, "team/app", "v1.0", "a", "b", "immutable and is not moved"}, {release, "team/app", "v1.0", "a", "", "not deleted"},
		{release, "team/app", "v1.0", "a", "a", ""}, {root, "team/app", "v1.0", "a", "b", "it stays a"}, {auth.Local, "team/app", "v1.0", "a", "", "immutable"}, {anna, "team/app", "v1.0", "", "a", "protected"},
		{root, "other", "x", "a", "b", ""}, {anna, "other", "x", "a", "b", "immutable"}, {anna, "other", "x", "", "b", ""},
		{anna, "team/app", "", "a", "", ""}, // a manifest without a tag
	} {
		err := w.db.View(ctx, func(tx *db.Tx) error {
			return w.CheckMove(tx, policy.Move{Repository: c.repository, Tag: c.tag, Old: c.old, New: c.new, By: c.who})
		})
		if c.want == "" && err != nil || c.want != "" && (!oci.HasCode(err, oci.CodeDenied) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.tag)) {
			t.Errorf("%s moves %s:%s from %q to %q: %v, want %q", c.who.Actor(), c.repository, c.tag, c.old, c.new, err, c.want)
		}
	}
}

// A guard sees the rules as its transaction has them, and what is undone is
// not remembered.
func TestCheckMoveInItsTransaction(t *testing.T) {
	w := newWorld(t, 0)
	move := policy.Move{Repository: "a", Tag: "v1", Old: "x", New: "y", By: anna}
	r, err := policy.ParseTagRule("immutable", "a", "*")
	if err != nil {
		t.Fatal(err)
	}
	w.Decide(ctx, anna, auth.Push, "a") // the rules are in memory
	undone := errors.New("undone")
	err = w.db.Update(ctx, func(tx *db.Tx) error {
		if err := w.CheckMove(tx, move); err != nil {
			t.Errorf("before: %v", err)
		}
		if _, err := policy.AddTagRule(tx, r); err != nil {
			return err
		}
		if err := w.CheckMove(tx, move); !oci.HasCode(err, oci.CodeDenied) {
			t.Errorf("after: %v", err)
		}
		return undone
	})
	if !errors.Is(err, undone) {
		t.Fatal(err)
	}
	check := func(tx *db.Tx) error { return w.CheckMove(tx, move) }
	if err := w.db.View(ctx, check); err != nil {
		t.Errorf("undone: %v", err)
	}
	r = w.tagRule(r, nil)
	if err := w.db.View(ctx, check); !oci.HasCode(err, oci.CodeDenied) {
		t.Errorf("added: %v", err)
	}
	if err := w.db.Update(ctx, func(tx *db.Tx) error { _, err := policy.RemoveTagRule(tx, r.ID); return err }); err != nil {
		t.Fatal(err)
	}
	if err := w.db.View(ctx, check); err != nil {
		t.Errorf("removed: %v", err)
	}
}

func TestRulesAreChecked(t *testing.T) {
	w := newWorld(t, 0)
	for _, s := range [][3]string{{"anna", "pull", "a"}, {"user:anna", "fly", "a"}, {"user:anna", "", "a"}, {"user:anna", "pull", "A"}, {"user:anna", "pull", ""}, {"", "pull", "a"}} {
		if _, err := policy.ParseRule(s[0], s[1], s[2]); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("rule %q: %v", s, err)
		}
	}
	for _, s := range [][4]string{{"frozen", "a", "*", ""}, {"protected", "A", "*", "user:anna"}, {"protected", "a", "-", "user:anna"}, {"protected", "a", "*", "anna"}} {
		if _, err := policy.ParseTagRule(s[0], s[1], s[2], s[3]); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("tag rule %q: %v", s, err)
		}
	}
	for _, r := range []policy.Rule{{}, {Subject: auth.Subject{Kind: auth.SubjectAnyone}, Actions: auth.Grantable, Repositories: auth.MustGlob("a"), Note: "\x1b"}, {Subject: auth.Subject{Kind: auth.SubjectAnyone}, Actions: auth.Grantable, Repositories: auth.MustGlob("a"), Expires: 1}} {
		if err := w.db.Update(ctx, func(tx *db.Tx) error { _, err := policy.AddRule(tx, r); return err }); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("rule %+v: %v", r, err)
		}
	}
	immutable, err := policy.ParseTagRule("immutable", "a", "*", "user:anna")
	if err != nil {
		t.Fatal(err)
	}
	protected, err := policy.ParseTagRule("protected", "a", "*")
	if err != nil {
		t.Fatal(err)
	}
	protected.AdminOverride = true
	for _, r := range []policy.TagRule{{}, immutable, protected} {
		if err := w.db.Update(ctx, func(tx *db.Tx) error { _, err := policy.AddTagRule(tx, r); return err }); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("tag rule %+v: %v", r, err)
		}
	}
}

func TestRulesAreReadBack(t *testing.T) {
	w := newWorld(t, 0)
	in := w.rule("workload:issuer=hub,repository=org/*,ref=refs/heads/main", "push,pull", "org/**")
	list, err := policy.Rules(w.db.Read(ctx))
	if err != nil || len(list) != 1 || list[0].String() != in.String() || list[0].ID != in.ID || list[0].Created == 0 {
		t.Errorf("%v became %v, %v", in, list, err)
	}
	tags := w.tagRule(policy.ParseTagRule("protected", "org/**", "v*", "user:anna", "group:x"))
	tagList, err := policy.TagRules(w.db.Read(ctx))
	if err != nil || len(tagList) != 1 || tagList[0].String() != tags.String() {
		t.Errorf("%v became %v, %v", tags, tagList, err)
	}
}
