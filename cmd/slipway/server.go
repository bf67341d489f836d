//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"slipway/internal/auth"
	"slipway/internal/edge"
	"slipway/internal/edge/certs"
	"slipway/internal/edge/certs/acme"
	"slipway/internal/httpapi"
	"slipway/internal/rest"
)

// server wires everything: Open, Run, Close, in this order.
type server struct {
	settings serveSettings
	log      *slog.Logger
	store    *store
	builder  *builder
	metrics  *storageMetrics
	reach    reach
	access   *access
	certs    certs.Source
	refusals *edge.Refusals
	out      io.Writer // for what a person reads at the start
	listener net.Listener
	control  net.Listener
	http     []*http.Server // by listener, in the same order
	draining atomic.Bool
}

// stopBuilds is how long cancelled builds may take to end: their steps are
// killed at once, the rest is to write down what became of them.
const stopBuilds = 10 * time.Second

func newServer(s serveSettings, log *slog.Logger) *server {
	return &server{settings: s, log: log, out: io.Discard}
}

// Open locks and opens the data and takes the port. Nothing is served yet.
func (s *server) Open(ctx context.Context) (err error) {
	if s.reach, err = s.settings.reach(); err != nil {
		return usageError{err}
	}
	s.settings.store.anonymous, s.settings.store.openUntilAccounts = s.reach.anonymous, s.reach.untilUsed
	s.settings.store.issuers = len(s.settings.oidc.issuers.list) > 0
	registerer := prometheus.NewRegistry()
	registerer.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.metrics = newStorageMetrics(registerer, s.log)
	if s.store, err = openStore(ctx, s.settings.store, s.log, s.metrics.collected); err != nil {
		s.store = nil // it has closed itself
		return err
	}
	s.metrics.watch(s.store)
	if s.store.mirror, err = s.settings.mirror.open(s.settings.store.data, s.store.registry, s.settings.manifestLimit, s.log); err != nil {
		return err
	}
	roots, err := readCertificates(s.settings.mirror.caCertificates)
	if err != nil {
		return err
	}
	if s.certs, err = s.settings.tls.open(s.settings.store.data, roots, s.log); err != nil {
		return err
	}
	if s.access, err = openAccess(s.store, &s.settings, s.log); err != nil {
		return err
	}
	registerer.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "slipway_audit_dropped_total", Help: "Refused attempts that came too fast to be written one by one; the audit log has their number.",
	}, func() float64 { return float64(s.access.recorder.Dropped()) }))
	if s.listener, err = net.Listen("tcp", s.settings.listen); err != nil {
		return fmt.Errorf("listen on %s: %w; is another server running there?", s.settings.listen, err)
	}
	if s.control, err = listenControl(s.settings.store.data); err != nil {
		return err
	}
	if host := s.settings.tls.publicHost(); host != "" {
		s.settings.build.hosts = append(s.settings.build.hosts, host)
	}
	if s.builder, err = openBuilder(ctx, s.store, s.settings.build, s.listener.Addr(), s.settings.mirror.caCertificates, s.log); err != nil {
		return err
	}
	public := s.settings.tls.publicHost()
	s.refusals = edge.NewRefusals(s.log, public)
	var protocols []string
	byACME, isACME := s.certs.(*acme.Source)
	if isACME {
		protocols = append(protocols, acme.Protocol)
	}
	s.listener = edge.NewListener(&sealedListener{s.listener, s.builder.subnet, s.log}, edge.ListenerConfig{
		Certificate: s.certs.Certificate, Protocols: protocols, Log: s.log, Refusals: s.refusals, Exempt: s.reach.proxies,
	})
	open := s.access.identify(s.handler(registerer, false))
	if s.reach.untilUsed {
		open = s.ownName(open)
	}
	open = &edge.PlainGuard{Next: open, Allow: s.reach.plain, Refusals: s.refusals, Public: public}
	if isACME {
		open = byACME.Challenges(open) // before anything that asks for TLS or a login
	}
	requests := edge.NewMetrics(registerer)
	proxies := edge.Proxies{Networks: s.reach.proxies}
	s.http = []*http.Server{
		// A web page must not act on a registry that its reader can reach.
		edge.NewServer(edge.Config{Handler: http.NewCrossOriginProtection().Handler(open), Log: s.log, Access: s.settings.logAccess, Stall: s.settings.stall, Metrics: requests, Proxies: proxies}),
		edge.NewServer(edge.Config{Handler: asLocal(s.handler(registerer, true)), Log: s.log, Access: s.settings.logAccess, Stall: 24 * time.Hour}),
	}
	return nil
}

// listenControl opens the socket by which local commands reach the server.
// Whoever may enter the data folder may use it.
func listenControl(data string) (net.Listener, error) {
	path := filepath.Join(data, controlSocket)
	// The folder is locked: a socket that is there was left by a crash.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w; its path must be short, choose a shorter data folder", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("open control socket: %w", err), l.Close())
	}
	return l, nil
}

