package account_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/db"
)

func TestParseHtpasswd(t *testing.T) {
	good := cheap(t, "secret")
	content := strings.Join([]string{
		"# users", "", "anna:" + good, "bert:$apr1$abc$defghijk", "carl:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "dora", "eva/x:" + good,
		"anna:" + good, "finn:" + strings.Replace(good, "$04$", "$15$", 1), "gina:" + good[:59], ":" + good, "hans:" + good + "\r", "ida:plain",
	}, "\n")
	hashes, cost, problems := account.ParseHtpasswd(content)
	if len(hashes) != 2 || hashes["anna"] != good || hashes["hans"] != good || cost != 4 {
		t.Errorf("users %v, cost %d", hashes, cost)
	}
	for i, line := range []string{"line 4: ", "line 5: ", "line 6: ", "line 7: ", "line 8: ", "line 9: ", "line 10: ", "line 11: ", "line 13: "} {
		if i >= len(problems) || !strings.HasPrefix(problems[i], line) {
			t.Fatalf("problems %q, want %q", problems, line)
		}
		if strings.Contains(problems[i], good) || strings.Contains(problems[i], "plain") || strings.Contains(problems[i], "defghijk") {
			t.Errorf("%q shows a hash", problems[i])
		}
	}
	if len(problems) != 9 {
		t.Errorf("problems %q", problems)
	}
}

func TestHtpasswdIsReadAgain(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "htpasswd")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := account.New(account.Config{DB: w.db, Htpasswd: path}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file that is missing: %v", err)
	}
	var log bytes.Buffer
	write("anna:" + cheap(t, "one") + "\nwrong line\n")
	a, err := account.New(account.Config{DB: w.db, Htpasswd: path, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "line 2") {
		t.Errorf("the wrong line is not in the log: %s", log.String())
	}
	i, err := a.Current(ctx, auth.KindUser, "anna", 0)
	if err != nil || len(i.Groups) != 1 || i.Groups[0] != auth.GroupHtpasswd || i.IsAdmin() {
		t.Errorf("%+v, %v", i, err)
	}
	if any, err := a.Any(ctx); err != nil || !any {
		t.Errorf("there is no account: %v", err)
	}

	// eventually waits for what the file says now: it is looked at once a second.
	eventually := func(what, name string, in bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if _, ok, err := a.Password(ctx, name); err == nil && ok == in {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %s is let in: %v, for seconds", what, name, !in)
			}
		}
	}
	write("bert:" + cheap(t, "two") + "\n")
	eventually("another file", "bert", true)
	eventually("another file", "anna", false)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually("no file", "bert", false)
	write("bert:" + cheap(t, "two") + "\n")
	eventually("the file again", "bert", true)

	// A file that is so new may change without its time and size doing so.
	soon := time.Now().Add(time.Hour)
	for _, name := range []string{"dora", "emil"} {
		write(name + ":" + cheap(t, "two") + "\n")
		if err := os.Chtimes(path, soon, soon); err != nil {
			t.Fatal(err)
		}
		eventually("of the same time and size", name, true)
	}
	write("bert:" + cheap(t, "two") + "\n")
	eventually("the file as it was", "bert", true)

	// A user of the database hides one of the file.
	w.update(func(tx *db.Tx) error {
		return account.CreateUser(tx, account.NewUser{Name: "bert", Hash: cheap(t, "three"), Groups: []string{"dev"}})
	})
	w.update(func(tx *db.Tx) error { return account.SetUserDisabled(tx, "bert", true) })
	if _, ok, err := a.Password(ctx, "bert"); err != nil || ok {
		t.Errorf("a disabled user is let in by the file: %v", err)
	}
}

func FuzzHtpasswd(f *testing.F) {
	f.Add("anna:$2y$05$abcdefghijklmnopqrstuu5Z0m1p0mA9cN4l7F5x8zX5y2W5y0q0K\n")
	f.Add("a:b\n\n#c\r\nd")
	f.Fuzz(func(t *testing.T, content string) {
		hashes, cost, _ := account.ParseHtpasswd(content)
		for name, hash := range hashes {
			if auth.CheckName(name) != nil || len(hash) != 60 || !strings.HasPrefix(hash, "$2") {
				t.Errorf("%q: %q", name, hash)
			}
		}
		if cost > 14 || (len(hashes) > 0 && cost < 4) {
			t.Errorf("cost %d", cost)
		}
	})
}
