package rest

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"cool-app/internal/api"
	"cool-app/internal/database"
	"cool-app/internal/task"
)

type parameterError string

func (e parameterError) Error() string { return string(e) }

func badParameter(reason string) error { return parameterError(reason) }

var errNoIfMatch = errors.New("say in If-Match which version was seen: the ETag of the task, or * for any")

type notReadyError struct{ err error }

func (e *notReadyError) Error() string { return e.err.Error() }
func (e *notReadyError) Unwrap() error { return e.err }

// problems writes every error as a problem document, RFC 9457.
type problems struct{ log *slog.Logger }

// write answers with what err means to a client. What only we can mend is logged,
// and the client told no details.
func (p *problems) write(w http.ResponseWriter, r *http.Request, err error) {
	var invalid *task.InvalidError
	var notReady *notReadyError
	var parameter parameterError
	switch {
	case errors.Is(err, task.ErrNotFound):
		p.answer(w, http.StatusNotFound, err.Error())
	case errors.Is(err, task.ErrChanged):
		p.answer(w, http.StatusPreconditionFailed, err.Error()+": read it again, then change it")
	case errors.Is(err, task.ErrKeyReused):
		p.answer(w, http.StatusConflict, err.Error())
	case errors.Is(err, errNoIfMatch):
		p.answer(w, http.StatusPreconditionRequired, err.Error())
	case errors.Is(err, task.ErrCursor), errors.As(err, &parameter):
		p.answer(w, http.StatusBadRequest, err.Error())
	case errors.As(err, &invalid):
		p.answer(w, http.StatusUnprocessableEntity, err.Error())
	case errors.As(err, &notReady):
		p.log.WarnContext(r.Context(), "not ready", "err", err)
		w.Header().Set("Retry-After", "1")
		p.answer(w, http.StatusServiceUnavailable, "it is starting or stopping, or the database cannot be reached")
	case r.Context().Err() == context.Canceled: // the client is gone
	case database.Unreachable(err):
		p.log.ErrorContext(r.Context(), "the database cannot be reached", "err", err)
		w.Header().Set("Retry-After", "1")
		p.answer(w, http.StatusServiceUnavailable, "the database cannot be reached now")
	default:
		p.log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		p.answer(w, http.StatusInternalServerError, "it is in the log")
	}
}

// badRequest answers to what the generated code could not read.
func (p *problems) badRequest(w http.ResponseWriter, _ *http.Request, err error) {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		p.answer(w, http.StatusRequestEntityTooLarge, "a request has at most 1 MiB")
		return
	}
	p.answer(w, http.StatusBadRequest, err.Error())
}

func (p *problems) answer(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	// The client may be gone; there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(api.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: &detail})
}
