package config_test

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cool-app/internal/config"
)

const secret = "s3cret"

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const url = "COOL_APP_DATABASE_URL=postgres://cool@db:5433/tasks"
	for _, test := range []struct {
		name    string
		environ []string
		want    string // in the error; empty means that it is right
		check   func(*config.Config) bool
	}{
		{"defaults", []string{url, "PATH=/bin"}, "", func(c *config.Config) bool {
			return c.Listen == ":8080" && c.Database.MaxConns == 10 && c.LogLevel == slog.LevelInfo &&
				c.StartTimeout == time.Minute && c.Drain == 10*time.Second && c.LogFile == "" && c.Instance != ""
		}},
		{"all set", []string{url, "COOL_APP_LISTEN=127.0.0.1:1", "COOL_APP_LOG_LEVEL=debug", "COOL_APP_LOG_FILE=/l", "COOL_APP_DRAIN=1s",
			"COOL_APP_START_TIMEOUT=2s", "COOL_APP_INSTANCE=a", "COOL_APP_DATABASE_CONNECTIONS=3"}, "", func(c *config.Config) bool {
			return c.Listen == "127.0.0.1:1" && c.LogLevel == slog.LevelDebug && c.LogFile == "/l" && c.Drain == time.Second &&
				c.StartTimeout == 2*time.Second && c.Instance == "a" && c.Database.MaxConns == 3
		}},
		{"empty is unset", []string{url, "COOL_APP_LISTEN="}, "", func(c *config.Config) bool { return c.Listen == ":8080" }},
		{"address", []string{url}, "", func(c *config.Config) bool {
			db := c.Database.ConnConfig
			return db.Host == "db" && db.Port == 5433 && db.User == "cool" && db.Database == "tasks"
		}},
		{"password", []string{url, "COOL_APP_DATABASE_PASSWORD=" + secret}, "", hasPassword},
		{"password file", []string{url, "COOL_APP_DATABASE_PASSWORD_FILE=" + file}, "", hasPassword},
		{"both passwords", []string{url, "COOL_APP_DATABASE_PASSWORD=" + secret, "COOL_APP_DATABASE_PASSWORD_FILE=" + file}, "set one of them", nil},
		{"password file is missing", []string{url, "COOL_APP_DATABASE_PASSWORD_FILE=" + file + "x"}, "no such file", nil},
		{"kubernetes", []string{url, "COOL_APP_SERVICE_HOST=10.0.0.1", "COOL_APP_SERVICE_PORT=80", "COOL_APP_PORT_8080_TCP_ADDR=10.0.0.1", "COOL_APP_PORT=tcp://10.0.0.1:80"}, "",
			func(*config.Config) bool { return true }},
		{"no database", nil, "COOL_APP_DATABASE_URL: it is required", nil},
		{"unknown", []string{url, "COOL_APP_LISTN=:1"}, "COOL_APP_LISTN: there is no such setting", nil},
		{"all mistakes at once", []string{"COOL_APP_LISTN=:1", "COOL_APP_DRAIN=-1s"}, "COOL_APP_DRAIN", nil},
		{"listen", []string{url, "COOL_APP_LISTEN=8080"}, "COOL_APP_LISTEN: it is HOST:PORT", nil},
		{"level", []string{url, "COOL_APP_LOG_LEVEL=loud"}, `not "loud"`, nil},
		{"duration", []string{url, "COOL_APP_START_TIMEOUT=5"}, "COOL_APP_START_TIMEOUT", nil},
		{"connections", []string{url, "COOL_APP_DATABASE_CONNECTIONS=0"}, "COOL_APP_DATABASE_CONNECTIONS", nil},
		{"broken address", []string{"COOL_APP_DATABASE_URL=postgres://cool:" + secret + "%zz@db/tasks"}, "not a PostgreSQL address", nil},
		{"broken port", []string{"COOL_APP_DATABASE_URL=host=db password=" + secret + " port=x"}, "not a PostgreSQL address", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := config.Load(test.environ)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if !test.check(c) {
					t.Fatalf("got %+v", c)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got error %v, want one with %q", err, test.want)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

func hasPassword(c *config.Config) bool { return c.Database.ConnConfig.Password == secret }

func TestLogValueHasNoPassword(t *testing.T) {
	c, err := config.Load([]string{"COOL_APP_DATABASE_URL=postgres://cool:" + secret + "@db/tasks"})
	if err != nil {
		t.Fatal(err)
	}
	if !hasPassword(c) {
		t.Fatal("there is no password to hide")
	}
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("starting", "config", c)
	if strings.Contains(out.String(), secret) || !strings.Contains(out.String(), "cool@db:5432/tasks") {
		t.Errorf("logged %s", out.String())
	}
}

// The README's table is what Settings says.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("needs README.md, which images are built without")
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range config.Settings() {
		def := ""
		if s.Default != "" {
			def = "`" + s.Default + "`"
		}
		row := "| `" + s.Name + "` | " + def + " | " + s.Meaning + " |"
		if !bytes.Contains(readme, []byte(row)) {
			t.Errorf("README.md lacks the row %s", row)
		}
	}
}
