package audit

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"slipway/internal/db"
)

const (
	recordEvery = time.Second
	recordRoom  = 1000 // different attempts at most between two writes
	recordRate  = 10   // a second, of those, in the long run: some 200 MB a day
)

// Recorder writes refused attempts in batches. Safe for concurrent use.
type Recorder struct {
	db      *db.DB
	log     *slog.Logger
	dropped atomic.Uint64

	mu      sync.Mutex
	waiting map[Entry]*pending
	order   []Entry // of the keys of waiting
	missing int64   // dropped since the last write
	room    int64   // how many more rows there may be
	filled  int64   // until when the room was filled up, milliseconds since 1970
}

type pending struct{ at, times int64 }

// NewRecorder makes a recorder. Nothing is written before Run or Flush.
func NewRecorder(d *db.DB, log *slog.Logger) *Recorder {
	return &Recorder{db: d, log: log, waiting: map[Entry]*pending{}, room: recordRoom, filled: d.Now().UnixMilli()}
}

// Record notes an attempt and returns at once. Equal attempts become one entry,
// of the time of the first.
func (r *Recorder) Record(e Entry) {
	times := max(e.Times, 1)
	e.ID, e.At, e.Times = 0, 0, 0
	e = e.clean()
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.waiting[e]; ok {
		p.times += times
		return
	}
	if r.fill(); r.room == 0 {
		r.missing += times
		r.dropped.Add(uint64(times))
		return
	}
	r.room--
	r.waiting[e] = &pending{r.db.Now().UnixMilli(), times}
	r.order = append(r.order, e)
}

// fill gives back the room for what has been written meanwhile.
func (r *Recorder) fill() {
	now := r.db.Now().UnixMilli()
	if now < r.filled { // the clock was set back
		r.filled = now
	}
	if n := (now - r.filled) * recordRate / 1000; n > 0 {
		r.room = min(r.room+n, recordRoom-int64(len(r.order)))
		r.filled = now
	}
}

// Dropped is how many attempts were not written for want of room.
func (r *Recorder) Dropped() uint64 { return r.dropped.Load() }

// Run writes every second until ctx ends, and then once more.
func (r *Recorder) Run(ctx context.Context) {
	ticker := time.NewTicker(recordEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		if err := r.Flush(last); err != nil {
			r.log.Error("refused attempts are not written into the audit log", "err", err)
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
	}
}

// Flush writes what was noted. What cannot be written counts as dropped.
func (r *Recorder) Flush(ctx context.Context) error {
	r.mu.Lock()
	waiting, order, missing := r.waiting, r.order, r.missing
	r.waiting, r.order, r.missing = map[Entry]*pending{}, nil, 0
	r.mu.Unlock()
	if len(order) == 0 && missing == 0 {
		return nil
	}
	err := r.db.Update(ctx, func(tx *db.Tx) error {
		for _, e := range order {
			p := waiting[e]
			e.Times = p.times
			if err := insert(tx, e, p.at); err != nil {
				return err
			}
		}
		if missing == 0 {
			return nil
		}
		return Append(tx, Entry{Actor: "slipway", Action: "audit", Outcome: Refused, Times: missing,
			Reason: fmt.Sprintf("%d more refused attempts came within a moment and are not listed", missing)})
	})
	if err != nil {
		var lost int64
		for _, p := range waiting {
			lost += p.times
		}
		r.dropped.Add(uint64(lost))
		r.mu.Lock()
		r.missing += missing + lost
		r.mu.Unlock()
	}
	return err
}
