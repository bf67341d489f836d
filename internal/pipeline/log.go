package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"slipway/internal/mask"
)

// Event is one piece of news of a run. Section, Line, Status or Outcome
// is set.
type Event struct {
	At      time.Time       `json:"at"`
	Target  string          `json:"target,omitempty"`
	Section string          `json:"section,omitempty"` // a new phase begins
	Step    string          `json:"step,omitempty"`    // the step that printed Line
	Line    *string         `json:"line,omitempty"`    // a line of the log, without its end
	Status  json.RawMessage `json:"status,omitempty"`  // the builder's own, for a client that draws it
	Outcome *Outcome        `json:"outcome,omitempty"` // the last event
}

// Text is the line as the log has it, without its time.
func (e Event) Text() string {
	if e.Line == nil {
		return ""
	}
	text := *e.Line
	if e.Step != "" {
		text = shortStep(e.Step) + " | " + text
	}
	if e.Target != "" {
		text = "[" + e.Target + "] " + text
	}
	return text
}

// Sink is told what happens, in order. It must not block for long: the run
// waits for it.
type Sink func(Event)

// maxLog bounds what is kept of one run's log, in bytes.
const maxLog = 64 << 20

// runLog is the log of a run: a time on every line, a section for each phase,
// no secret, and nothing that moves a cursor. It goes to the sink as it comes
// and is kept.
type runLog struct {
	masker *mask.Masker
	sink   Sink
	now    func() time.Time

	mu      sync.Mutex
	kept    bytes.Buffer
	dropped bool
}

func newLog(secrets [][]byte, sink Sink, now func() time.Time) *runLog {
	if sink == nil {
		sink = func(Event) {}
	}
	return &runLog{masker: mask.New(secrets), sink: sink, now: now}
}

// hide adds secrets.
func (l *runLog) hide(secrets [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.masker = mask.New(secrets)
}

// text hides the secrets in a text, and takes out what moves a cursor.
func (l *runLog) text(s string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.plain(s)
}

// plain is text for who holds mu.
func (l *runLog) plain(s string) string {
	return l.masker.String(string(mask.StripControl(nil, []byte(s))))
}

// TimeFormat is how the log gives times: of the day, in UTC.
const TimeFormat = "15:04:05.000"

// Section begins a phase.
func (l *runLog) Section(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, title := l.now().UTC(), strings.ReplaceAll(l.plain(fmt.Sprintf(format, args...)), "\n", " ")
	l.keep(at, "== "+title)
	l.sink(Event{At: at, Section: title})
}

// Linef writes a line, of a target or, with "", of the run. A text of several
// lines, such as an error, becomes so many: each has its time, and none passes
// for another line of the log.
func (l *runLog) Linef(target, format string, args ...any) {
	for line := range strings.SplitSeq(strings.TrimRight(l.text(fmt.Sprintf(format, args...)), "\n"), "\n") {
		l.line(target, "", line)
	}
}

// line writes a line that holds no secret. step is the one that printed it.
func (l *runLog) line(target, step, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.now().UTC()
	e := Event{At: at, Target: target, Step: step, Line: &text}
	l.keep(at, e.Text())
	l.sink(e)
}

func (l *runLog) keep(at time.Time, text string) {
	if l.kept.Len()+len(text) > maxLog {
		if !l.dropped {
			l.dropped = true
			fmt.Fprintf(&l.kept, "%s the log is longer than %d MiB: the rest is not kept\n", at.Format(TimeFormat), maxLog>>20)
		}
		return
	}
	fmt.Fprintf(&l.kept, "%s %s\n", at.Format(TimeFormat), text)
}

// Text is the log so far.
func (l *runLog) Text() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.kept.Bytes())
}

// progress is the part of the log that one solve writes.
type progress struct {
	log    *runLog
	target string

	mu      sync.Mutex
	outputs map[string]*output
}

var _ Progress = (*progress)(nil)

func (l *runLog) progress(target string) *progress {
	return &progress{log: l, target: target, outputs: map[string]*output{}}
}

// output cuts what one step prints into lines.
type output struct {
	strip io.Writer
	mask  *mask.Writer
	lines *lines
}

// lines writes whole lines to the log, and keeps the beginning of the next.
type lines struct {
	log          *runLog
	target, step string
	rest         []byte
}

// maxLine is where a line without an end is cut.
const maxLine = 64 << 10

func (w *lines) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 && len(w.rest) < maxLine {
			return len(p), nil
		}
		if i < 0 {
			i = maxLine - 1
		}
		w.log.line(w.target, w.step, string(bytes.TrimSuffix(w.rest[:i+1], []byte("\n"))))
		w.rest = w.rest[i+1:]
	}
}

func (w *lines) end() {
	if len(w.rest) > 0 {
		_, _ = w.Write([]byte("\n")) // never fails
	}
}

// Output implements Progress.
func (p *progress) Output(step string, text []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o, ok := p.outputs[step]
	if !ok {
		l := &lines{log: p.log, target: p.target, step: step}
		m := p.log.masker.Writer(l)
		o = &output{strip: mask.Strip(m), mask: m, lines: l}
		p.outputs[step] = o
	}
	_, _ = o.strip.Write(text) // never fails
}

// shortStep is the part of a step's name that tells it from others: "[app 2/5]".
func shortStep(step string) string {
	if len(step) > 0 && step[0] == '[' {
		if i := bytes.IndexByte([]byte(step), ']'); i > 0 {
			return step[:i+1]
		}
	}
	return step
}

// Step implements Progress.
func (p *progress) Step(s Step) {
	switch {
	case !s.Done:
		p.log.Linef(p.target, "%s", s.Name)
	case s.Err != "":
		p.log.Linef(p.target, "%s failed: %s", s.Name, s.Err)
	case s.Cached:
		p.log.Linef(p.target, "%s (cached)", s.Name)
	case s.Seconds >= 0.05:
		p.log.Linef(p.target, "%s done in %.1f s", shortStep(s.Name), s.Seconds)
	}
}

// Raw implements Progress. What a secret could be in is masked as text.
func (p *progress) Raw(status []byte) {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	p.log.sink(Event{At: p.log.now().UTC(), Target: p.target, Status: p.log.maskStatus(status)})
}

// maskStatus hides secrets in the builder's status. What steps printed is
// taken out: it is base64 there, cut anywhere. It comes as lines, masked.
func (l *runLog) maskStatus(status []byte) json.RawMessage {
	var doc map[string]any
	dec := json.NewDecoder(bytes.NewReader(status))
	dec.UseNumber()
	if err := dec.Decode(&doc); err != nil {
		return json.RawMessage(`{}`)
	}
	delete(doc, "logs")
	out, err := json.Marshal(l.maskStrings(doc))
	if err != nil {
		return json.RawMessage(`{}`)
	}
	return out
}

// machineFields of a status hold times and digests, which a client parses.
var machineFields = []string{"started", "completed", "timestamp", "digest", "vertex", "inputs"}

// maskStrings hides secrets in the texts of a document, and in nothing else: a
// secret such as "true" or "2026" must not make it unreadable.
func (l *runLog) maskStrings(value any) any {
	switch v := value.(type) {
	case string:
		return l.masker.String(v)
	case []any:
		for i := range v {
			v[i] = l.maskStrings(v[i])
		}
	case map[string]any:
		for key := range v {
			if !slices.Contains(machineFields, key) {
				v[key] = l.maskStrings(v[key])
			}
		}
	}
	return value
}

// end writes the last lines that had no end.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.outputs {
		_ = o.mask.Close() // never fails
		o.lines.end()
	}
}
