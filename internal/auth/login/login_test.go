package login

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/db"
	"slipway/internal/oci"
)

var ctx = context.Background()

type world struct {
	t  testing.TB
	db *db.DB
	*Login
	mu       sync.Mutex
	now      time.Time
	attempts []Attempt
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newWorld(t testing.TB, htpasswd string) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	var err error
	if w.db, err = db.Open(ctx, filepath.Join(t.TempDir(), "slipway.db"), db.Options{Now: w.clock}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.db.Close() })
	a, err := account.New(account.Config{DB: w.db, Htpasswd: htpasswd})
	if err != nil {
		t.Fatal(err)
	}
	w.Login, err = New(Config{Accounts: a, Now: w.clock, Checks: 2, Failed: func(a Attempt) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.attempts = append(w.attempts, a)
	}})
	if err != nil {
		t.Fatal(err)
	}
	// Tests make many checks, and few of them measure one.
	w.passwords.highest = func() int { return bcrypt.MinCost }
	return w
}

func hashOf(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func (w *world) update(fn func(*db.Tx) error) {
	w.t.Helper()
	if err := w.db.Update(ctx, fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) user(name, password string) {
	w.t.Helper()
	hash := hashOf(w.t, password)
	w.update(func(tx *db.Tx) error {
		return account.CreateUser(tx, account.NewUser{Name: name, Hash: hash, Groups: []string{"dev"}})
	})
}

func (w *world) token(kind auth.Kind, owner string) (string, account.Token) {
	w.t.Helper()
	secret := account.NewSecret(account.PrefixFor(kind))
	var token account.Token
	w.update(func(tx *db.Tx) (err error) {
		token, err = account.CreateToken(tx, account.NewToken{OwnerKind: kind, Owner: owner, Name: "t", Secret: secret})
		return err
	})
	return secret.Reveal(), token
}

func (w *world) basic(user, password, from string) (auth.Identity, error) {
	return w.Authenticate(ctx, Credentials{Basic, user, password}, netip.MustParseAddr(from))
}

func (w *world) guess(user, from string, n int) error {
	_, err := w.basic(user, fmt.Sprintf("guess %d", n), from)
	return err
}

const home, away = "192.0.2.1", "198.51.100.7"

func TestWhoGetsIn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(path, []byte("finn:"+hashOf(t, "from the file")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, path)
	w.user("anna", "secret: with a colon")
	w.update(func(tx *db.Tx) error { return account.CreateRobot(tx, "ci", "") })
	w.update(func(tx *db.Tx) error { return account.CreateUser(tx, account.NewUser{Name: "oidc"}) })
	pat, _ := w.token(auth.KindUser, "anna")
	robot, _ := w.token(auth.KindRobot, "ci")
	refresh := account.NewSecret(account.PrefixRefresh).Reveal()

	basic := func(s string) []string { return []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(s))} }
	for _, c := range []struct {
		name   string
		header []string
		actor  string
	}{
		{"nothing", nil, "anonymous"},
		{"password", basic("anna:secret: with a colon"), "user:anna"},
		{"htpasswd", basic("finn:from the file"), "user:finn"},
		{"personal token", basic("anna:" + pat), "user:anna"},
		{"personal token, any name", basic("token:" + pat), "user:anna"},
		{"robot token", basic("ci:" + robot), "robot:ci"},
		{"bearer personal token", []string{"Bearer " + pat}, "user:anna"},
		{"bearer robot token, lower case", []string{"bearer " + robot}, "robot:ci"},

		{"wrong password", basic("anna:secret"), ""}, {"empty password", basic("anna:"), ""}, {"nobody", basic("bert:secret"), ""}, {"no name", basic(":secret"), ""},
		{"another case", basic("Anna:secret: with a colon"), ""}, {"no password set", basic("oidc:"), ""},
		{"the hash", basic("anna:" + hashOf(t, "x")), ""}, {"a robot's name as a user", basic("ci:"), ""},
		{"another's token", basic("finn:" + pat), ""}, {"no name with a token", basic(":" + pat), ""}, {"a robot token of a user", basic("anna:" + robot), ""},
		{"refresh token as password", basic("anna:" + refresh), ""}, {"refresh token as bearer", []string{"Bearer " + refresh}, ""},
		{"access token", []string{"Bearer aaa.bbb.ccc"}, ""},
		{"two headers", append(basic("anna:secret: with a colon"), "Bearer "+pat), ""}, {"the same header twice", append(basic("anna:secret: with a colon"), basic("anna:secret: with a colon")...), ""},
		{"a token as the name", basic(pat + ":x"), ""}, {"empty header", []string{""}, ""}, {"no base64", []string{"Basic ???"}, ""}, {"no colon", basic("anna"), ""}, {"digest", []string{"Digest username=anna"}, ""}, {"no bearer", []string{"Bearer "}, ""},
		{"bearer with a space", []string{"Bearer " + pat + " x"}, ""}, {"a header as long as a book", []string{"Basic " + strings.Repeat("A", 1<<20)}, ""},
		{"a password as long as a book", basic("anna:" + strings.Repeat("a", 20000)), ""},
	} {
		r := httptest.NewRequest("GET", "/v2/", nil)
		r.RemoteAddr = "192.0.2.1:1234"
		r.Header["Authorization"] = c.header
		before := len(w.attempts)
		i, err := w.Request(r)
		if c.actor == "" {
			if !oci.HasCode(err, oci.CodeUnauthorized) || i.Kind != "" {
				t.Errorf("%s: %+v, %v, want UNAUTHORIZED", c.name, i, err)
			}
			if len(w.attempts) != before+1 {
				t.Errorf("%s: %d attempts were noted", c.name, len(w.attempts)-before)
			}
			for _, secret := range []string{pat, robot, refresh, "secret: with"} {
				if strings.Contains(fmt.Sprint(err, w.attempts), secret) {
					t.Errorf("%s: a secret is shown: %v", c.name, err)
				}
			}
			continue
		}
		if err != nil || i.Actor() != c.actor || i.Address.String() != home {
			t.Errorf("%s: %s from %s, %v, want %s", c.name, i.Actor(), i.Address, err, c.actor)
		}
		w.pass(time.Hour) // what failed above is forgotten
	}
}

