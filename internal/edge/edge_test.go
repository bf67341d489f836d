package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const stall = 200 * time.Millisecond

// serve starts a server on a free port.
func serve(t *testing.T, c Config) (addr string) {
	t.Helper()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Stall == 0 {
		c.Stall = stall
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(c)
	go s.Serve(l) //nolint:errcheck // ends with Close
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().String()
}

// clients are one of each protocol.
func clients() map[string]*http.Client {
	h2 := new(http.Protocols)
	h2.SetUnencryptedHTTP2(true)
	return map[string]*http.Client{
		"HTTP/1.1": {Transport: &http.Transport{}},
		"HTTP/2.0": {Transport: &http.Transport{Protocols: h2}},
	}
}

// A time-out is for a client that stands still. While the server works, or a
// body comes steadily, the client has nothing to be blamed for.
func TestOnlySilenceIsTimedOut(t *testing.T) {
	addr := serve(t, Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			t.Errorf("%s %s: body: %v", r.Proto, r.URL.Path, err)
		}
		if r.URL.Path == "/work" {
			select {
			case <-time.After(4 * stall):
			case <-r.Context().Done():
				t.Errorf("%s: the request was cancelled while the server worked: %v", r.Proto, r.Context().Err())
			}
		}
		w.Header().Set("Read", fmt.Sprint(n))
		if r.URL.Query().Has("empty") {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		if !r.URL.Query().Has("nothing") {
			fmt.Fprintln(w, "done")
		}
	})})
	for protocol, client := range clients() {
		for _, path := range []string{"/work", "/work?empty", "/work?nothing", "/steady", "/steady?empty", "/steady?nothing"} {
			t.Run(protocol+path, func(t *testing.T) {
				t.Parallel()
				body, w := io.Pipe()
				go func() {
					for range 8 {
						if strings.HasPrefix(path, "/steady") {
							time.Sleep(stall / 2)
						}
						_, _ = w.Write([]byte("x")) // fails with the request
					}
					_ = w.Close()
				}()
				resp, err := client.Post("http://"+addr+path, "", body)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					t.Error(err)
				}
				if resp.Proto != protocol || resp.Header.Get("Read") != "8" || resp.StatusCode >= 300 {
					t.Errorf("%s, status %d, %s bytes read", resp.Proto, resp.StatusCode, resp.Header.Get("Read"))
				}
			})
		}
	}
}

// A connection that was idle for longer than the stall time is as good as new.
func TestIdleConnection(t *testing.T) {
	addr := serve(t, Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusCreated)
	})})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	answer := make([]byte, 4096)
	for i := range 3 {
		if i > 0 {
			time.Sleep(2 * stall)
		}
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
		if n, err := conn.Read(answer); !bytes.Contains(answer[:n], []byte("100 Continue")) {
			t.Fatalf("request %d: %q, %v", i, answer[:n], err)
		}
		fmt.Fprintf(conn, "x")
		if n, err := conn.Read(answer); !bytes.Contains(answer[:n], []byte("201 Created")) {
			t.Fatalf("request %d: %q, %v", i, answer[:n], err)
		}
	}
}

// A client that does not take its answer is let go.
func TestClientThatDoesNotRead(t *testing.T) {
	ended := make(chan error, 1)
	addr := serve(t, Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 1<<20)
		for range 1 << 14 {
			if _, err := w.Write(chunk); err != nil {
				ended <- err
				return
			}
		}
		ended <- errors.New("all was written")
	})})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("writing ended with %v, want a time-out", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the server still writes to a client that does not read")
	}
}

// readerFrom stands for net/http's response, which lets the kernel send files.
type readerFrom struct {
	*httptest.ResponseRecorder
	sources []io.Reader
}

func (w *readerFrom) ReadFrom(src io.Reader) (int64, error) {
	l, ok := src.(*io.LimitedReader)
	if !ok {
		return 0, fmt.Errorf("got a %T", src)
	}
	w.sources = append(w.sources, l.R)
	return io.Copy(w.Body, src)
}

