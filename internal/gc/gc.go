// Package gc frees what nothing needs any more, while pushes and pulls go on.
//
// What is needed starts at tags and at pins. Untagged manifests are roots too
// unless their repository opted in to losing them; an index keeps its
// children and a subject keeps its referrers. A deleted manifest keeps its
// bytes while it can be restored. Whatever was pushed, mounted or asked for
// within the grace time is left alone, since the manifest that needs it may
// be on its way.
//
// A run works in slices. It looks on a snapshot, then removes a few rows in a
// transaction that asks every question again; so a push that came in between
// wins. Rows go first and bytes after, under keys that no later push can get
// (see package blob): a crash leaves bytes without a row, and the last step of
// a run finds those too.
package gc

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"slipway/internal/blob"
	"slipway/internal/db"
)

// Config is what a Collector is made of.
type Config struct {
	DB    *db.DB
	Blobs blob.Store
	Log   *slog.Logger
	// Flush writes what is recorded in batches before a run looks.
	Flush func(context.Context) error
	// Grace is how long unneeded content is kept after its last use. Default 1 h.
	Grace time.Duration
	// UndoGrace is how long a manifest that collection deletes can be
	// restored. Default: Grace.
	UndoGrace time.Duration
	// UploadExpiry is how long an upload may be silent. Default 24 h.
	UploadExpiry time.Duration
	// EventAge is how long events stay in the outbox. Default 7 days.
	EventAge time.Duration
	// OrphanAge is how old bytes without a row must be. It covers the time
	// between a commit's rename and its row. Default 15 min.
	OrphanAge time.Duration
	// Done is called with the report of each run.
	Done func(Report)
}

// Collector runs collections, one at a time.
type Collector struct {
	Config
	running sync.Mutex
	mu      sync.Mutex
	last    *Report
}

// New makes a collector.
func New(c Config) *Collector {
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{{&c.Grace, time.Hour}, {&c.UploadExpiry, 24 * time.Hour}, {&c.EventAge, 7 * 24 * time.Hour}, {&c.OrphanAge, 15 * time.Minute}} {
		if *d.value == 0 {
			*d.value = d.fallback
		}
	}
	if c.UndoGrace == 0 {
		c.UndoGrace = c.Grace
	}
	if c.Flush == nil {
		c.Flush = func(context.Context) error { return nil }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Collector{Config: c}
}

// Options of one run.
type Options struct {
	DryRun bool           // only report
	Grace  *time.Duration // instead of Config.Grace, for deleted content too; 0 may fail pushes that are under way
}

// Run collects once. A run that is under way is waited for first.
func (c *Collector) Run(ctx context.Context, o Options) (Report, error) {
	c.running.Lock()
	defer c.running.Unlock()
	if err := c.Flush(ctx); err != nil {
		// No reason not to collect: that may be what the disk needs.
		c.Log.Warn("recording last pulls failed; they are lost", "err", err)
	}
	grace := c.Grace
	if o.Grace != nil {
		grace = *o.Grace
	}
	r := &run{Collector: c, dry: o.DryRun, grace: grace, kept: map[Kept]sum{}, gone: newForecast()}
	r.report = Report{StartedAt: c.DB.Now(), DryRun: o.DryRun, Grace: grace}
	err := r.all(ctx)
	r.report.FinishedAt = c.DB.Now()
	r.report.summarize(r.kept)
	if err != nil {
		return r.report, fmt.Errorf("collect: %w", err)
	}
	if !o.DryRun {
		c.mu.Lock()
		c.last = &r.report
		c.mu.Unlock()
	}
	f := r.report.Freed
	c.Log.Info("collection finished", "dry_run", o.DryRun, "blobs", f.Blobs, "bytes", f.Bytes, "manifests", f.Manifests, "uploads", f.Uploads, "files", f.Files, "took", r.report.FinishedAt.Sub(r.report.StartedAt))
	if c.Done != nil {
		c.Done(r.report)
	}
	return r.report, nil
}

// Last returns the report of the newest run that was not a dry one, nil if
// there was none since the start.
func (c *Collector) Last() *Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// Loop runs every interval until ctx ends.
func (c *Collector) Loop(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if _, err := c.Run(ctx, Options{}); err != nil && ctx.Err() == nil {
			c.Log.Error("collection failed; the next one goes on", "err", err)
		}
	}
}
