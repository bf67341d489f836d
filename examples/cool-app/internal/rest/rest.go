// Package rest serves what api/openapi.yaml says. The generated code reads
// requests and writes answers; here a request becomes a call of the store, and an
// error a problem document, in one place.
package rest

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/oapi-codegen/runtime/types"

	document "cool-app/api"
	"cool-app/internal/api"
	"cool-app/internal/task"
)

// Server answers requests. It holds nothing that another instance would need.
type Server struct {
	tasks *task.Store
	ready func(context.Context) error
}

var _ api.StrictServerInterface = (*Server)(nil)

// State is what the rest of the process knows about it.
type State struct {
	Instance string
	Started  func() bool                 // whether the database was brought up to date
	Ready    func(context.Context) error // why no more requests should come, if so
}

// New returns the handler of everything that the service serves.
func New(tasks *task.Store, state State, log *slog.Logger) http.Handler {
	p := &problems{log: log}
	mux := http.NewServeMux()
	strict := api.NewStrictHandlerWithOptions(&Server{tasks, state.Ready}, nil, api.StrictHTTPServerOptions{
		RequestErrorHandlerFunc:  p.badRequest,
		ResponseErrorHandlerFunc: p.write,
	})
	api.HandlerWithOptions(strict, api.StdHTTPServerOptions{BaseRouter: mux, ErrorHandlerFunc: p.badRequest})
	return logged(log, state.Instance, recovered(p, limited(started(p, state.Started, routed(p, mux)))))
}

// ListTasks gives a page.
func (s *Server) ListTasks(ctx context.Context, r api.ListTasksRequestObject) (api.ListTasksResponseObject, error) {
	limit, status := 20, task.Status("")
	if r.Params.Limit != nil {
		limit = *r.Params.Limit
	}
	if limit < 1 || limit > 100 {
		return nil, badParameter("limit is a number from 1 to 100")
	}
	if r.Params.Status != nil {
		if status = task.Status(*r.Params.Status); !status.Valid() {
			return nil, badParameter("status is open, doing or done")
		}
	}
	page, next, err := s.tasks.List(ctx, status, deref(r.Params.Cursor), limit)
	if err != nil {
		return nil, err
	}
	answer := api.ListTasks200JSONResponse{Items: make([]api.Task, len(page))}
	for i, t := range page {
		answer.Items[i] = shown(t)
	}
	if next != "" {
		answer.Next = &next
	}
	return answer, nil
}

// CreateTask makes a task.
func (s *Server) CreateTask(ctx context.Context, r api.CreateTaskRequestObject) (api.CreateTaskResponseObject, error) {
	t, err := s.tasks.Create(ctx, content(r.Body), deref(r.Params.IdempotencyKey))
	if err != nil {
		return nil, err
	}
	return api.CreateTask201JSONResponse{Body: shown(t), Headers: api.CreateTask201ResponseHeaders{
		ETag: etag(t), Location: "/api/v1/tasks/" + t.ID.String(),
	}}, nil
}

// GetTask gives one task, or says that the client has it.
func (s *Server) GetTask(ctx context.Context, r api.GetTaskRequestObject) (api.GetTaskResponseObject, error) {
	t, err := s.tasks.Get(ctx, r.Id)
	if err != nil {
		return nil, err
	}
	for tag := range strings.SplitSeq(deref(r.Params.IfNoneMatch), ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == "*" || tag == etag(t) {
			return api.GetTask304Response{Headers: api.GetTask304ResponseHeaders{ETag: etag(t)}}, nil
		}
	}
	return api.GetTask200JSONResponse{Body: shown(t), Headers: api.GetTask200ResponseHeaders{ETag: etag(t)}}, nil
}

// ReplaceTask changes a task.
func (s *Server) ReplaceTask(ctx context.Context, r api.ReplaceTaskRequestObject) (api.ReplaceTaskResponseObject, error) {
	versions, err := seen(r.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	t, err := s.tasks.Replace(ctx, r.Id, versions, content(r.Body))
	if err != nil {
		return nil, err
	}
	return api.ReplaceTask200JSONResponse{Body: shown(t), Headers: api.ReplaceTask200ResponseHeaders{ETag: etag(t)}}, nil
}

// DeleteTask deletes a task.
func (s *Server) DeleteTask(ctx context.Context, r api.DeleteTaskRequestObject) (api.DeleteTaskResponseObject, error) {
	versions, err := seen(r.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	if err := s.tasks.Delete(ctx, r.Id, versions); err != nil {
		return nil, err
	}
	return api.DeleteTask204Response{}, nil
}

// GetHealth says that the process lives.
func (s *Server) GetHealth(context.Context, api.GetHealthRequestObject) (api.GetHealthResponseObject, error) {
	return api.GetHealth200TextResponse("ok\n"), nil
}

// GetReadiness says whether requests may come.
func (s *Server) GetReadiness(ctx context.Context, _ api.GetReadinessRequestObject) (api.GetReadinessResponseObject, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := s.ready(ctx); err != nil {
		return nil, &notReadyError{err}
	}
	return api.GetReadiness200TextResponse("ok\n"), nil
}

// GetDocument gives the API's description.
func (s *Server) GetDocument(context.Context, api.GetDocumentRequestObject) (api.GetDocumentResponseObject, error) {
	return api.GetDocument200ApplicationyamlResponse{Body: bytes.NewReader(document.YAML), ContentLength: int64(len(document.YAML))}, nil
}

func etag(t task.Task) string { return `"` + strconv.FormatInt(t.Version, 10) + `"` }

// seen reads If-Match: the versions it names, or nil for any. RFC 9110, 13.1.1.
func seen(ifMatch *string) ([]int64, error) {
	if ifMatch == nil {
		return nil, errNoIfMatch
	}
	versions := []int64{}
	for tag := range strings.SplitSeq(*ifMatch, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" {
			return nil, nil
		}
		// Tags that this service never gave match nothing.
		if n, err := strconv.ParseInt(strings.Trim(tag, `"`), 10, 64); err == nil && strconv.Quote(strconv.FormatInt(n, 10)) == tag {
			versions = append(versions, n)
		}
	}
	return versions, nil
}

func content(in *api.TaskInput) task.Content {
	c := task.Content{Title: in.Title, Notes: deref(in.Notes), Status: task.Open}
	if in.Status != nil {
		c.Status = task.Status(*in.Status)
	}
	if in.Due != nil {
		c.Due = &in.Due.Time
	}
	return c
}

func shown(t task.Task) api.Task {
	out := api.Task{Id: t.ID, Title: t.Title, Notes: t.Notes, Status: api.Status(t.Status), Version: t.Version, Created: t.Created, Updated: t.Updated}
	if t.Due != nil {
		out.Due = &types.Date{Time: *t.Due}
	}
	return out
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
