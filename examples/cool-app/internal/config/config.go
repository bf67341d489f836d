// Package config reads the service's settings from environment variables, all of
// which begin with COOL_APP_. One that it does not know is an error: a mistyped
// name must not silently leave a default in force.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Prefix begins the name of every setting.
const Prefix = "COOL_APP_"

// Config is what the service runs with. It holds the database's password: log
// nothing of Database but what [Config.LogValue] gives.
type Config struct {
	Listen       string
	Database     *pgxpool.Config
	Instance     string
	LogFile      string
	LogLevel     slog.Level
	StartTimeout time.Duration
	Drain        time.Duration
}

// Setting documents one variable; the README's table and -help are made of it.
type Setting struct {
	Name, Default, Meaning string
}

type setting struct {
	Setting
	set func(*Config, string) error
}

// password is applied after the address, which it completes.
const (
	databaseURL  = "DATABASE_URL"
	password     = "DATABASE_PASSWORD"
	passwordFile = "DATABASE_PASSWORD_FILE"
	connections  = "DATABASE_CONNECTIONS"
)

var settings = []setting{
	{Setting{databaseURL, "", "required: the PostgreSQL database, `postgres://USER@HOST:5432/NAME` or `host=… user=…`"}, nil},
	{Setting{password, "", "its password, where the address has none"}, nil},
	{Setting{passwordFile, "", "a file that holds the password, such as a mounted secret"}, nil},
	{Setting{connections, "10", "at most so many connections to the database"}, nil},
	{Setting{"LISTEN", ":8080", "address to serve on, `HOST:PORT`"}, func(c *Config, v string) error {
		c.Listen = v
		if _, _, err := net.SplitHostPort(v); err != nil {
			return fmt.Errorf("it is HOST:PORT, such as :8080, not %q", v)
		}
		return nil
	}},
	{Setting{"INSTANCE", "", "name of this instance in logs and in the header Instance; by default the host's name"}, func(c *Config, v string) error {
		c.Instance = v
		return nil
	}},
	{Setting{"LOG_FILE", "", "a file that gets the log, too; opened again on SIGHUP"}, func(c *Config, v string) error {
		c.LogFile = v
		return nil
	}},
	{Setting{"LOG_LEVEL", "info", "`debug`, `info`, `warn` or `error`"}, func(c *Config, v string) error {
		if c.LogLevel.UnmarshalText([]byte(v)) != nil {
			return fmt.Errorf("it is debug, info, warn or error, not %q", v)
		}
		return nil
	}},
	{Setting{"START_TIMEOUT", "1m", "how long to wait for the database at the start"}, duration(func(c *Config) *time.Duration { return &c.StartTimeout })},
	{Setting{"DRAIN", "10s", "how long requests may go on after SIGTERM"}, duration(func(c *Config) *time.Duration { return &c.Drain })},
}

func duration(field func(*Config) *time.Duration) func(*Config, string) error {
	return func(c *Config, v string) error {
		d, err := time.ParseDuration(v)
		if err != nil || d <= 0 {
			return fmt.Errorf("it is a time such as 30s or 2m, not %q", v)
		}
		*field(c) = d
		return nil
	}
}

// Settings lists what can be set, with the prefix.
func Settings() []Setting {
	var list []Setting
	for _, s := range settings {
		s.Name = Prefix + s.Name
		list = append(list, s.Setting)
	}
	return list
}

// Kubernetes sets these in every container for a service called cool-app. They
// are not ours, and not mistakes.
var foreign = regexp.MustCompile(`^(SERVICE_(HOST|PORT(_.*)?)|PORT(_.*)?)$`)

// Load reads the settings from environment entries NAME=VALUE, as [os.Environ]
// gives them. An empty value is as good as none. The error names every variable
// that is wrong, and no value of a secret.
func Load(environ []string) (*Config, error) {
	values := map[string]string{}
	var wrong []error
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		name, ours := strings.CutPrefix(name, Prefix)
		if !ours || foreign.MatchString(name) {
			continue
		}
		if !slices.ContainsFunc(settings, func(s setting) bool { return s.Name == name }) {
			wrong = append(wrong, fmt.Errorf("%s%s: there is no such setting; cool-app -help lists them", Prefix, name))
			continue
		}
		values[name] = value
	}
	c := &Config{}
	for _, s := range settings {
		if values[s.Name] == "" {
			values[s.Name] = s.Default
		}
		if s.set == nil {
			continue
		}
		if err := s.set(c, values[s.Name]); err != nil {
			wrong = append(wrong, fmt.Errorf("%s%s: %w", Prefix, s.Name, err))
		}
	}
	if c.Instance == "" {
		c.Instance, _ = os.Hostname()
	}
	wrong = append(wrong, c.setDatabase(values))
	return c, errors.Join(wrong...)
}

func (c *Config) setDatabase(values map[string]string) error {
	if values[databaseURL] == "" {
		return fmt.Errorf("%s%s: it is required, such as postgres://cool@db:5432/cool", Prefix, databaseURL)
	}
	var err error
	// pgx's error may repeat what it could not read, and a password with it.
	if c.Database, err = pgxpool.ParseConfig(values[databaseURL]); err != nil {
		return fmt.Errorf("%s%s: it is not a PostgreSQL address; special characters of a password are written as %%40 and the like, or use %s%s",
			Prefix, databaseURL, Prefix, password)
	}
	n, err := strconv.ParseInt(values[connections], 10, 32)
	if err != nil || n < 1 {
		return fmt.Errorf("%s%s: it is a number from 1, not %q", Prefix, connections, values[connections])
	}
	c.Database.MaxConns = int32(n)
	secret := values[password]
	if path := values[passwordFile]; path != "" {
		if secret != "" {
			return fmt.Errorf("%s%s and %s%s: set one of them", Prefix, password, Prefix, passwordFile)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("%s%s: %w", Prefix, passwordFile, err)
		}
		secret = strings.TrimRight(string(content), "\r\n")
	}
	if secret != "" {
		c.Database.ConnConfig.Password = secret
	}
	return nil
}

// LogValue gives what may be logged: no password.
func (c *Config) LogValue() slog.Value {
	db := c.Database.ConnConfig
	return slog.GroupValue(
		slog.String("listen", c.Listen),
		slog.String("database", fmt.Sprintf("%s@%s/%s", db.User, net.JoinHostPort(db.Host, strconv.Itoa(int(db.Port))), db.Database)),
		slog.Int("connections", int(c.Database.MaxConns)),
		slog.String("log_file", c.LogFile),
		slog.String("log_level", c.LogLevel.String()),
	)
}
