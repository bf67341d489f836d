package account_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/db"
)

var ctx = context.Background()

// world is a database with a clock that the test moves.
type world struct {
	t   *testing.T
	db  *db.DB
	now time.Time
	*account.Accounts
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	var err error
	if w.db, err = db.Open(ctx, filepath.Join(t.TempDir(), "slipway.db"), db.Options{Now: func() time.Time { return w.now }}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.db.Close(); err != nil {
			t.Error(err)
		}
	})
	if w.Accounts, err = account.New(account.Config{DB: w.db}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) update(fn func(*db.Tx) error) {
	w.t.Helper()
	if err := w.db.Update(ctx, fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) user(name string, groups ...string) {
	w.t.Helper()
	w.update(func(tx *db.Tx) error {
		return account.CreateUser(tx, account.NewUser{Name: name, Hash: cheap(w.t, "secret of "+name), Groups: groups})
	})
}

func (w *world) robot(name string) {
	w.t.Helper()
	w.update(func(tx *db.Tx) error { return account.CreateRobot(tx, name, "for "+name) })
}

func (w *world) token(kind auth.Kind, owner, name string, expires int64, scopes ...string) (string, account.Token) {
	w.t.Helper()
	list, err := auth.ParseScopes(scopes)
	if err != nil {
		w.t.Fatal(err)
	}
	secret := account.NewSecret(account.PrefixFor(kind))
	var token account.Token
	w.update(func(tx *db.Tx) (err error) {
		token, err = account.CreateToken(tx, account.NewToken{OwnerKind: kind, Owner: owner, Name: name, Scopes: list, Expires: expires, CreatedBy: "user:admin", Secret: secret})
		return err
	})
	return secret.Reveal(), token
}

// cheap is a hash that a test does not wait for.
func cheap(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func (w *world) mustBe(what string, i auth.Identity, err error, actor string) {
	w.t.Helper()
	if err != nil || i.Actor() != actor {
		w.t.Errorf("%s: %s, %v, want %s", what, i.Actor(), err, actor)
	}
}

func (w *world) mustRefuse(what string, i auth.Identity, err error) {
	w.t.Helper()
	if !errors.Is(err, account.ErrRefused) || i.Kind != "" {
		w.t.Errorf("%s: %+v, %v, want a refusal", what, i, err)
	}
}

func TestUsers(t *testing.T) {
	w := newWorld(t)
	if any, err := w.Any(ctx); err != nil || any {
		t.Errorf("there is an account in an empty database: %v", err)
	}
	w.user("anna", "dev", "dev", "ops")
	if any, err := w.Any(ctx); err != nil || !any {
		t.Errorf("there is no account: %v", err)
	}
	i, err := w.Current(ctx, auth.KindUser, "anna", 0)
	w.mustBe("anna", i, err, "user:anna")
	if fmt.Sprint(i.Groups) != "[dev ops]" {
		t.Errorf("groups %v", i.Groups)
	}
	i, err = w.Current(ctx, auth.KindUser, "Anna", 0)
	w.mustRefuse("another case", i, err)

	for name, change := range map[string]func(*db.Tx) error{
		"a name that is taken":        func(tx *db.Tx) error { return account.CreateUser(tx, account.NewUser{Name: "anna"}) },
		"one that differs by case":    func(tx *db.Tx) error { return account.CreateUser(tx, account.NewUser{Name: "ANNA"}) },
		"a name with a colon":         func(tx *db.Tx) error { return account.CreateUser(tx, account.NewUser{Name: "a:b"}) },
		"a group with a space":        func(tx *db.Tx) error { return account.SetGroups(tx, "anna", []string{"a b"}) },
		"the group of the file":       func(tx *db.Tx) error { return account.SetGroups(tx, "anna", []string{"htpasswd"}) },
		"a user who does not exist":   func(tx *db.Tx) error { return account.DeleteUser(tx, "bert") },
		"a password for nobody":       func(tx *db.Tx) error { return account.SetPassword(tx, "bert", "x") },
		"a robot that does not exist": func(tx *db.Tx) error { return account.DeleteRobot(tx, "ci") },
		"a description with an escape": func(tx *db.Tx) error {
			return account.CreateRobot(tx, "ci", "\x1b[31m")
		},
	} {
		err := w.db.Update(ctx, change)
		if !errors.Is(err, account.ErrExists) && !errors.Is(err, account.ErrInvalid) && !errors.Is(err, account.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}

	for _, step := range []struct {
		name   string
		change func(*db.Tx) error
		in     bool
		groups string
	}{
		{"other groups", func(tx *db.Tx) error { return account.SetGroups(tx, "anna", nil) }, true, "[]"},
		{"disabled", func(tx *db.Tx) error { return account.SetUserDisabled(tx, "anna", true) }, false, ""},
		{"enabled", func(tx *db.Tx) error { return account.SetUserDisabled(tx, "anna", false) }, true, "[]"},
		{"deleted", func(tx *db.Tx) error { return account.DeleteUser(tx, "anna") }, false, ""},
	} {
		w.update(step.change)
		i, err := w.Current(ctx, auth.KindUser, "anna", 0)
		if !step.in {
			w.mustRefuse(step.name, i, err)
		} else if err != nil || fmt.Sprint(i.Groups) != step.groups {
			t.Errorf("%s: %+v, %v", step.name, i, err)
		}
	}
}

func TestPasswords(t *testing.T) {
	for password, want := range map[string]bool{"": false, "short": false, "eight888": true, strings.Repeat("a", 72): true, strings.Repeat("a", 73): false} {
		hash, err := account.HashPassword(password)
		if (err == nil) != want || (err != nil && (!errors.Is(err, account.ErrInvalid) || (password != "" && strings.Contains(err.Error(), password)))) {
			t.Errorf("a password of %d bytes: %v", len(password), err)
		}
		if err == nil && bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) != nil {
			t.Errorf("the hash of a password of %d bytes does not fit", len(password))
		}
	}
}

func TestEnsureAdmin(t *testing.T) {
	w := newWorld(t)
	wrote := 0
	password, err := w.EnsureAdmin(ctx, func(*db.Tx) error { wrote++; return nil })
	if err != nil || len(password) < 20 || wrote != 1 {
		t.Fatalf("%d characters, %v, also ran %d times", len(password), err, wrote)
	}
	hash, ok, err := w.Password(ctx, "admin")
	if err != nil || !ok || bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) != nil {
		t.Errorf("the password does not fit: %v", err)
	}
	i, err := w.Current(ctx, auth.KindUser, "admin", 0)
	if w.mustBe("admin", i, err, "user:admin"); !i.IsAdmin() {
		t.Error("admin is no administrator")
	}
	if again, err := w.EnsureAdmin(ctx, nil); err != nil || again != "" {
		t.Errorf("a second time: %v", err)
	}

	w.update(func(tx *db.Tx) error { return account.SetUserDisabled(tx, "admin", true) })
	reset, err := w.ResetPassword(ctx, "admin", nil)
	if err != nil || reset == password || len(reset) < 20 {
		t.Fatalf("reset: %d characters, %v", len(reset), err)
	}
	if hash, ok, err = w.Password(ctx, "admin"); err != nil || !ok || bcrypt.CompareHashAndPassword([]byte(hash), []byte(reset)) != nil {
		t.Errorf("the new password does not fit, or admin is still disabled: %v", err)
	}
	if bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil {
		t.Error("the old password still fits")
	}
	if _, err := w.ResetPassword(ctx, "nobody", nil); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("reset of nobody: %v", err)
	}
	failed := errors.New("no room in the audit log")
	if p, err := w.ResetPassword(ctx, "admin", func(*db.Tx) error { return failed }); !errors.Is(err, failed) || p != "" {
		t.Errorf("a reset that could not be written down: %v", err)
	}
	if now, _, _ := w.Password(ctx, "admin"); now != hash {
		t.Error("a reset that could not be written down changed the password")
	}
}

func TestByActor(t *testing.T) {
	w := newWorld(t)
	w.user("anna", "dev")
	w.robot("ci")
	for _, actor := range []string{"user:anna", "robot:ci", "anonymous", "local administrator", "slipway", "workload:org/app"} {
		i, err := w.ByActor(ctx, actor)
		w.mustBe(actor, i, err, actor)
	}
	if i, _ := w.ByActor(ctx, "user:anna"); fmt.Sprint(i.Groups) != "[dev]" {
		t.Errorf("groups %v", i.Groups)
	}
	for _, actor := range []string{"user:bert", "robot:anna"} {
		i, err := w.ByActor(ctx, actor)
		w.mustRefuse(actor, i, err)
	}
	if _, err := w.ByActor(ctx, "anna"); !errors.Is(err, account.ErrInvalid) {
		t.Errorf("anna: %v", err)
	}
}
