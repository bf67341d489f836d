package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// limited bounds how long a request may take and how much it may send.
func limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// started refuses calls of the API while the database may lack what they need.
func started(p *problems, yet func() bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") && !yet() {
			p.write(w, r, &notReadyError{errors.New("the database is not up to date yet")})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// routed makes problem documents of the answers that the mux itself gives: to
// paths that do not exist, and methods that they do not have.
func routed(p *problems, mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		var refusal refusal
		h.ServeHTTP(&refusal, r)
		if allow := refusal.Header().Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
			p.answer(w, http.StatusMethodNotAllowed, "this resource allows "+allow)
			return
		}
		p.answer(w, http.StatusNotFound, "there is nothing at this path; /openapi.yaml describes what there is")
	})
}

// refusal keeps the head of an answer and drops the rest.
type refusal struct{ header http.Header }

func (r *refusal) Header() http.Header {
	if r.header == nil {
		r.header = http.Header{}
	}
	return r.header
}
func (r *refusal) Write(p []byte) (int, error) { return len(p), nil }
func (r *refusal) WriteHeader(int)             {}

// recovered answers 500 where a handler panics.
func recovered(p *problems, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				p.write(w, r, fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// logged writes a line for each request, except the probes that succeed: they
// would drown the rest. The instance's name goes out with each answer.
func logged(log *slog.Logger, instance string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		w.Header().Set("Instance", instance)
		a := &answer{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(a, r)
		level := slog.LevelInfo
		if a.status < 400 && (r.URL.Path == "/healthz" || r.URL.Path == "/readyz") {
			level = slog.LevelDebug
		}
		log.Log(r.Context(), level, "request", "method", r.Method, "path", r.URL.Path, "status", a.status,
			"duration_ms", float64(time.Since(start).Microseconds())/1000, "remote", r.RemoteAddr)
	})
}

type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}
