//go:build unix

package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"slipway/internal/gc"
	"slipway/internal/meta"
)

// storageMetrics are the figures of the data folder and of collection.
type storageMetrics struct {
	log   *slog.Logger
	store *store

	blobs, bytes, inline, uploads, database, free *prometheus.Desc

	runs     prometheus.Counter
	freed    prometheus.Counter
	freedB   prometheus.Counter
	duration prometheus.Gauge
	lastRun  prometheus.Gauge

	mu      sync.Mutex
	totals  meta.Totals
	counted time.Time
	busy    bool
}

// totalsAge is how old the count of all blobs may be; it reads every row.
const totalsAge = 5 * time.Minute

func newStorageMetrics(reg prometheus.Registerer, log *slog.Logger) *storageMetrics {
	desc := func(name, help string) *prometheus.Desc { return prometheus.NewDesc("slipway_"+name, help, nil, nil) }
	m := &storageMetrics{
		log:      log,
		blobs:    desc("storage_blobs", "Blobs and manifests, each once. Counted every few minutes."),
		bytes:    desc("storage_bytes", "Bytes of blobs and manifests, each once. Counted every few minutes."),
		inline:   desc("storage_inline_bytes", "Bytes of those that are kept in the database."),
		uploads:  desc("uploads_open", "Uploads that have bytes and are not finished."),
		database: desc("database_bytes", "Size of the database's files."),
		free:     desc("storage_free_bytes", "Free space on the disk of the data folder."),
		runs:     prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_gc_runs_total", Help: "Finished collections."}),
		freed:    prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_gc_freed_blobs_total", Help: "Blobs that collection freed."}),
		freedB:   prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_gc_freed_bytes_total", Help: "Bytes that collection freed."}),
		duration: prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_gc_last_duration_seconds", Help: "How long the last collection took."}),
		lastRun:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_gc_last_run_timestamp_seconds", Help: "When the last collection ended."}),
	}
	reg.MustRegister(m, m.runs, m.freed, m.freedB, m.duration, m.lastRun)
	return m
}

func (m *storageMetrics) watch(s *store) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.store = s
}

// collected takes in the report of a collection.
func (m *storageMetrics) collected(r gc.Report) {
	if r.DryRun {
		return
	}
	m.runs.Inc()
	m.freed.Add(float64(r.Freed.Blobs))
	m.freedB.Add(float64(r.Freed.Bytes))
	m.duration.Set(r.FinishedAt.Sub(r.StartedAt).Seconds())
	m.lastRun.Set(float64(r.FinishedAt.Unix()))
}

// Describe implements prometheus.Collector.
func (m *storageMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.blobs, m.bytes, m.inline, m.uploads, m.database, m.free} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *storageMetrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	s, totals, counted := m.store, m.totals, m.counted
	if s != nil && !m.busy && time.Since(counted) > totalsAge {
		m.busy = true
		go m.count(s)
	}
	m.mu.Unlock()
	if s == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	if !counted.IsZero() {
		gauge(m.blobs, float64(totals.Blobs))
		gauge(m.bytes, float64(totals.Bytes))
		gauge(m.inline, float64(totals.InlineBytes))
	}
	gauge(m.database, float64(s.db.Size()))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if n, err := meta.CountUploads(s.db.Read(ctx)); err == nil {
		gauge(m.uploads, float64(n))
	}
	if free, _, err := s.blobs.Space(); err == nil {
		gauge(m.free, float64(free))
	}
}

func (m *storageMetrics) count(s *store) {
	totals, err := meta.CountBlobs(s.db.Read(context.Background()))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy = false
	if err != nil {
		m.log.Warn("counting blobs for metrics failed", "err", err)
		return
	}
	m.totals, m.counted = totals, time.Now()
}
