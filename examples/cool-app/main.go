// Command cool-app is a REST service for tasks, on PostgreSQL. The README says how
// it is run; each package's comment says what it does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"cool-app/internal/config"
	"cool-app/internal/database"
	"cool-app/internal/logging"
)

func main() {
	// The first signal ends the service in order, a second one at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Args[1:], os.Environ(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cool-app: "+strings.ReplaceAll(err.Error(), "\n", "\ncool-app: "))
		os.Exit(1)
	}
}

func run(ctx context.Context, args, environ []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("cool-app", flag.ContinueOnError)
	flags.SetOutput(stdout)
	flags.Usage = func() { usage(stdout) }
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	command := flags.Arg(0)
	if flags.NArg() > 1 {
		return fmt.Errorf("there is one argument too many: %q; cool-app -help tells more", flags.Arg(1))
	}
	c, err := config.Load(environ)
	if err != nil {
		return err
	}
	if command == "health" {
		return health(ctx, c)
	}

	var file *logging.File
	if c.LogFile != "" {
		if file, err = logging.OpenFile(c.LogFile); err != nil {
			return err
		}
		defer file.Close()
	}
	log := logging.New(stdout, file, c.LogLevel, c.Instance)
	pool, err := pgxpool.NewWithConfig(ctx, c.Database)
	if err != nil {
		return fmt.Errorf("preparing the connections to the database: %w", err)
	}
	defer pool.Close()

	switch command {
	case "", "serve":
		defer reopenOnHangup(file, log)()
		return serve(ctx, c, pool, log)
	case "migrate":
		ctx, cancel := context.WithTimeout(ctx, c.StartTimeout)
		defer cancel()
		return database.MigrateWhenUp(ctx, pool, log)
	}
	return fmt.Errorf("there is no command %q; cool-app -help lists them", command)
}

func usage(w io.Writer) {
	fmt.Fprint(w, `cool-app [COMMAND]

  serve     migrate the database and serve, the default
  migrate   migrate the database and end
  health    exit code 0 if the service here is ready

Environment variables:
`)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range config.Settings() {
		meaning := s.Meaning
		if s.Default != "" {
			meaning += " (default " + s.Default + ")"
		}
		fmt.Fprintf(table, "  %s\t%s\n", s.Name, meaning)
	}
	_ = table.Flush() // to a terminal or a pipe; there is nowhere else to say it
}

// health asks the instance in this container, for images that have no curl.
func health(ctx context.Context, c *config.Config) error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	url := "http://" + net.JoinHostPort(host, port) + "/readyz"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}