// handler is everything that the port serves. local callers may name files of
// this machine.
func (s *server) handler(gatherer prometheus.Gatherer, local bool) http.Handler {
	authorize := guardMirror(s.store.mirror, s.access.authorize)
	mux := http.NewServeMux()
	v2 := httpapi.New(httpapi.Config{
		Reader: s.store.mirror, Lister: s.store.mirror, Writer: s.store.mirror, Log: s.log, Canonical: s.store.mirror.Canonical,
		Authorize: authorize, Challenge: s.access.challenge, Visible: s.access.visible, Caller: named,
		ManifestLimit: int64(s.settings.manifestLimit),
	})
	api := rest.New(rest.Config{
		DB: s.store.db, Registry: s.store.registry, Collector: s.store.collector, Log: s.log, Authorize: authorize,
		Builds: &rest.Builds{Engine: s.builder.engine, Checkout: s.builder.checkout, Local: local},
		Access: &rest.Access{
			Accounts: s.store.accounts, Policy: s.store.policy, Refused: s.access.recorder.Record, Trust: s.trustState,
			Caller: func(r *http.Request) auth.Identity { return callerOf(r).Identity },
		},
	})
	mux.HandleFunc("/api/v1/", func(w http.ResponseWriter, r *http.Request) {
		if err := callerOf(r).err; err != nil {
			rest.WriteError(w, r, s.log, err)
			return
		}
		api.ServeHTTP(w, r)
	})
	mux.Handle(tokenPath, s.access.endpoint)
	if s.access.people != nil {
		mux.Handle("/oidc/", s.access.people)
	}
	mux.Handle("GET /trust/{$}", http.HandlerFunc(s.trustPage))
	mux.Handle("GET /trust", http.HandlerFunc(s.trustPage))
	mux.Handle("GET /trust/ca.crt", http.HandlerFunc(s.trustCA))
	mux.Handle("GET /trust/install.sh", http.HandlerFunc(s.trustScript))
	metrics := promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		// They tell how much there is, and of nobody what.
		if err := s.access.authorize(r, auth.List, ""); err != nil {
			s.refuse(w, r, err)
			return
		}
		metrics.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "This is Slipway, a container registry.\nList what is here: slipway catalog HOST, or GET /v2/_catalog")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// ServeMux would redirect to a cleaned path; the registry's table
		// wants paths as they come.
		if len(r.URL.Path) >= 3 && r.URL.Path[:3] == "/v2" && (len(r.URL.Path) == 3 || r.URL.Path[3] == '/') {
			v2.ServeHTTP(w, r)
			return
		}
		// What follows may be looked at in a browser: nothing in it is a page of
		// its own making, unless the page says so.
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		w.Header().Set("Referrer-Policy", "no-referrer")
		mux.ServeHTTP(w, r)
	})
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text) // the client is gone if this fails
}

// ready answers whether requests will succeed: not while stopping, and not
// while the database does not answer.
func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		plain(w, http.StatusServiceUnavailable, "stopping")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	var one int
	if _, err := s.store.db.Read(ctx).Row(`SELECT 1 FROM settings`, nil, &one); err != nil {
		s.log.Error("not ready: the database does not answer", "err", err)
		plain(w, http.StatusServiceUnavailable, "the database does not answer")
		return
	}
	plain(w, http.StatusOK, "ok")
}

// Run serves until ctx ends, then finishes the requests under way for at most
// the drain time.
func (s *server) Run(ctx context.Context) error {
	background, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	if s.settings.gcInterval > 0 {
		running.Go(func() { s.store.collector.Loop(background, s.settings.gcInterval) })
	}
	running.Go(func() { s.store.mirror.Run(background) })
	running.Go(func() { s.certs.Run(background) })
	running.Go(func() { s.access.run(background) })
	defer func() { stop(); running.Wait() }()

	// Before anybody is served: there is no moment without the first user.
	if err := s.announce(background); err != nil {
		return err
	}
	failed := make(chan error, len(s.http))
	for i, l := range []net.Listener{s.listener, s.control} {
		go func() {
			if err := s.http[i].Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve on %s: %w", l.Addr(), err)
			}
		}()
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	s.draining.Store(true)
	s.log.Info("stopping: finishing requests", "drain", s.settings.drain)
	deadline, cancel := context.WithTimeout(context.Background(), s.settings.drain)
	defer cancel()
	var late []*http.Server
	for _, h := range s.http {
		if h.Shutdown(deadline) != nil {
			late = append(late, h)
		}
	}
	if len(late) > 0 {
		s.log.Warn("requests are cut off at the end of the drain time")
	}
	// Builds first, so that who waits for them is told how they ended.
	ending, done := context.WithTimeout(context.Background(), stopBuilds)
	defer done()
	if err := s.builder.engine.Stop(ending); err != nil {
		s.log.Warn("builds are cut off", "err", err)
	}
	for _, h := range late {
		told, done := context.WithTimeout(context.Background(), time.Second)
		if h.Shutdown(told) != nil {
			_ = h.Close()
		}
		done()
	}
	return nil
}

// Close gives back everything that Open took.
func (s *server) Close() error {
	var err error
	for _, l := range []net.Listener{s.listener, s.control} {
		if l != nil {
			if e := l.Close(); !errors.Is(e, net.ErrClosed) {
				err = errors.Join(err, e)
			}
		}
	}
	if s.builder != nil {
		err = errors.Join(err, s.builder.close())
	}
	if s.store != nil {
		err = errors.Join(err, s.store.close(context.Background()))
	}
	return err
}
