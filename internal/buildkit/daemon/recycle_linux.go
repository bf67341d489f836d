package daemon

import (
	"context"
	"errors"
	"io"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
)

// Recycle ends buildkitd, with everything that still runs in it, and starts it
// again, as soon as it is idle: no build under way, whoever asked for it, and no
// run registered. It returns at once. It is for a cancelled RUN step that may live
// on.
func (d *Daemon) Recycle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current == nil || d.recycling {
		return // there is nothing to end, or it will be
	}
	d.recycling = true
	go d.recycle(d.current)
}

const (
	idleEvery = 500 * time.Millisecond // between two looks whether it is idle
	idleFor   = 100 * time.Millisecond // how long it must be: a client that was handed out begins its build
)

func (d *Daemon) recycle(p *process) {
	defer d.note(func() { d.recycling = false })
	for !p.asked() {
		if d.idle() && d.pause(p) {
			return
		}
		select {
		case <-time.After(idleEvery):
		case <-p.done:
			return
		}
	}
}

// pause hands out no more clients, and ends p if it is idle even so.
func (d *Daemon) pause(p *process) (ended bool) {
	d.note(func() { p.answers = false })
	time.Sleep(idleFor)
	if d.idle() {
		p.terminate(recycleWait)
		return true
	}
	d.note(func() { p.answers = true })
	return false
}

// idle tells whether there is neither a build nor a registered run. It is false
// if buildkitd does not say.
func (d *Daemon) idle() bool {
	d.mu.Lock()
	registered := !d.runs.idle()
	d.mu.Unlock()
	if registered {
		return false
	}
	ctx, cancel := context.WithTimeout(d.ctx, 5*time.Second)
	defer cancel()
	c, err := d.connect(ctx)
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	active, err := c.ControlClient().ListenBuildHistory(ctx, &controlapi.BuildHistoryRequest{ActiveOnly: true, EarlyExit: true})
	if err != nil {
		return false
	}
	_, err = active.Recv()
	return errors.Is(err, io.EOF)
}
