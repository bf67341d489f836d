package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	randv2 "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"golang.org/x/sync/errgroup"
)

// Config says what to measure and how.
type Config struct {
	URL         string         // HOST[:PORT], with http:// or https:// in front or not
	PlainHTTP   bool           // HTTP even where HTTPS is the default
	Insecure    bool           // accept any TLS certificate
	Keychain    authn.Keychain // asked when the registry wants a login; nil for none
	Repository  string         // everything is pushed under this name; default "bench"
	Concurrency int            // workers, and connections; default 8
	Duration    time.Duration  // of a measurement; default 3 s
	Requests    int            // operations of a measurement, in place of Duration, when above 0
	Tags        int            // tags in the repository that tag-page lists; default 1000
	Cleanup     bool           // remember what was pushed, for Cleanup
}

// ErrInvalid marks a Config that cannot be used.
var ErrInvalid = errors.New("invalid bench")

// Repositories that catalog-page makes: enough for a full page after any of
// the first half.
const catalogRepositories = 2 * pageSize

// A measurement ends early when this many operations have failed.
const maxErrors = 50

// Bench measures one registry. Prepare and Measure are not for concurrent use.
type Bench struct {
	cfg      Config
	client   *client
	run      string // distinguishes this run's names from those of any other
	seq      atomic.Uint64
	payloads map[int]*payload
	prepared map[string]*prepared
	pushed   ledger
}

// Open reaches the registry and logs in when it asks for that. It pushes
// nothing.
func Open(ctx context.Context, cfg Config) (*Bench, error) {
	if cfg.Repository == "" {
		cfg.Repository = "bench"
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 8
	}
	if cfg.Duration == 0 {
		cfg.Duration = 3 * time.Second
	}
	if cfg.Tags == 0 {
		cfg.Tags = 1000
	}
	if cfg.Concurrency < 0 || cfg.Duration < 0 || cfg.Requests < 0 || cfg.Tags < 0 {
		return nil, fmt.Errorf("%w: concurrency, duration, requests and tags must not be negative", ErrInvalid)
	}
	c, err := newClient(ctx, cfg)
	if err != nil {
		return nil, err
	}
	var id [4]byte
	rand.Read(id[:])
	return &Bench{
		cfg:      cfg,
		client:   c,
		run:      hex.EncodeToString(id[:]),
		payloads: map[int]*payload{},
		prepared: map[string]*prepared{},
		pushed:   ledger{keep: cfg.Cleanup},
	}, nil
}

// URL is the registry's address as it is used.
func (b *Bench) URL() string { return b.client.base.String() }

// Close drops the connections. It deletes nothing.
func (b *Bench) Close() { b.client.pool.CloseIdleConnections() }

// operation does a workload's work once and returns how many bytes of content
// went over the wire.
type operation func(ctx context.Context, w *worker) (int64, error)

// prepared is a workload that is ready to be measured.
type prepared struct {
	run operation
	// check reads back what this worker did last, after the clock has stopped;
	// nil when run checks everything itself.
	check func(ctx context.Context, w *worker) error
}

// worker is what one goroutine of a measurement keeps to itself.
type worker struct {
	buf       []byte
	rng       *randv2.Rand
	latencies []time.Duration
	bytes     int64
	lastImage *image
	lastTag   string
}

// Prepare pushes what a workload reads. Doing it again is free.
func (b *Bench) Prepare(ctx context.Context, name string) error {
	if b.prepared[name] != nil {
		return nil
	}
	spec, ok := specs[name]
	if !ok {
		return fmt.Errorf("no workload is called %q; there are %v", name, Workloads())
	}
	p, err := spec.prepare(ctx, b)
	if err != nil {
		return fmt.Errorf("prepare %s: %w", name, err)
	}
	b.prepared[name] = p
	return nil
}

// Measure runs a workload, which it prepares when that was not done. Failed
// operations are in the Result; the error is for a workload that could not be
// run at all, or a context that ended.
func (b *Bench) Measure(ctx context.Context, name string) (Result, error) {
	if err := b.Prepare(ctx, name); err != nil {
		return Result{}, err
	}
	p := b.prepared[name]
	var (
		errs     failures
		started  atomic.Int64
		wg       sync.WaitGroup
		workers  = make([]*worker, b.cfg.Concurrency)
		start    = time.Now()
		deadline = start.Add(b.cfg.Duration)
	)
	next := func() bool {
		if ctx.Err() != nil || errs.count() >= maxErrors {
			return false
		}
		if b.cfg.Requests > 0 {
			return started.Add(1) <= int64(b.cfg.Requests)
		}
		return time.Now().Before(deadline)
	}
	for i := range workers {
		w := newWorker()
		workers[i] = w
		wg.Go(func() {
			for next() {
				began := time.Now()
				n, err := p.run(ctx, w)
				if err != nil {
					errs.add(err)
					continue
				}
				w.latencies = append(w.latencies, time.Since(began))
				w.bytes += n
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("measure %s: %w", name, err)
	}
	if p.check != nil {
		for _, w := range workers {
			if err := p.check(ctx, w); err != nil {
				errs.add(fmt.Errorf("read back: %w", err))
			}
		}
	}
	var latencies []time.Duration
	var bytes int64
	for _, w := range workers {
		latencies = append(latencies, w.latencies...)
		bytes += w.bytes
	}
	r := summarize(name, latencies, bytes, elapsed)
	r.Errors = errs.count()
	if errs.first != nil {
		r.FirstError = errs.first.Error()
	}
	return r, nil
}

func newWorker() *worker {
	return &worker{
		buf:       make([]byte, 256<<10),
		rng:       randv2.New(randv2.NewPCG(randv2.Uint64(), randv2.Uint64())),
		latencies: make([]time.Duration, 0, 1<<14),
	}
}

// failures counts errors and keeps the first.
type failures struct {
	n     atomic.Int64
	once  sync.Once
	first error // read it after the workers are done
}

func (f *failures) add(err error) {
	f.n.Add(1)
	f.once.Do(func() { f.first = err })
}

func (f *failures) count() int { return int(f.n.Load()) }

// each calls do for 0 to n-1, from as many goroutines as there are workers.
func (b *Bench) each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(b.cfg.Concurrency)
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}