// The kernel can only send a file if the wrapper hands it down as it is: an
// *os.File within an *io.LimitedReader.
func TestFilesAreHandedDown(t *testing.T) {
	const size = sendSlice + 12345 // more than one slice
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size], 0o600); err != nil {
		t.Fatal(err)
	}
	for name, send := range map[string]func(w http.ResponseWriter, r *http.Request, f *os.File){
		"io.Copy":   func(w http.ResponseWriter, _ *http.Request, f *os.File) { _, _ = io.Copy(w, f) },
		"serve all": func(w http.ResponseWriter, r *http.Request, f *os.File) { http.ServeContent(w, r, "", time.Time{}, f) },
		"serve part": func(w http.ResponseWriter, r *http.Request, f *os.File) {
			r.Header.Set("Range", "bytes=100-")
			http.ServeContent(w, r, "", time.Time{}, f)
		},
	} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		under := &readerFrom{ResponseRecorder: httptest.NewRecorder()}
		c := Config{Log: slog.New(slog.DiscardHandler), Stall: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { send(w, r, f) })}
		c.ServeHTTP(under, httptest.NewRequest("GET", "/", nil))
		if len(under.sources) < 2 {
			t.Errorf("%s: %d calls of ReadFrom, want one for each slice", name, len(under.sources))
		}
		for _, src := range under.sources {
			// What io.Copy hands over is the file but for its WriteTo.
			if _, ok := src.(*os.File); !ok && !strings.Contains(fmt.Sprintf("%T", src), "os.fileWithoutWriteTo") {
				t.Errorf("%s: the kernel cannot send a %T", name, src)
			}
		}
		want := size
		if name == "serve part" {
			want -= 100
		}
		if under.Body.Len() != want {
			t.Errorf("%s: %d bytes, want %d", name, under.Body.Len(), want)
		}
	}
}

func TestPanicIsAnAnswer(t *testing.T) {
	var log bytes.Buffer
	c := Config{Log: slog.New(slog.NewTextHandler(&log, nil)), Stall: stall, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a bug") })}
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if err, ok := recover().(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				t.Error("net/http was not told to close the connection")
			}
		}()
		c.ServeHTTP(w, httptest.NewRequest("GET", "/path", nil))
	}()
	if w.Code != http.StatusInternalServerError || !strings.Contains(log.String(), "a bug") {
		t.Errorf("status %d, log %q", w.Code, log.String())
	}
}

func TestMetricsAndAccessLog(t *testing.T) {
	var log bytes.Buffer
	reg := prometheus.NewRegistry()
	c := Config{Log: slog.New(slog.NewTextHandler(&log, nil)), Access: true, Stall: stall, Metrics: NewMetrics(reg), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s, ok := w.(interface{ SetRoute(string) }); ok && r.Method == "PUT" {
			s.SetRoute("/a/{b}")
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write([]byte("12345"))
	})}
	for _, method := range []string{"PUT", "MADEUP"} {
		r := httptest.NewRequest(method, "/a/secret", strings.NewReader("123")).WithContext(context.Background())
		r.Header.Set("Authorization", "Basic c2VjcmV0")
		c.ServeHTTP(httptest.NewRecorder(), r)
	}
	if s := log.String(); strings.Count(s, "status=200 in=3 out=5") != 2 || strings.Contains(s, "c2VjcmV0") {
		t.Errorf("access log:\n%s", s)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var labels []string
	for _, f := range families {
		if f.GetName() != "slipway_http_requests_total" {
			continue
		}
		for _, m := range f.Metric {
			for _, l := range m.Label {
				labels = append(labels, l.GetValue())
			}
		}
	}
	if got := strings.Join(labels, " "); got != "PUT /a/{b} 200 other other 200" && got != "other other 200 PUT /a/{b} 200" {
		t.Errorf("labels: %s", got)
	}
}

// What a handler does not read must not hold the connection.
func TestUnreadBody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(Config{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }),
		Log:     slog.New(slog.DiscardHandler), Stall: 400 * time.Millisecond,
	})
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	for _, length := range []string{"100", "99999999"} {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: "+length+"\r\n\r\nx"); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second)) // without a limit it would hang here
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 418") {
			t.Errorf("Content-Length %s: %.40q, %v; want an answer and the end", length, answer, err)
		}
	}
}
