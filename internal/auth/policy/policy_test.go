package policy_test

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway/internal/auth"
	"slipway/internal/auth/policy"
	"slipway/internal/db"
	"slipway/internal/oci"
)

var ctx = context.Background()

type world struct {
	t        testing.TB
	db       *db.DB
	now      time.Time
	accounts bool
	*policy.Policy
}

func newWorld(t testing.TB, level auth.Anonymous) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC), accounts: true}
	var err error
	if w.db, err = db.Open(ctx, filepath.Join(t.TempDir(), "slipway.db"), db.Options{Now: func() time.Time { return w.now }}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.db.Close() })
	w.Policy = policy.New(policy.Config{DB: w.db, Anonymous: level, Accounts: func(context.Context) (bool, error) { return w.accounts, nil }})
	return w
}

func (w *world) rule(subject, actions, repositories string) policy.Rule {
	w.t.Helper()
	r, err := policy.ParseRule(subject, actions, repositories)
	if err != nil {
		w.t.Fatal(err)
	}
	if r.Subject.Kind == auth.SubjectNetwork {
		r.Expires = w.now.Add(24 * time.Hour).UnixMilli()
	}
	if err := w.db.Update(ctx, func(tx *db.Tx) error { r, err = policy.AddRule(tx, r); return err }); err != nil {
		w.t.Fatal(err)
	}
	return r
}

var (
	anna   = auth.Identity{Kind: auth.KindUser, Name: "anna", Groups: []string{"dev"}}
	bert   = auth.Identity{Kind: auth.KindUser, Name: "bert"}
	root   = auth.Identity{Kind: auth.KindUser, Name: "admin", Groups: []string{"admins"}}
	ci     = auth.Identity{Kind: auth.KindRobot, Name: "ci", Groups: []string{"admins"}} // no robot is an administrator
	nobody = auth.Nobody(netip.MustParseAddr("192.0.2.1"))
	inside = auth.Nobody(netip.MustParseAddr("10.1.2.3"))
)

func TestDecide(t *testing.T) {
	w := newWorld(t, 0)
	w.rule("anyone", "pull", "public/**")
	w.rule("authenticated", "pull", "shared/*")
	w.rule("group:dev", "pull,push", "team/**")
	w.rule("user:bert", "push", "team/app") // and not pull
	w.rule("robot:ci", "*", "ci/**")
	w.rule("user:bert", "admin", "**")
	w.rule("network:10.0.0.0/8", "pull,push", "legacy/*")
	narrow := anna
	narrow.Scopes, _ = auth.ParseScopes([]string{"pull:team/**"})
	token := anna
	token.Access = &auth.Access{Repositories: map[string][]auth.Action{"team/app": {auth.Pull}, "secret": {auth.Pull}}}
	anonymousToken := nobody
	anonymousToken.Access = &auth.Access{Repositories: map[string][]auth.Action{"public/x": {auth.Pull}}}
	narrowRoot := root
	narrowRoot.Scopes, _ = auth.ParseScopes([]string{"push:one"})

	const yes, login, scope, no = "allowed", "log in", "ask for a token", "denied"
	for _, c := range []struct {
		who        auth.Identity
		action     auth.Action
		repository string
		want       string
		why        string
	}{
		{nobody, auth.Pull, "public/x", yes, "rule 1"}, {nobody, auth.Push, "public/x", login, ""}, {nobody, auth.Pull, "team/app", login, ""},
		{auth.Identity{}, auth.Pull, "public/x", yes, "rule 1"}, {auth.Identity{}, auth.Admin, "", login, ""},
		{nobody, auth.Ping, "", login, ""}, {anonymousToken, auth.Ping, "", yes, ""}, {anonymousToken, auth.Pull, "public/x", yes, ""},
		{anonymousToken, auth.Pull, "public/y", scope, ""}, {anonymousToken, auth.Push, "public/x", login, ""},
		{anna, auth.Pull, "public/x", yes, "rule 1"}, {bert, auth.Pull, "shared/x", yes, "rule 2"}, {nobody, auth.Pull, "shared/x", login, ""},
		{anna, auth.Push, "team/app", yes, "rule 3: group:dev may pull,push in team/**"}, {anna, auth.Delete, "team/app", no, "no rule"}, {anna, auth.Pull, "team", no, "no rule"},
		{bert, auth.Push, "team/app", yes, "rule 4"}, {bert, auth.Pull, "team/app", no, ""}, {bert, auth.Push, "team/app/x", no, ""},
		{ci, auth.Build, "ci/x", yes, "rule 5"}, {ci, auth.Pull, "team/app", no, ""}, {ci, auth.Admin, "", no, ""},
		{bert, auth.Admin, "", yes, "rule 6"}, {bert, auth.Admin, "x", yes, "rule 6"}, {anna, auth.Admin, "", no, "everywhere"},
		{root, auth.Admin, "", yes, "admins"}, {root, auth.Build, "x", yes, "admins"}, {auth.Local, auth.Admin, "", yes, "local administrator"}, {auth.System, auth.Push, "x", yes, ""},
		{narrowRoot, auth.Push, "one", yes, "admins"}, {narrowRoot, auth.Push, "two", no, "scopes"}, {narrowRoot, auth.Admin, "", no, "scopes"},
		{narrow, auth.Pull, "team/app", yes, "rule 3"}, {narrow, auth.Push, "team/app", no, "scopes"}, {narrow, auth.Pull, "public/x", no, "scopes"},
		{token, auth.Pull, "team/app", yes, "rule 3"}, {token, auth.Push, "team/app", scope, ""}, {token, auth.Pull, "public/x", scope, ""}, {token, auth.List, "", scope, ""},
		{token, auth.Pull, "secret", no, "no rule"}, // in the token, but not allowed any more
		{inside, auth.Push, "legacy/x", yes, "rule 7"}, {nobody, auth.Push, "legacy/x", login, ""}, {anna, auth.Push, "legacy/x", no, ""}, {inside, auth.Push, "legacy/x/y", login, ""},
		{nobody, auth.List, "", yes, ""}, {anna, auth.List, "", yes, ""}, {anna, auth.Ping, "", yes, ""},
		{anna, "an action that nobody thought of", "team/app", no, ""}, {nobody, "", "public/x", login, ""},
	} {
		d := w.Decide(ctx, c.who, c.action, c.repository)
		got := yes
		switch err := d.Err(); {
		case err == nil:
		case oci.HasCode(err, oci.CodeUnauthorized) && d.InsufficientScope:
			got = scope
		case oci.HasCode(err, oci.CodeUnauthorized):
			got = login
		case oci.HasCode(err, oci.CodeDenied):
			got = no
		default:
			got = err.Error()
		}
		if got != c.want || d.Allowed != (got == yes) || d.Why == "" || !strings.Contains(d.Why, c.why) {
			t.Errorf("%s: %s %q: %s because %q, want %s because of %q", c.who.Actor(), c.action, c.repository, got, d.Why, c.want, c.why)
		}
		if d.Grace != (d.Allowed && c.repository == "legacy/x") {
			t.Errorf("%s: %s %q: grace: %v", c.who.Actor(), c.action, c.repository, d.Grace)
		}
	}
}

