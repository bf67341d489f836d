package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"cool-app/internal/config"
	"cool-app/internal/database"
	"cool-app/internal/logging"
	"cool-app/internal/rest"
	"cool-app/internal/task"
)

// serve answers from the first moment on, as alive but not ready, until the
// database is there and up to date. When ctx ends it takes no more connections,
// finishes the requests that it has, and returns nil.
func serve(ctx context.Context, c *config.Config, pool *pgxpool.Pool, log *slog.Logger) error {
	log.Info("starting", "config", c)
	var migrated atomic.Bool
	state := rest.State{Instance: c.Instance, Started: migrated.Load, Ready: func(request context.Context) error {
		switch {
		case ctx.Err() != nil:
			return errors.New("the service is stopping")
		case !migrated.Load():
			return errors.New("the database is not up to date yet")
		}
		return pool.Ping(request)
	}}
	server := &http.Server{
		Handler:           rest.New(task.NewStore(pool), state, log),
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("%sLISTEN: %w", config.Prefix, err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	started := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, c.StartTimeout)
		defer cancel()
		err := database.MigrateWhenUp(ctx, pool, log)
		if err == nil {
			migrated.Store(true)
			log.Info("ready", "address", listener.Addr().String())
		}
		started <- err
	}()

	for {
		select {
		case err := <-served:
			return fmt.Errorf("serving: %w", err)
		case err := <-started:
			if err != nil && ctx.Err() == nil {
				return errors.Join(err, server.Close())
			}
			started = nil
		case <-ctx.Done():
			log.Info("stopping", "drain", c.Drain.String())
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Drain)
			defer cancel()
			if err := server.Shutdown(ctx); err != nil {
				return errors.Join(fmt.Errorf("requests were still running after %s: %w", c.Drain, err), server.Close())
			}
			log.Info("stopped")
			return nil
		}
	}
}

// reopenOnHangup opens the log file again at each SIGHUP, until the function that
// it returns is called. Without a file the signal changes nothing.
func reopenOnHangup(file *logging.File, log *slog.Logger) func() {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		for range hangup {
			if file == nil {
				continue
			}
			if err := file.Reopen(); err != nil {
				log.Error("log file stays as it is", "err", err)
				continue
			}
			log.Info("log file opened again")
		}
	}()
	return func() {
		signal.Stop(hangup)
		close(hangup)
	}
}
