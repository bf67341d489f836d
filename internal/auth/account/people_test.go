package account_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/db"
)

func (w *world) person(subject, name string, groups ...string) (account.Kept, error) {
	var k account.Kept
	err := w.db.Update(ctx, func(tx *db.Tx) (err error) {
		k, err = account.KeepPerson(tx, account.Person{
			Issuer: "https://login.test", Subject: subject, Name: name, Groups: groups, TokensUntil: w.now.Add(30 * 24 * time.Hour).UnixMilli(),
		})
		return err
	})
	return k, err
}

func TestPeopleAreKept(t *testing.T) {
	w := newWorld(t)
	w.user("local", auth.GroupAdmins)
	for _, c := range []struct {
		subject, name string
		groups        []string
		want          account.Kept
		err           error
	}{
		{"1", "anna", []string{"dev"}, account.Kept{Name: "anna", Made: true}, nil},
		{"1", "anna", []string{"dev"}, account.Kept{Name: "anna"}, nil},
		{"1", "anna.b", []string{"ops", "dev", "ops"}, account.Kept{Name: "anna", Regroup: true}, nil},
		{"2", "anna", nil, account.Kept{}, account.ErrExists},
		{"2", "ANNA", nil, account.Kept{}, account.ErrExists},
		{"2", "local", nil, account.Kept{}, account.ErrExists},
		{"2", "a b", nil, account.Kept{}, account.ErrInvalid},
		{"2", "bob", []string{"a b"}, account.Kept{}, account.ErrInvalid},
		{"2", "bob", []string{"htpasswd"}, account.Kept{}, account.ErrInvalid},
		{"", "bob", nil, account.Kept{}, account.ErrInvalid},
		{"2", "anna.b", nil, account.Kept{Name: "anna.b", Made: true}, nil},
	} {
		got, err := w.person(c.subject, c.name, c.groups...)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s %s: %+v, %v, want %+v, %v", c.subject, c.name, got, err, c.want, c.err)
		}
	}
	i, err := w.Current(ctx, auth.KindUser, "anna", 0)
	if err != nil || strings.Join(i.Groups, " ") != "dev ops" {
		t.Errorf("%+v, %v", i, err)
	}
	w.update(func(tx *db.Tx) error { return account.SetUserDisabled(tx, "anna", true) })
	if _, err := w.person("1", "anna"); !errors.Is(err, account.ErrRefused) {
		t.Errorf("who is disabled is kept: %v", err)
	}
	if _, err := w.Current(ctx, auth.KindUser, "anna", 0); err == nil {
		t.Error("a login enables who was disabled")
	}
	// A user who was deleted is another one the next time.
	w.update(func(tx *db.Tx) error { return account.DeleteUser(tx, "anna") })
	if k, err := w.person("1", "anna.new"); err != nil || !k.Made {
		t.Errorf("%+v, %v", k, err)
	}
}

