// Package edge is the port: what happens to every connection and request
// before and after the API that it is for. It bounds what slow and huge
// clients can hold, writes the access log, and counts.
//
// A Listener takes connections with and without TLS on one port. An http.Server
// of NewServer serves both; a PlainGuard before the API decides who may do
// without TLS. Clients that cannot connect are remembered in Refusals, since
// their users see only their own program's words. OriginOf tells where a
// request came from, proxies taken into account.
//
// Time-outs measure progress. A request may take hours as long as bytes move;
// one that stands still for Stall is ended.
package edge

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// Config is what a Server is made of.
type Config struct {
	Handler http.Handler
	Log     *slog.Logger
	Access  bool          // log every request
	Stall   time.Duration // longest silence of a client within a request. Default 60 s
	Metrics *Metrics      // may be nil
	Proxies Proxies       // who is believed about where a request came from
}

const (
	headerTimeout = 15 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
)

// NewServer makes the HTTP server: HTTP/1.1, and HTTP/2 by TLS or, for clients
// that begin with it, without. TLS is the Listener's.
func NewServer(c Config) *http.Server {
	if c.Stall == 0 {
		c.Stall = time.Minute
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           &c,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		Protocols:         protocols,
		ConnState:         noteState,
		ErrorLog:          slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}
}

// ServeHTTP implements http.Handler.
func (c *Config) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rec := &recorder{ResponseWriter: w, control: http.NewResponseController(w), stall: c.Stall}
	var in *progressBody
	if r.Body != nil && r.Body != http.NoBody {
		in = &progressBody{ReadCloser: r.Body, control: rec.control, stall: c.Stall}
		in.extend() // net/http reads what the handler leaves, around this
		// A copy: net/http must still know its own body, whose size tells it
		// whether to wait for the rest or to close.
		r = r.WithContext(r.Context())
		r.Body = in
	}
	done := c.Metrics.begin()
	defer func() {
		p := recover()
		if p != nil && p != any(http.ErrAbortHandler) {
			c.Log.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", p)
			if rec.status == 0 {
				http.Error(rec, "the server failed; its log says why", http.StatusInternalServerError)
			}
		}
		var read int64
		if in != nil {
			read = in.n
		}
		took := time.Since(start)
		done(r.Method, rec.route, rec.status, read, rec.n, took)
		if c.Access {
			c.log(r, rec, read, took)
		}
		if p != nil {
			panic(http.ErrAbortHandler)
		}
	}()
	if r.ProtoMajor == 1 {
		rec.extend() // the connection may still have the deadline of the request before
	}
	if known, err := c.Proxies.origin(r); err != nil {
		c.Log.Warn("request refused", "remote", r.RemoteAddr, "err", err)
		http.Error(rec, err.Error(), http.StatusBadRequest)
	} else {
		r = known
		c.Handler.ServeHTTP(rec, r)
	}
	rec.extend() // for what net/http still has to send
	if in != nil && !in.ended {
		in.leaveRest()
	}
}

func (c *Config) log(r *http.Request, rec *recorder, read int64, took time.Duration) {
	remote := r.RemoteAddr
	if client := OriginOf(r).Client; client.IsValid() {
		remote = client.String()
	}
	c.Log.LogAttrs(r.Context(), slog.LevelInfo, "request",
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", rec.status),
		slog.Int64("in", read), slog.Int64("out", rec.n), slog.Duration("took", took.Round(time.Microsecond)),
		slog.String("remote", remote), slog.String("agent", r.UserAgent()))
}

// recorder notes what was answered and moves the deadline for writing along.
type recorder struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	route   string
	status  int
	n       int64
	until   time.Time
}

// SetRoute names the route for metrics: a pattern of the route table.
func (w *recorder) SetRoute(route string) { w.route = route }

// Unwrap lets http.ResponseController find the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// extend gives the client another stall to take what is written next. The
// deadline is only moved when it has come noticeably closer.
func (w *recorder) extend() {
	now := time.Now()
	if w.until.Sub(now) < w.stall*3/4 {
		w.until = now.Add(w.stall)
		_ = w.control.SetWriteDeadline(w.until) // not possible in tests without a connection
	}
}

func (w *recorder) WriteHeader(status int) {
	w.extend() // the body may have taken long to arrive, and the answer may have none
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	var total int
	for {
		w.extend()
		n, err := w.ResponseWriter.Write(p[:min(len(p), sendSlice)])
		w.n += int64(n)
		total += n
		if p = p[n:]; err != nil || len(p) == 0 {
			return total, err
		}
	}
}

// sendSlice is how much is sent between two looks at the deadline. A client
// that takes a slice within three quarters of the stall time is never cut off.
const sendSlice = 256 << 10

// ReadFrom keeps sendfile possible, in slices so that the deadline moves on.
func (w *recorder) ReadFrom(src io.Reader) (total int64, err error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	rf, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{w}, src)
	}
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		limited = &io.LimitedReader{R: src, N: 1<<63 - 1}
	}
	for limited.N > 0 {
		w.extend()
		want := min(limited.N, sendSlice)
		n, err := rf.ReadFrom(&io.LimitedReader{R: limited.R, N: want})
		w.n += n
		total += n
		limited.N -= n
		if err != nil || n < want {
			return total, err
		}
	}
	return total, nil
}

// progressBody moves the deadline for reading along.
type progressBody struct {
	io.ReadCloser
	control *http.ResponseController
	stall   time.Duration
	n       int64
	until   time.Time
	ended   bool
	failed  bool
}

func (b *progressBody) extend() {
	now := time.Now()
	if b.until.Sub(now) < b.stall*3/4 {
		b.until = now.Add(b.stall)
		_ = b.control.SetReadDeadline(b.until)
	}
}

// leaveRest bounds how long net/http waits for what the handler left unread,
// well within the time for its answer. Nothing more is expected of a body that
// failed.
func (b *progressBody) leaveRest() {
	wait := b.stall / 4
	if b.failed {
		wait = 0
	}
	_ = b.control.SetReadDeadline(time.Now().Add(wait))
}

func (b *progressBody) Read(p []byte) (int, error) {
	b.extend()
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	b.failed = err != nil && !errors.Is(err, io.EOF)
	if err == io.EOF {
		b.ended = true
		// From here on it is the server that takes its time.
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
