package account_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/db"
)

func TestSecretsShowNothing(t *testing.T) {
	form := regexp.MustCompile(`^slipway_(pat|robot|refresh)_[a-z2-7]{59}$`)
	seen := map[string]bool{}
	for _, p := range []account.Prefix{account.PrefixPersonal, account.PrefixRobot, account.PrefixRefresh} {
		for range 20 {
			s := account.NewSecret(p)
			if !form.MatchString(s.Reveal()) || seen[s.Reveal()] {
				t.Errorf("secret %s", s.Reveal())
			}
			seen[s.Reveal()] = true
			if shown := fmt.Sprintf("%v %s %+v %#v %v", s, s, s, s, s.LogValue()); strings.Contains(shown, s.Reveal()[len(p):]) {
				t.Errorf("printing shows it: %s", shown)
			}
		}
	}
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	w.user("anna", "dev")
	w.robot("ci")
	personal, _ := w.token(auth.KindUser, "anna", "laptop", 0)
	narrow, narrowRow := w.token(auth.KindRobot, "ci", "runner", w.now.Add(time.Hour).UnixMilli(), "pull:team/**")

	i, err := w.BySecret(ctx, personal)
	w.mustBe("a personal token", i, err, "user:anna")
	if len(i.Scopes) != 0 || fmt.Sprint(i.Groups) != "[dev]" || i.Credential == 0 {
		t.Errorf("%+v", i)
	}
	i, err = w.BySecret(ctx, narrow)
	w.mustBe("a robot's token", i, err, "robot:ci")
	if fmt.Sprint(i.Scopes.Strings()) != "[pull:team/**]" || i.Credential != narrowRow.ID {
		t.Errorf("%+v", i)
	}

	last := personal[len(personal)-1:]
	for name, secret := range map[string]string{
		"unknown": account.NewSecret(account.PrefixPersonal).Reveal(), "cut off": personal[:len(personal)-1], "longer": personal + last,
		"of another kind": "slipway_robot_" + personal[len("slipway_pat_"):], "a refresh token": account.NewSecret(account.PrefixRefresh).Reveal(),
		"upper case": strings.ToUpper(personal), "with a space": personal + " ", "empty": "", "prefix": "slipway_pat_",
	} {
		i, err := w.BySecret(ctx, secret)
		w.mustRefuse(name, i, err)
		// Its owner is told a slip from a token that is gone.
		if name != "unknown" && (err == nil || !strings.Contains(err.Error(), "checksum")) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && secret != "" && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows the secret: %v", name, err)
		}
	}

	w.now = w.now.Add(time.Hour)
	i, err = w.BySecret(ctx, narrow)
	w.mustRefuse("expired", i, err)
	if !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired: %v does not say so", err)
	}
}

func TestWhatEndsATokenEndsWhatWasGotWithIt(t *testing.T) {
	for name, end := range map[string]func(*db.Tx, account.Token) error{
		"revoked":  func(tx *db.Tx, t account.Token) error { _, err := account.RevokeToken(tx, t.ID); return err },
		"disabled": func(tx *db.Tx, _ account.Token) error { return account.SetRobotDisabled(tx, "ci", true) },
		"deleted":  func(tx *db.Tx, _ account.Token) error { return account.DeleteRobot(tx, "ci") },
		"made again under the same name": func(tx *db.Tx, _ account.Token) error {
			return errors.Join(account.DeleteRobot(tx, "ci"), account.CreateRobot(tx, "ci", ""))
		},
	} {
		w := newWorld(t)
		w.robot("ci")
		secret, token := w.token(auth.KindRobot, "ci", "runner", 0)
		i, err := w.BySecret(ctx, secret)
		w.mustBe(name+": before", i, err, "robot:ci")
		refresh, err := w.IssueRefresh(ctx, i, "svc", "docker")
		if err != nil {
			t.Fatal(err)
		}
		i, err = w.Refresh(ctx, refresh.Reveal(), "svc")
		if w.mustBe(name+": refresh token before", i, err, "robot:ci"); i.Credential != token.ID {
			t.Errorf("%s: the refresh token forgot which token it was got with", name)
		}

		w.update(func(tx *db.Tx) error { return end(tx, token) })
		i, err = w.BySecret(ctx, secret)
		w.mustRefuse(name, i, err)
		i, err = w.Refresh(ctx, refresh.Reveal(), "svc")
		w.mustRefuse(name+": refresh token", i, err)
		i, err = w.Current(ctx, auth.KindRobot, "ci", token.ID)
		w.mustRefuse(name+": access token", i, err)
	}
}

