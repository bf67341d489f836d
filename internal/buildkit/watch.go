package buildkit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/moby/buildkit/client"
	pb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/opencontainers/go-digest"

	"slipway/internal/pipeline"
)

// watch turns the builder's status into progress, and remembers what an error
// message will need: the last lines of every step that runs.
type watch struct {
	progress pipeline.Progress

	mu     sync.Mutex
	steps  map[digest.Digest]*step
	warned map[string]bool
	failed digest.Digest // the first step that failed
}

type step struct {
	name           string
	started, ended bool
	cached         bool
	tail           tail
}

func newWatch(p pipeline.Progress) *watch {
	return &watch{progress: p, steps: map[digest.Digest]*step{}, warned: map[string]bool{}}
}

func (w *watch) update(st *client.SolveStatus) {
	if raw, err := json.Marshal(st); err == nil {
		w.progress.Raw(raw)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range st.Vertexes {
		w.vertex(v)
	}
	for _, l := range st.Logs {
		s := w.step(l.Vertex)
		s.tail.add(l.Data)
		w.progress.Output(s.name, l.Data)
	}
	for _, warning := range st.Warnings {
		text := string(warning.Short)
		if place := firstLine(warning); place > 0 {
			text = fmt.Sprintf("line %d: %s", place, text)
		}
		if !w.warned[text] {
			w.warned[text] = true
			w.progress.Output("warning", []byte(text+"\n"))
		}
	}
}

func firstLine(w *client.VertexWarning) int {
	if len(w.Range) == 0 || w.Range[0].Start == nil {
		return 0
	}
	return int(w.Range[0].Start.Line)
}

func (w *watch) step(d digest.Digest) *step {
	s, known := w.steps[d]
	if !known {
		s = &step{}
		w.steps[d] = s
	}
	return s
}

func (w *watch) vertex(v *client.Vertex) {
	s := w.step(v.Digest)
	if v.Name != "" {
		s.name = v.Name
	}
	if v.Cached {
		s.cached = true
	}
	if v.Started != nil && !s.started {
		s.started = true
		if !v.Cached && v.Completed == nil {
			w.progress.Step(pipeline.Step{Name: s.name})
		}
	}
	if v.Completed != nil && !s.ended {
		s.ended = true
		done := pipeline.Step{Name: s.name, Done: true, Cached: s.cached, Err: v.Error}
		if v.Started != nil {
			done.Seconds = v.Completed.Sub(*v.Started).Seconds()
		}
		if v.Error != "" && w.failed == "" {
			w.failed = v.Digest
		}
		w.progress.Step(done)
	}
}

// counts says how many of the Dockerfile's steps there were, and how many the
// builder had cached.
func (w *watch) counts() (steps, cached int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.steps {
		if !s.ended || !isStep(s.name) {
			continue
		}
		steps++
		if s.cached {
			cached++
		}
	}
	return steps, cached
}

// isStep tells the Dockerfile's own steps from the builder's chores by the
// frontend's naming: "[app 2/5] COPY …". Bases are loaded, not run.
func isStep(name string) bool {
	if !strings.HasPrefix(name, "[") || strings.HasPrefix(name, "[internal]") || strings.HasPrefix(name, "[context ") {
		return false
	}
	_, instruction, found := strings.Cut(name, "] ")
	return found && !strings.HasPrefix(instruction, "FROM ")
}

// stepError makes a *pipeline.StepError of the builder's error. What is no
// failed step, a Dockerfile that can't be read for example, keeps its message.
func (w *watch) stepError(err error, reports []pipeline.Report) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &pipeline.StepError{Err: plain(err), Reports: reports, Place: place(err)}
	var exit *pb.ExitError
	if errors.As(err, &exit) && exit.ExitCode != pb.UnknownExitStatus {
		e.ExitCode = int(exit.ExitCode)
		e.Err = fmt.Errorf("exit code %d", exit.ExitCode)
	}
	if s, ok := w.steps[w.failed]; ok {
		e.Step, e.Output = s.name, s.tail.lines()
	}
	if e.Step == "" {
		e.Step = "build"
	}
	return e
}

// place is where in the Dockerfile the failed step stands.
func place(err error) string {
	for _, s := range errdefs.Sources(err) {
		if s.Info == nil || len(s.Ranges) == 0 || s.Ranges[0].Start == nil {
			continue
		}
		return fmt.Sprintf("%s:%d", s.Info.Filename, s.Ranges[0].Start.Line)
	}
	return ""
}

// plain takes the names of the layers that an error passed through out of it.
func plain(err error) error {
	text := err.Error()
	for _, prefix := range []string{"failed to run Build function: ", "failed to solve: ", "rpc error: code = Unknown desc = "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return errors.New(text)
}

// tail keeps the last lines of an output.
type tail struct {
	text []byte
	cut  bool // the first line is the end of one: it may begin within a secret
}

const (
	tailBytes = 16 << 10
	tailLines = 20
)

func (t *tail) add(p []byte) {
	t.text = append(t.text, p...)
	if over := len(t.text) - tailBytes; over > 0 {
		t.text, t.cut = append(t.text[:0], t.text[over:]...), true
	}
}

func (t *tail) lines() (lines []string) {
	text := t.text
	if t.cut {
		text = text[1+max(bytes.IndexAny(text, "\r\n"), -1):]
		if len(text) == len(t.text) {
			text = nil // all of it is the end of one line
		}
	}
	for line := range bytes.Lines(text) {
		lines = append(lines, strings.TrimRight(string(line), "\r\n"))
	}
	if over := len(lines) - tailLines; over > 0 {
		lines = lines[over:]
	}
	return lines
}