func TestOneAnswerToAllThatIsWrong(t *testing.T) {
	w := newWorld(t, "")
	w.user("anna", "right")
	w.user("off", "right")
	w.update(func(tx *db.Tx) error { return account.SetUserDisabled(tx, "off", true) })
	said := map[string]bool{}
	for _, c := range [][2]string{{"anna", "wrong"}, {"bert", "wrong"}, {"off", "right"}, {"a:b", "x"}, {"anna\x00", "right"}} {
		_, err := w.basic(c[0], c[1], home)
		said[fmt.Sprint(err)] = true
	}
	if len(said) != 1 {
		t.Errorf("answers differ: %v", said)
	}
}

// What is spent on a refusal is the same for a user who exists, however cheap
// its hash, and for one who does not. It is counted and not timed: rounds of
// bcrypt are all that takes time, and a busy machine says nothing.
func TestRefusalsTakeTheSameTime(t *testing.T) {
	w := newWorld(t, "")
	w.passwords.highest = func() int { return 9 }
	for _, cost := range []int{4, 6, 9, 0} {
		hash := "" // nobody, or a user who is disabled
		if cost > 0 {
			h, err := bcrypt.GenerateFromPassword([]byte("right"), cost)
			if err != nil {
				t.Fatal(err)
			}
			hash = string(h)
		}
		before := w.passwords.rounds.Load()
		if w.passwords.fits(hash, "wrong") {
			t.Fatal("it fits")
		}
		if spent := w.passwords.rounds.Load() - before; spent != 1<<9 {
			t.Errorf("%d rounds for a hash of cost %d, want %d", spent, cost, 1<<9)
		}
	}
}

// jobs is a CI system whose tokens begin with its name.
type jobs string

