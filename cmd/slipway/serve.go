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
	"slipway/internal/edge"
)

// serveSettings are the settings of serve; see its flags for what they mean.
type serveSettings struct {
	listen        string
	http          string
	anonymous     string
	store         storeSettings
	mirror        mirrorSettings
	build         buildSettings
	tls           tlsSettings
	oidc          oidcSettings
	proxies       string
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

The port speaks TLS and, where --http lets it, plain HTTP. The certificate is
signed by an authority of this server's own, which clients trust after
'slipway trust'; --tls.cert takes another one.

On a loopback address everybody on this machine may do everything, until there
are accounts. On any other address callers log in: the first start makes the
user admin and prints its password. --anonymous says what callers without a
login may do.`,
		Example: `  slipway serve
  slipway serve --listen 127.0.0.1:5000 --data /srv/registry
  slipway serve --listen 0.0.0.0:5000 --external-url https://registry.lan:5000
  slipway serve --listen 0.0.0.0:5000 --http allow --anonymous push
  SLIPWAY_LOG_FORMAT=json slipway serve --config /etc/slipway.yaml`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.String("config", "", "read settings from this YAML file")
	f.StringVar(&s.listen, "listen", "127.0.0.1:5000", "address and port to serve on")
	f.StringVar(&s.store.data, "data", defaultDataDir(), "folder that keeps everything")
	f.StringVar(&s.http, "http", "loopback", "to whom plain HTTP is served: loopback, allow for everybody, or networks such as 10.0.0.0/8, comma-separated")
	s.tls.addFlags(f)
	f.StringVar(&s.proxies, "trusted-proxies", "", "networks of proxies whose word about where a request came from is believed, comma-separated")
	f.StringVar(&s.anonymous, "anonymous", "", "what callers without a login may do: none, pull, push (and pull), or admin (and everything else); default none, or on a loopback address admin until there are accounts")
	f.StringVar(&s.store.htpasswd, "auth.htpasswd", "", "file with users and their bcrypt hashes, as 'htpasswd -B' writes it, besides those of 'slipway user'; read again when it changes")
	s.oidc.addFlags(f)
	f.StringVar(&s.store.sparse, "sparse", "none", "accept manifests though content they point at is missing: none, indexes (some platforms are missing), or all (layers too)")
	f.Var(&s.manifestLimit, "manifest-limit", "largest manifest that is accepted, at least 4MiB")
	f.DurationVar(&s.store.grace, "gc.grace", time.Hour, "how long unneeded content is kept after its last use, and how long a deletion can be undone")
	f.DurationVar(&s.gcInterval, "gc.interval", time.Hour, "time between collections; 0 leaves them to 'slipway gc'")
	f.DurationVar(&s.store.uploadExpiry, "uploads.expiry", 24*time.Hour, "how long an unfinished upload may be silent")
	f.Var(&s.store.reserve, "storage.reserve", "free space that uploads leave to the database and collection; 0 is 1GiB, or a twentieth of a smaller disk")
	s.store.quota = &quotaSettings{}
	s.store.quota.addFlags(f)
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
		srv.out = cmd.OutOrStdout()
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
	return errors.Join(s.tls.check(), s.oidc.check(), s.mirror.check(), s.build.check())
}

// reach is who can reach the server, and what those without a login may do.
type reach struct {
	plain     edge.PlainHTTP
	proxies   edge.Networks
	loopback  bool           // only programs of this machine
	anonymous auth.Anonymous // 0: nothing
	untilUsed bool           // anonymous is admin until there are accounts
}

func (s *serveSettings) reach() (r reach, err error) {
	if r.plain, err = edge.ParsePlainHTTP(s.http); err != nil {
		return r, fmt.Errorf("http: %w", err)
	}
	if r.proxies, err = edge.ParseNetworks(s.proxies); err != nil {
		return r, fmt.Errorf("trusted-proxies: %w", err)
	}
	if r.loopback, err = isLoopback(s.listen); err != nil {
		return r, err
	}
	switch {
	case s.anonymous == "none":
	case s.anonymous != "":
		r.anonymous, err = auth.ParseAnonymous(s.anonymous)
	default:
		r.untilUsed = r.loopback
	}
	return r, err
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