func TestAnonymousLevelIsOneMoreRule(t *testing.T) {
	for _, level := range []auth.Anonymous{0, auth.AnonymousPull, auth.AnonymousPush, auth.AnonymousAdmin} {
		w := newWorld(t, level)
		for _, who := range []auth.Identity{nobody, anna} {
			for _, action := range auth.Grantable {
				if got, want := w.Decide(ctx, who, action, "x").Allowed, level.Authorize(action, "x") == nil; got != want {
					t.Errorf("level %d: %s %s: %v", level, who.Actor(), action, got)
				}
			}
		}
		if got := w.Decide(ctx, nobody, auth.List, "").Allowed; got != (level > 0) {
			t.Errorf("level %d: list: %v", level, got)
		}
		// Where there are accounts a client has to be asked for one.
		if w.Decide(ctx, nobody, auth.Ping, "").Allowed {
			t.Errorf("level %d: nobody was asked to log in", level)
		}
		w.accounts = false
		if d := w.Decide(ctx, nobody, auth.Ping, ""); !d.Allowed {
			t.Errorf("level %d: asked to log in where nobody can: %v", level, d.Err())
		}
		if err := w.Decide(ctx, nobody, auth.Admin, "").Err(); level < auth.AnonymousAdmin && !oci.HasCode(err, oci.CodeDenied) {
			t.Errorf("level %d: %v: no login would help", level, err)
		}
	}
}

