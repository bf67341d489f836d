package bake

import (
	"context"
	"sync"
	"time"
)

// Reader reads projects as Read does, and keeps one child ready, because the
// start of one takes longer than all the rest. The first is started after the
// first project that needs one. A child reads one project, and is never asked
// again. The zero value is ready for use, by several goroutines at a time.
type Reader struct {
	mu     sync.Mutex
	idle   *child // waits for a task
	next   *time.Timer
	closed bool
}

// restart is when the next child is started: once whoever asked has done with
// the processor what comes right after the reading.
const restart = 200 * time.Millisecond

// Read reads a project.
func (r *Reader) Read(ctx context.Context, req Request) (*Project, error) {
	return read(ctx, req, r.take)
}

// Close ends the child that waits. What is being read goes on; what is read
// later gets a child of its own.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.next != nil {
		r.next.Stop()
	}
	if r.idle != nil {
		r.idle.end()
		r.idle = nil
	}
	return nil
}

// take gives the child that waits, or else a fresh one.
func (r *Reader) take(mode Isolation) (*child, error) {
	r.mu.Lock()
	c := r.idle
	if c != nil && c.mode == mode {
		r.idle = nil
	} else {
		c = nil
	}
	if !r.closed {
		if r.next != nil {
			r.next.Stop()
		}
		r.next = time.AfterFunc(restart, func() { r.prepare(mode) })
	}
	r.mu.Unlock()
	if c != nil && c.alive() {
		return c, nil
	}
	return start(mode)
}

// prepare starts the child that waits. Where it cannot be started, the next
// Read says why.
func (r *Reader) prepare(mode Isolation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	if r.idle != nil {
		if r.idle.mode == mode && r.idle.alive() {
			return
		}
		r.idle.end()
		r.idle = nil
	}
	if c, err := start(mode); err == nil {
		c.waited = true
		r.idle = c
	}
}