// TestNothingOutlastsTheIssuer: no token, refresh token or password of a person
// is good for longer than the last login said.
func TestNothingOutlastsTheIssuer(t *testing.T) {
	w := newWorld(t)
	if _, err := w.person("1", "anna"); err != nil {
		t.Fatal(err)
	}
	until := w.now.Add(30 * 24 * time.Hour)
	create := func(owner string, kind auth.Kind, expires int64) (t account.Token, err error) {
		err = w.db.Update(ctx, func(tx *db.Tx) error {
			t, err = account.CreateToken(tx, account.NewToken{OwnerKind: kind, Owner: owner, Name: w.now.String() + owner, Expires: expires, CreatedBy: "user:admin", Secret: account.NewSecret(account.PrefixFor(kind))})
			return err
		})
		return t, err
	}
	if made, err := create("anna", auth.KindUser, 0); err != nil || made.Expires != until.UnixMilli() {
		t.Errorf("a token without an end: %+v, %v", made, err)
	}
	if _, err := create("anna", auth.KindUser, until.UnixMilli()+1); !errors.Is(err, account.ErrInvalid) {
		t.Errorf("a token that ends later: %v", err)
	}
	w.now = w.now.Add(time.Second)
	if made, err := create("anna", auth.KindUser, w.now.Add(time.Hour).UnixMilli()); err != nil || made.Expires != w.now.Add(time.Hour).UnixMilli() {
		t.Errorf("a token that ends earlier: %+v, %v", made, err)
	}
	hash := cheap(t, "a password")
	if err := w.db.Update(ctx, func(tx *db.Tx) error { return account.SetPassword(tx, "anna", hash) }); !errors.Is(err, account.ErrInvalid) {
		t.Errorf("a password: %v", err)
	}
	if _, err := w.ResetPassword(ctx, "anna", nil); !errors.Is(err, account.ErrInvalid) {
		t.Errorf("a new password: %v", err)
	}
	// What is got with a login's token ends with it.
	secret := account.NewSecret(account.PrefixPersonal)
	var token account.Token
	w.update(func(tx *db.Tx) (err error) { token, err = account.LoginToken(tx, "anna", secret); return err })
	i, err := w.BySecret(ctx, secret.Reveal())
	if err != nil || token.Expires != until.UnixMilli() {
		t.Fatalf("%+v, %+v, %v", i, token, err)
	}
	refresh, err := w.IssueRefresh(ctx, i, "slipway", "docker")
	if err != nil {
		t.Fatal(err)
	}
	w.now = until.Add(-time.Second)
	if _, err := w.Refresh(ctx, refresh.Reveal(), "slipway"); err != nil {
		t.Errorf("a second before: %v", err)
	}
	w.now = until
	if _, err := w.BySecret(ctx, secret.Reveal()); !errors.Is(err, account.ErrRefused) {
		t.Errorf("the token after that: %v", err)
	}
	if _, err := w.Refresh(ctx, refresh.Reveal(), "slipway"); !errors.Is(err, account.ErrRefused) {
		t.Errorf("the refresh token after that: %v", err)
	}
	if _, err := create("anna", auth.KindUser, 0); !errors.Is(err, account.ErrInvalid) || !strings.Contains(err.Error(), "https://login.test") {
		t.Errorf("another token after that: %v", err)
	}
	// Users of this server and robots are as they were.
	w.user("local")
	w.robot("ci")
	if made, err := create("local", auth.KindUser, 0); err != nil || made.Expires != 0 {
		t.Errorf("%+v, %v", made, err)
	}
	if made, err := create("ci", auth.KindRobot, 0); err != nil || made.Expires != 0 {
		t.Errorf("%+v, %v", made, err)
	}
}

func TestLoginTokensAreNamedByTheDay(t *testing.T) {
	w := newWorld(t)
	if _, err := w.person("1", "anna"); err != nil {
		t.Fatal(err)
	}
	w.user("local")
	login := func(owner string) (token account.Token, err error) {
		err = w.db.Update(ctx, func(tx *db.Tx) error {
			token, err = account.LoginToken(tx, owner, account.NewSecret(account.PrefixPersonal))
			return err
		})
		return token, err
	}
	for _, want := range []string{"login 2026-11-25", "login 2026-11-25 (2)", "login 2026-11-25 (3)"} {
		if got, err := login("anna"); err != nil || got.Name != want {
			t.Errorf("%s, %v, want %s", got.Name, err, want)
		}
	}
	for range 97 {
		if _, err := login("anna"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := login("anna"); !errors.Is(err, account.ErrExists) {
		t.Errorf("the 101st of a day: %v", err)
	}
	w.now = w.now.Add(24 * time.Hour)
	if got, err := login("anna"); err != nil || got.Name != "login 2026-11-26" {
		t.Errorf("the next day: %s, %v", got.Name, err)
	}
	for _, name := range []string{"local", "nobody"} {
		if _, err := login(name); err == nil {
			t.Errorf("%s gets a token by a login elsewhere", name)
		}
	}
}