func TestRulesChangeAtOnce(t *testing.T) {
	w := newWorld(t, 0)
	may := func() bool { return w.Decide(ctx, anna, auth.Push, "team/app").Allowed }
	if may() {
		t.Fatal("allowed by no rule")
	}
	r := w.rule("user:anna", "push", "team/**")
	if !may() {
		t.Error("a new rule does not hold")
	}
	if err := w.db.Update(ctx, func(tx *db.Tx) error { _, err := policy.RemoveRule(tx, r.ID); return err }); err != nil {
		t.Fatal(err)
	}
	if may() {
		t.Error("a removed rule still holds")
	}
	if err := w.db.Update(ctx, func(tx *db.Tx) error { _, err := policy.RemoveRule(tx, r.ID); return err }); !errors.Is(err, policy.ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
}

func TestGraceEnds(t *testing.T) {
	w := newWorld(t, 0)
	w.rule("network:10.0.0.0/8", "push", "legacy/*")
	if d := w.Decide(ctx, inside, auth.Push, "legacy/x"); !d.Allowed || !d.Grace || !strings.Contains(d.Why, "until 2026-11-26T12:00:00Z") {
		t.Errorf("%+v", d)
	}
	if !w.Anything(ctx, inside) || w.Anything(ctx, nobody) {
		t.Error("who may do anything")
	}
	w.now = w.now.Add(24 * time.Hour)
	if d := w.Decide(ctx, inside, auth.Push, "legacy/x"); d.Allowed {
		t.Errorf("after its end: %+v", d)
	}
	if w.Anything(ctx, inside) {
		t.Error("who may do anything after the end")
	}
	r, err := policy.ParseRule("network:10.0.0.0/8", "push", "**")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.db.Update(ctx, func(tx *db.Tx) error { _, err := policy.AddRule(tx, r); return err }); !errors.Is(err, policy.ErrInvalid) {
		t.Errorf("a network without an end: %v", err)
	}
}

func TestVisible(t *testing.T) {
	w := newWorld(t, 0)
	w.rule("anyone", "pull", "public/*")
	w.rule("group:dev", "pull", "team/**")
	w.rule("group:dev", "push", "hidden/**")
	w.rule("network:10.0.0.0/8", "pull", "legacy/*")
	narrow := anna
	narrow.Scopes, _ = auth.ParseScopes([]string{"pull:team/a"})
	listing := anna
	listing.Access = &auth.Access{Catalog: true}
	narrowRoot := root
	narrowRoot.Scopes = narrow.Scopes
	all := []string{"public/x", "team/a", "team/b/c", "hidden/x", "legacy/x"}
	for _, c := range []struct {
		who  auth.Identity
		want string
	}{
		{nobody, "public/x"}, {inside, "public/x legacy/x"}, {bert, "public/x"}, {anna, "public/x team/a team/b/c"}, {listing, "public/x team/a team/b/c"},
		{narrow, "team/a"}, {narrowRoot, "team/a"}, {root, strings.Join(all, " ")}, {auth.Local, strings.Join(all, " ")},
	} {
		visible := w.Visible(ctx, c.who)
		var got []string
		for _, r := range all {
			if visible(r) {
				got = append(got, r)
			}
			// What is listed is what may be pulled.
			if who := c.who; who.Access == nil && visible(r) != w.Decide(ctx, who, auth.Pull, r).Allowed {
				t.Errorf("%s: %s is visible: %v, and a pull is not the same", who.Actor(), r, visible(r))
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s sees %s, want %s", c.who.Actor(), s, c.want)
		}
	}
}

// Without the rules nothing may be allowed, and nobody is told that they may not.
func TestFailureRefuses(t *testing.T) {
	w := newWorld(t, auth.AnonymousAdmin)
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, who := range []auth.Identity{nobody, anna, root} {
		if err := w.Decide(ctx, who, auth.Pull, "x").Err(); !oci.HasCode(err, oci.CodeUnavailable) {
			t.Errorf("%s: %v", who.Actor(), err)
		}
		if w.Visible(ctx, who)("x") || w.Anything(ctx, who) {
			t.Errorf("%s sees something", who.Actor())
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	w := newWorld(b, 0)
	for _, team := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"} {
		for range 10 {
			w.rule("group:"+team, "pull,push", team+"/**")
		}
	}
	w.rule("user:anna", "push", "team/**")
	b.ReportAllocs()
	for b.Loop() {
		if !w.Decide(ctx, anna, auth.Push, "team/app").Allowed {
			b.Fatal("refused")
		}
	}
}

// A server without accounts may be open; the first account closes it.
func TestOpenUntilAccounts(t *testing.T) {
	w := newWorld(t, 0)
	w.Policy = policy.New(policy.Config{DB: w.db, UntilAccounts: true, Accounts: func(context.Context) (bool, error) { return w.accounts, nil }})
	for _, accounts := range []bool{false, true, false} {
		w.accounts = accounts
		for _, a := range []auth.Action{auth.Ping, auth.List, auth.Pull, auth.Push, auth.Delete, auth.Build, auth.Admin} {
			if d := w.Decide(ctx, auth.Identity{}, a, ""); d.Allowed == accounts {
				t.Errorf("with accounts: %v, %s is allowed: %v (%s)", accounts, a, d.Allowed, d.Why)
			}
		}
		if w.Visible(ctx, auth.Identity{})("app") == accounts {
			t.Errorf("with accounts: %v, everything is listed: %v", accounts, !accounts)
		}
	}
}
