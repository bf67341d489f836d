package mask

import "io"

// Writer is a stream without secrets. It is for one goroutine at a time.
//
// A byte may be shown as soon as no secret that is still possible contains it.
// The matcher's state says how many of the last bytes one could: these are
// held, and no others, so never more than the longest secret has.
type Writer struct {
	to io.Writer
	m  *Masker

	state  int32
	read   int64  // bytes read
	shown  int64  // bytes dealt with: shown or hidden
	held   []byte // the bytes from shown to read
	hidden []span // spans of secrets that do not end before shown, ordered, apart
	masked bool   // the last byte dealt with was hidden
	out    []byte
}

// span is a part of the stream, from its first byte to before its end.
type span struct{ from, to int64 }

// Write passes p on without its secrets, and holds back the end of p if a
// secret may begin there.
func (w *Writer) Write(p []byte) (int, error) {
	w.scan(p)
	text := p
	if len(w.held) > 0 {
		w.held = append(w.held, p...)
		text = w.held
	}
	until := w.certain()
	rest := text[until-w.shown:]
	err := w.show(text[:until-w.shown], until)
	w.held = append(w.held[:0], rest...)
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// certain is the end of what no later byte can change: all that no possible
// secret contains, and what is hidden anyway.
func (w *Writer) certain() int64 {
	until := max(w.shown, w.read-int64(w.m.matcher.nodes[w.state].depth))
	for _, s := range w.hidden {
		if s.from <= until {
			until = max(until, s.to)
		}
	}
	return until
}

// Flush passes on what is held back, as for a prompt that waits. If it was the
// beginning of a secret, the rest of that secret is still hidden.
func (w *Writer) Flush() error {
	text := w.held
	w.held = w.held[:0]
	return w.show(text, w.read)
}

// Close flushes. It does not close the writer below.
func (w *Writer) Close() error { return w.Flush() }

// scan reads p and notes the secrets that end in it.
func (w *Writer) scan(p []byte) {
	m, state := w.m.matcher, w.state
	for i := 0; i < len(p); i++ {
		if int(state) < len(m.shallow) && i > 0 {
			if i = m.skip(p, i); i == len(p) {
				state = m.shallow[0][p[i-1]]
				break
			}
			state = m.shallow[0][p[i-1]]
		}
		state = m.next(state, p[i])
		if n := int64(m.nodes[state].match); n > 0 {
			end := w.read + int64(i) + 1
			w.hide(span{end - n, end})
		}
	}
	w.state, w.read = state, w.read+int64(len(p))
}

// hide adds a span that ends after all others, and unites it with those that
// it meets.
func (w *Writer) hide(s span) {
	n := len(w.hidden)
	for n > 0 && w.hidden[n-1].to >= s.from {
		n--
		s.from = min(s.from, w.hidden[n].from)
	}
	w.hidden = append(w.hidden[:n], s)
}

// show passes on text, the stream from shown until a place, with one mask for
// each run of hidden bytes.
func (w *Writer) show(text []byte, until int64) error {
	if len(text) == 0 {
		return nil
	}
	if len(w.hidden) == 0 {
		w.masked, w.shown = false, until
		return write(w.to, text)
	}
	w.out = w.out[:0]
	begin, done := w.shown, 0
	for _, s := range w.hidden {
		from, to := max(s.from, w.shown), min(s.to, until)
		if from >= until {
			break
		}
		if from > w.shown {
			w.out = append(w.out, text[w.shown-begin:from-begin]...)
			w.masked = false
		}
		if !w.masked {
			w.out = append(w.out, w.m.mask...)
		}
		w.masked, w.shown = true, to
		if s.to <= until {
			done++
		}
	}
	if w.shown < until {
		w.out = append(w.out, text[w.shown-begin:]...)
		w.masked = false
	}
	w.hidden = append(w.hidden[:0], w.hidden[done:]...)
	w.shown = until
	return write(w.to, w.out)
}

func write(w io.Writer, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	n, err := w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return err
}
