//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"slipway/internal/auth"
)

// serveSettings are the settings of serve; see its flags for what they mean.
type serveSettings struct {
	listen        string
	http          string
	anonymous     string
	store         storeSettings
	mirror        mirrorSettings
	build         buildSettings
	manifestLimit byteSize
	gcInterval    time.Duration
	drain         time.Duration
	stall         time.Duration
	logFormat     string
	logLevel      slog.Level
	logAccess     bool
}

func serverCommands() []*cobra.Command {
	return []*cobra.Command{newServeCommand(), newBuildCommand(), newLogsCommand(), newGCCommand()}
}

func newServeCommand() *cobra.Command {
	s := serveSettings{manifestLimit: 4 << 20}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the registry",
		Long: `Serve the registry until SIGTERM or Ctrl-C, then finish what is under way.

Every flag is also a key of the file that --config names (gc.grace: 2h) and an
environment variable (SLIPWAY_GC_GRACE=2h). Flags win over variables, and those
over the file.

On a loopback address everybody on this machine may do everything, over plain
HTTP. Any other address needs --http allow and --anonymous, since there are no
certificates and no users yet: whoever reaches the port then has those rights.`,
		Example: `  slipway serve
  slipway serve --listen 127.0.0.1:5000 --data /srv/registry
  slipway serve --listen 0.0.0.0:5000 --http allow --anonymous push
  SLIPWAY_LOG_FORMAT=json slipway serve --config /etc/slipway.yaml`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.String("config", "", "read settings from this YAML file")
	f.StringVar(&s.listen, "listen", "127.0.0.1:5000", "address and port to serve on")
	f.StringVar(&s.store.data, "data", defaultDataDir(), "folder that keeps everything")
	f.StringVar(&s.http, "http", "loopback", "where plain HTTP is served: loopback, or allow for any address")
	f.StringVar(&s.anonymous, "anonymous", "", "what everybody may do: pull, push (and pull), or admin (and delete and collect); default admin on a loopback address")
	f.StringVar(&s.store.sparse, "sparse", "none", "accept manifests though content they point at is missing: none, indexes (some platforms are missing), or all (layers too)")
	f.Var(&s.manifestLimit, "manifest-limit", "largest manifest that is accepted, at least 4MiB")
	f.DurationVar(&s.store.grace, "gc.grace", time.Hour, "how long unneeded content is kept after its last use, and how long a deletion can be undone")
	f.DurationVar(&s.gcInterval, "gc.interval", time.Hour, "time between collections; 0 leaves them to 'slipway gc'")
	f.DurationVar(&s.store.uploadExpiry, "uploads.expiry", 24*time.Hour, "how long an unfinished upload may be silent")
	f.Var(&s.store.reserve, "storage.reserve", "free space that uploads leave to the database and collection; 0 is 1GiB, or a twentieth of a smaller disk")
	s.mirror.addFlags(f)
	s.build.addFlags(f)
	f.DurationVar(&s.drain, "drain", 30*time.Second, "how long to finish requests after SIGTERM")
	f.DurationVar(&s.stall, "stall", time.Minute, "longest silence of a client within a request")
	f.StringVar(&s.logFormat, "log.format", "text", "form of log lines: text or json")
	f.Var(logLevel{&s.logLevel}, "log.level", "least level that is logged: DEBUG, INFO, WARN or ERROR")
	f.BoolVar(&s.logAccess, "log.access", true, "log every request")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := applyConfiguration(cmd.Flags(), os.Environ()); err != nil {
			return usageError{err}
		}
		if err := s.check(); err != nil {
			return usageError{err}
		}
		log, err := newLogger(cmd.ErrOrStderr(), s.logFormat, s.logLevel)
		if err != nil {
			return usageError{err}
		}
		srv := newServer(s, log)
		if err := srv.Open(cmd.Context()); err != nil {
			return errors.Join(err, srv.Close())
		}
		return errors.Join(srv.Run(cmd.Context()), srv.Close())
	}
	return cmd
}

func (s *serveSettings) check() error {
	if s.manifestLimit < 4<<20 {
		return fmt.Errorf("manifest-limit is %s: clients rely on at least 4MiB", s.manifestLimit.String())
	}
	for name, d := range map[string]time.Duration{"gc.grace": s.store.grace, "uploads.expiry": s.store.uploadExpiry, "stall": s.stall} {
		if d <= 0 {
			return fmt.Errorf("%s is %s: it must be more than 0", name, d)
		}
	}
	for name, d := range map[string]time.Duration{"gc.interval": s.gcInterval, "drain": s.drain} {
		if d < 0 {
			return fmt.Errorf("%s is %s: it must not be negative", name, d)
		}
	}
	return errors.Join(s.mirror.check(), s.build.check())
}

// access decides what a caller without a login may do on the address.
func (s *serveSettings) access() (auth.Anonymous, error) {
	if s.http != "loopback" && s.http != "allow" {
		return 0, fmt.Errorf("http is %q: use loopback or allow", s.http)
	}
	loopback, err := isLoopback(s.listen)
	if err != nil {
		return 0, err
	}
	if !loopback && s.http != "allow" {
		return 0, fmt.Errorf("%s is not a loopback address and there is no TLS yet: add --http allow to serve plain HTTP to the network", s.listen)
	}
	if s.anonymous == "" {
		if loopback {
			return auth.AnonymousAdmin, nil
		}
		return 0, fmt.Errorf("%s is not a loopback address and there are no users yet: say what everybody who reaches it may do, with --anonymous pull, push or admin", s.listen)
	}
	return auth.ParseAnonymous(s.anonymous)
}

func isLoopback(listen string) (bool, error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false, fmt.Errorf("listen is %q: it must be ADDRESS:PORT, such as 127.0.0.1:5000: %w", listen, err)
	}
	if host == "localhost" {
		return true, nil
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback(), nil
}

func newLogger(w io.Writer, format string, level slog.Level) (*slog.Logger, error) {
	o := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("log.format is %q: use text or json", format)
}

// logLevel is a flag such as INFO.
type logLevel struct{ *slog.Level }

func (l logLevel) Set(s string) error {
	if err := l.UnmarshalText([]byte(s)); err != nil {
		return errors.New("use DEBUG, INFO, WARN or ERROR")
	}
	return nil
}

func (l logLevel) Type() string { return "level" }