func TestNewTokensAreChecked(t *testing.T) {
	w := newWorld(t)
	w.user("anna")
	w.token(auth.KindUser, "anna", "laptop", 0)
	good := account.NewToken{OwnerKind: auth.KindUser, Owner: "anna", Name: "other", Secret: account.NewSecret(account.PrefixPersonal)}
	for name, spoil := range map[string]func(*account.NewToken){
		"no name":             func(n *account.NewToken) { n.Name = "" },
		"a name with escapes": func(n *account.NewToken) { n.Name = "\x1b[2J" },
		"a name that is used": func(n *account.NewToken) { n.Name = "laptop" },
		"an end in the past":  func(n *account.NewToken) { n.Expires = w.now.UnixMilli() },
		"no secret":           func(n *account.NewToken) { n.Secret = account.Secret{} },
		"a robot's secret":    func(n *account.NewToken) { n.Secret = account.NewSecret(account.PrefixRobot) },
		"an anonymous owner":  func(n *account.NewToken) { n.OwnerKind = auth.KindAnonymous },
	} {
		n := good
		spoil(&n)
		err := w.db.Update(ctx, func(tx *db.Tx) error { _, err := account.CreateToken(tx, n); return err })
		if !errors.Is(err, account.ErrInvalid) && !errors.Is(err, account.ErrExists) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.update(func(tx *db.Tx) error { _, err := account.CreateToken(tx, good); return err })
}

func TestRefreshTokens(t *testing.T) {
	w := newWorld(t)
	w.user("anna")
	anna, err := w.Current(ctx, auth.KindUser, "anna", 0)
	if err != nil {
		t.Fatal(err)
	}
	issue := func() string {
		t.Helper()
		s, err := w.IssueRefresh(ctx, anna, "svc", "docker")
		if err != nil {
			t.Fatal(err)
		}
		return s.Reveal()
	}
	first := issue()
	i, err := w.Refresh(ctx, first, "svc")
	w.mustBe("a refresh token", i, err, "user:anna")
	i, err = w.Refresh(ctx, first, "another")
	w.mustRefuse("of another service", i, err)
	i, err = w.BySecret(ctx, first)
	w.mustRefuse("as a token", i, err)
	if _, err := w.IssueRefresh(ctx, auth.Nobody(anna.Address), "svc", ""); !errors.Is(err, account.ErrInvalid) {
		t.Errorf("for nobody: %v", err)
	}

	for range 100 {
		issue()
	}
	i, err = w.Refresh(ctx, first, "svc")
	w.mustRefuse("the oldest of too many", i, err)

	last := issue()
	w.update(func(tx *db.Tx) error { return account.SetPassword(tx, "anna", cheap(t, "another")) })
	i, err = w.Refresh(ctx, last, "svc")
	w.mustRefuse("after a new password", i, err)

	last = issue()
	w.now = w.now.Add(91 * 24 * time.Hour)
	i, err = w.Refresh(ctx, last, "svc")
	w.mustRefuse("expired", i, err)
}

func TestLastUse(t *testing.T) {
	w := newWorld(t)
	w.robot("ci")
	secret, token := w.token(auth.KindRobot, "ci", "runner", 0)
	w.now = w.now.Add(time.Minute)
	if _, err := w.BySecret(ctx, secret); err != nil {
		t.Fatal(err)
	}
	used := func() (int64, int64) {
		t.Helper()
		row, _, err := account.TokenByID(w.db.Read(ctx), token.ID)
		if err != nil {
			t.Fatal(err)
		}
		robot, _, err := account.RobotNamed(w.db.Read(ctx), "ci")
		if err != nil {
			t.Fatal(err)
		}
		return row.Used, robot.Used
	}
	if token, robot := used(); token != 0 || robot != 0 {
		t.Errorf("a use was written at once: %d %d", token, robot)
	}
	before, err := auth.NewGeneration(w.db).Current(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if token, robot := used(); token != w.now.UnixMilli() || robot != w.now.UnixMilli() {
		t.Errorf("used %d %d, want %d", token, robot, w.now.UnixMilli())
	}
	if after, err := auth.NewGeneration(w.db).Current(ctx); err != nil || after != before {
		t.Errorf("a use moved the generation: %v", err)
	}
}

// Nothing that could be shown to log in may lie in the database or its log.
func TestNoSecretAtRest(t *testing.T) {
	w := newWorld(t)
	w.user("anna")
	admin, err := w.ResetPassword(ctx, "anna", nil)
	if err != nil {
		t.Fatal(err)
	}
	personal, _ := w.token(auth.KindUser, "anna", "laptop", 0)
	i, err := w.BySecret(ctx, personal)
	if err != nil {
		t.Fatal(err)
	}
	refresh, err := w.IssueRefresh(ctx, i, "svc", "docker")
	if err != nil {
		t.Fatal(err)
	}
	var path string
	if _, err := w.db.Read(ctx).Row(`SELECT file FROM pragma_database_list WHERE name = 'main'`, nil, &path); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) < 2 {
		t.Fatalf("files %v, %v", files, err)
	}
	var all strings.Builder
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(content)
	}
	if !strings.Contains(all.String(), "laptop") {
		t.Fatal("what was written is not found: this test looks in the wrong place")
	}
	for name, secret := range map[string]string{"password": admin, "token": personal, "refresh token": refresh.Reveal()} {
		if strings.Contains(all.String(), secret) || strings.Contains(all.String(), secret[len(secret)-20:]) {
			t.Errorf("the %s lies in the database", name)
		}
	}
}
