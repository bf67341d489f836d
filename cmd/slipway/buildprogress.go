//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/opencontainers/go-digest"

	"slipway/internal/pipeline"
)

// buildProgress shows the events of a build: line by line, or, on a terminal,
// with BuildKit's own drawing of the steps that run. Lines that come while it
// draws are shown when it has ended.
type buildProgress struct {
	w     io.Writer
	draws bool

	mu      sync.Mutex
	drawing chan *bkclient.SolveStatus // nil while nothing is drawn
	drawn   chan struct{}
	steps   map[string]digest.Digest // by target and name
	waiting []pipeline.Event
}

func newBuildProgress(w io.Writer, mode string, terminal bool) (*buildProgress, error) {
	p := &buildProgress{w: w, steps: map[string]digest.Digest{}}
	switch mode {
	case "auto":
		p.draws = terminal && os.Getenv("TERM") != "dumb"
	case "tty":
		p.draws = true
	case "plain":
	default:
		return nil, fmt.Errorf("progress is %q: use auto, tty or plain", mode)
	}
	return p, nil
}

// event shows one event.
func (p *buildProgress) event(e pipeline.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.draws || e.Outcome != nil {
		p.print(e)
		return
	}
	switch {
	case e.Status != nil:
		p.draw(e)
	case p.drawing == nil:
		p.print(e)
	case e.Section != "":
		p.stop()
		p.print(e)
	case e.Step != "" && p.output(e):
	default:
		p.waiting = append(p.waiting, e)
	}
}

func (p *buildProgress) print(e pipeline.Event) {
	at := e.At.UTC().Format(pipeline.TimeFormat)
	switch {
	case e.Section != "":
		fmt.Fprintf(p.w, "%s == %s\n", at, e.Section)
	case e.Line != nil:
		fmt.Fprintf(p.w, "%s %s\n", at, e.Text())
	}
}

// draw hands the builder's status to the drawing, and begins one.
func (p *buildProgress) draw(e pipeline.Event) {
	var st bkclient.SolveStatus
	if json.Unmarshal(e.Status, &st) != nil {
		return // a newer server's: its lines still come
	}
	for _, v := range st.Vertexes {
		p.steps[e.Target+"\x00"+v.Name] = v.Digest
	}
	if p.drawing == nil {
		display, err := progressui.NewDisplay(p.w, progressui.TtyMode)
		if err != nil {
			p.draws = false // no terminal after all
			return
		}
		p.drawing, p.drawn = make(chan *bkclient.SolveStatus, 64), make(chan struct{})
		go func(status chan *bkclient.SolveStatus, done chan struct{}) {
			defer close(done)
			_, _ = display.UpdateFrom(context.Background(), status) // the lines say what failed
			for range status {
			}
		}(p.drawing, p.drawn)
	}
	p.drawing <- &st
}

// output shows a line of a step that is drawn.
func (p *buildProgress) output(e pipeline.Event) bool {
	d, ok := p.steps[e.Target+"\x00"+e.Step]
	if ok {
		p.drawing <- &bkclient.SolveStatus{Logs: []*bkclient.VertexLog{{Vertex: d, Stream: 1, Data: []byte(*e.Line + "\n"), Timestamp: e.At}}}
	}
	return ok
}

// stop ends the drawing, and shows what waited.
func (p *buildProgress) stop() {
	if p.drawing == nil {
		return
	}
	close(p.drawing)
	<-p.drawn
	p.drawing = nil
	for _, e := range p.waiting {
		p.print(e)
	}
	p.waiting = nil
}

// end shows the rest.
func (p *buildProgress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop()
}