func (j jobs) Is(raw string) bool { return strings.HasPrefix(raw, string(j)) }

func (j jobs) Verify(_ context.Context, raw string) (auth.Identity, error) {
	if raw != string(j)+".good" {
		return auth.Identity{}, oci.NewError(oci.CodeUnauthorized, "not good")
	}
	return auth.Identity{Kind: auth.KindWorkload, Name: "job"}, nil
}

func TestWorkloads(t *testing.T) {
	w := newWorld(t, "")
	from := netip.MustParseAddr(home)
	for _, c := range []Credentials{{Bearer, "", "hub.good"}, {Basic, "anyone", "hub.good"}} {
		if _, err := w.Authenticate(ctx, c, from); !oci.HasCode(err, oci.CodeUnauthorized) {
			t.Errorf("%v, where no job is let in: %v", c, err)
		}
		w.Workloads = jobs("hub")
		if i, err := w.Authenticate(ctx, c, from); err != nil || i.Actor() != "workload:job" || i.Address != from {
			t.Errorf("%v: %+v, %v", c, i, err)
		}
		c.Secret = "hub.bad"
		before := len(w.attempts)
		if _, err := w.Authenticate(ctx, c, from); !oci.HasCode(err, oci.CodeUnauthorized) || len(w.attempts) != before+1 {
			t.Errorf("%v: %v", c, err)
		}
		w.Workloads = nil
	}
}

func TestRightPasswordsAreRemembered(t *testing.T) {
	w := newWorld(t, "")
	w.user("anna", "right")
	login := func() error { _, err := w.basic("anna", "right", home); return err }
	for range 5 {
		if err := login(); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.passwords.checks.Load(); n != 1 {
		t.Errorf("%d checks for the same login", n)
	}
	// Whatever changes of the user holds at once.
	set := func(password string) {
		hash := hashOf(t, password)
		w.update(func(tx *db.Tx) error { return account.SetPassword(tx, "anna", hash) })
	}
	w.update(func(tx *db.Tx) error { return account.SetUserDisabled(tx, "anna", true) })
	if err := login(); !oci.HasCode(err, oci.CodeUnauthorized) {
		t.Errorf("disabled: %v", err)
	}
	w.update(func(tx *db.Tx) error { return account.SetUserDisabled(tx, "anna", false) })
	if err := login(); err != nil {
		t.Errorf("enabled: %v", err)
	}
	w.update(func(tx *db.Tx) error { return account.SetGroups(tx, "anna", []string{"admins"}) })
	if i, err := w.basic("anna", "right", home); err != nil || !i.IsAdmin() {
		t.Errorf("other groups: %+v, %v", i, err)
	}
	set("other")
	if err := login(); !oci.HasCode(err, oci.CodeUnauthorized) {
		t.Errorf("the old password: %v", err)
	}
	set("right") // the refusal was of another hash
	if err := login(); err != nil {
		t.Errorf("the password is the old one again: %v", err)
	}
	w.update(func(tx *db.Tx) error { return account.DeleteUser(tx, "anna") })
	if err := login(); !oci.HasCode(err, oci.CodeUnauthorized) {
		t.Errorf("deleted: %v", err)
	}
	before := w.passwords.checks.Load()
	w.user("anna", "right")
	if err := login(); err != nil || w.passwords.checks.Load() != before+1 {
		t.Errorf("made again: %v", err)
	}
	w.pass(rightFor)
	if err := login(); err != nil || w.passwords.checks.Load() != before+2 {
		t.Errorf("after %v a login is still remembered: %v", rightFor, err)
	}
}

func TestParallelLoginsAreOneCheck(t *testing.T) {
	w := newWorld(t, "")
	w.user("anna", "right")
	var group sync.WaitGroup
	for range 40 { // more than are free of delays
		group.Go(func() {
			if _, err := w.basic("anna", "right", home); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := w.passwords.checks.Load(); n > 3 {
		t.Errorf("%d checks", n)
	}
}
