// Package rest implements the REST API that api/openapi.yaml describes; the
// types, the server's skeleton and the client are generated from it.
package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"slipway/api"
	"slipway/internal/audit"
	"slipway/internal/auth"
	"slipway/internal/db"
	"slipway/internal/gc"
	"slipway/internal/meta"
	"slipway/internal/oci"
	"slipway/internal/registry"
)

// Config is what the API works on.
type Config struct {
	DB        *db.DB
	Registry  *registry.Registry
	Collector *gc.Collector
	Log       *slog.Logger
	Builds    *Builds // nil: this server does not build
	Access    *Access // nil: this server keeps no accounts
	// Authorize returns a DENIED *oci.Error unless the caller may do the action.
	Authorize func(r *http.Request, a auth.Action, repository string) error
	// Actor names the caller for history and events. Default: by Access.Caller.
	Actor func(r *http.Request) string
}

type server struct{ Config }

var _ StrictServerInterface = (*server)(nil)

// maxBody is the largest request that the API reads, in bytes.
const maxBody = 1 << 20

// New makes the handler of /api/v1/.
func New(c Config) http.Handler {
	if c.Actor == nil {
		c.Actor = func(r *http.Request) string { return c.Access.Caller(r).Actor() }
	}
	s := &server{c}
	strict := NewStrictHandlerWithOptions(s, []StrictMiddlewareFunc{s.authorize}, StrictHTTPServerOptions{
		RequestErrorHandlerFunc: func(w http.ResponseWriter, r *http.Request, err error) {
			s.problem(w, r, http.StatusBadRequest, "", "the request is not what this address takes: "+err.Error())
		},
		ResponseErrorHandlerFunc: s.writeError,
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/openapi.yaml", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write(api.Document)
	})
	handler := HandlerWithOptions(strict, StdHTTPServerOptions{BaseRouter: mux, ErrorHandlerFunc: func(w http.ResponseWriter, r *http.Request, err error) {
		s.problem(w, r, http.StatusBadRequest, "", "the address is not understood: "+err.Error())
	}})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, pattern := mux.Handler(r)
		if pattern == "" {
			s.notHere(w, r, mux)
			return
		}
		if rt, ok := w.(interface{ SetRoute(string) }); ok {
			rt.SetRoute(pattern)
		}
		if pattern != "POST /api/v1/builds" { // whose size the checkout bounds
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		if err := checkBody(r, pattern); err != nil {
			s.problem(w, r, http.StatusBadRequest, "", "the request is not what this address takes: "+err.Error())
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// notHere answers 404 or 405.
func (s *server) notHere(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) {
	var allowed []string
	for _, method := range []string{"DELETE", "GET", "PATCH", "POST", "PUT"} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if allowed != nil {
		list := strings.Join(allowed, ", ")
		w.Header().Set("Allow", list)
		s.problem(w, r, http.StatusMethodNotAllowed, "", r.Method+" is not possible here; this address takes "+list)
		return
	}
	s.problem(w, r, http.StatusNotFound, "", "there is nothing at this address; /api/v1/openapi.yaml describes what there is")
}

// bodies are the operations that take one. A key that they do not know is an
// error: what was meant by it would silently not happen.
var bodies = map[string]func() any{
	"POST /api/v1/gc":                          func() any { return new(CollectionRequest) },
	"PATCH /api/v1/repositories/{name}":        func() any { return new(RepositoryUpdate) },
	"POST /api/v1/repositories/{name}/restore": func() any { return new(RestoreRequest) },
	"POST /api/v1/users":                       func() any { return new(NewUser) },
	"PATCH /api/v1/users/{user}":               func() any { return new(UserUpdate) },
	"POST /api/v1/robots":                      func() any { return new(NewRobot) },
	"PATCH /api/v1/robots/{robot}":             func() any { return new(RobotUpdate) },
	"POST /api/v1/tokens":                      func() any { return new(NewToken) },
	"POST /api/v1/rules":                       func() any { return new(NewRule) },
	"POST /api/v1/tag-rules":                   func() any { return new(NewTagRule) },
}

func checkBody(r *http.Request, pattern string) error {
	target, ok := bodies[pattern]
	if !ok {
		return nil
	}
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(content))
	if len(content) == 0 {
		return nil // the generated code knows whether it may be missing
	}
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.DisallowUnknownFields()
	if err := dec.Decode(target()); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one document")
	}
	return nil
}

type (
	callerKey  struct{} // who calls, as history names the caller
	requestKey struct{} // the request, for an operation that asks Authorize itself
)

// authorize is asked before each operation; an operation that it does not
// know is refused.
func (s *server) authorize(next StrictHandlerFunc, operation string) StrictHandlerFunc {
	return func(ctx context.Context, w http.ResponseWriter, r *http.Request, request any) (any, error) {
		ctx = context.WithValue(ctx, callerKey{}, s.Actor(r))
		if s.Access != nil {
			ctx = context.WithValue(ctx, identityKey{}, s.Access.Caller(r))
		}
		if known, err := s.authorizeAccess(ctx, r, operation, request); err != nil {
			return nil, err
		} else if known {
			return next(ctx, w, r, request)
		}
		action, name := auth.Admin, r.PathValue("name")
		switch operation {
		case "GetRepository":
			action = auth.Pull
		case "DeleteRepository":
			action = auth.Delete
		case "UpdateRepository":
			// Who administers a part of the registry does not give it more room.
			if u, ok := request.(UpdateRepositoryRequestObject); ok && u.Body != nil && u.Body.QuotaBytes != nil {
				name = ""
			}
		case "RunBuild":
			// The project is in the body: RunBuild asks.
			return next(context.WithValue(ctx, requestKey{}, r), w, r, request)
		case "ListRuns", "GetRun", "GetRunFile":
			action, name = auth.Pull, r.PathValue("project") // a project is called like the repository of its images
		}
		if name != "" {
			if err := oci.CheckRepository(name); err != nil {
				return nil, err
			}
		}
		if err := s.Authorize(r, action, name); err != nil {
			return nil, err
		}
		return next(ctx, w, r, request)
	}
}

func change(ctx context.Context, cause string) meta.Change {
	actor, _ := ctx.Value(callerKey{}).(string)
	return meta.Change{Actor: actor, Address: addressOf(caller(ctx)), Cause: cause}
}

// WriteError answers with a problem document, as every operation does: for who
// finds out in front of the API that a request goes no further.
func WriteError(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	(&server{Config{Log: log}}).writeError(w, r, err)
}

func (s *server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	err = registry.Classify(err)
	var p problemError
	if errors.As(err, &p) {
		s.problem(w, r, p.status, "", p.title)
		return
	}
	var e *oci.Error
	if !errors.As(err, &e) {
		s.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		s.problem(w, r, http.StatusInternalServerError, "", "the server failed; its log says why")
		return
	}
	if e.Code == oci.CodeUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="Slipway"`)
	}
	if wait, ok := e.Detail.(map[string]int64); ok && e.Code == oci.CodeTooManyRequests {
		w.Header().Set("Retry-After", strconv.FormatInt(wait["retryAfter"], 10))
	}
	s.problem(w, r, e.Status(), string(e.Code), e.Message)
}

func (s *server) problem(w http.ResponseWriter, r *http.Request, status int, code, title string) {
	p := Problem{Status: status, Title: title}
	if code != "" {
		p.Code = &code
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone if this fails
}

// GetCollection implements the API.
func (s *server) GetCollection(context.Context, GetCollectionRequestObject) (GetCollectionResponseObject, error) {
	last := s.Collector.Last()
	if last == nil {
		title := "there was no collection since the server started: POST to this address runs one"
		return GetCollectiondefaultApplicationProblemPlusJSONResponse{StatusCode: http.StatusNotFound, Body: Problem{Title: title, Status: http.StatusNotFound}}, nil
	}
	return GetCollection200JSONResponse(FromReport(*last)), nil
}

// RunCollection implements the API.
func (s *server) RunCollection(ctx context.Context, request RunCollectionRequestObject) (RunCollectionResponseObject, error) {
	var o gc.Options
	if request.Body != nil {
		if request.Body.DryRun != nil {
			o.DryRun = *request.Body.DryRun
		}
		if sec := request.Body.GraceSeconds; sec != nil {
			if *sec < 0 || *sec > int64(100*365*24*time.Hour/time.Second) {
				title := "grace_seconds must be between 0 and 100 years"
				return RunCollectiondefaultApplicationProblemPlusJSONResponse{StatusCode: http.StatusBadRequest, Body: Problem{Title: title, Status: http.StatusBadRequest}}, nil
			}
			grace := time.Duration(*sec) * time.Second
			o.Grace = &grace
		}
	}
	report, err := s.Collector.Run(ctx, o)
	if err != nil {
		return nil, err
	}
	return RunCollection200JSONResponse(FromReport(report)), nil
}

// GetRepository implements the API.
func (s *server) GetRepository(ctx context.Context, request GetRepositoryRequestObject) (GetRepositoryResponseObject, error) {
	repo, err := s.find(s.DB.Read(ctx), request.Name)
	return GetRepository200JSONResponse(repo), err
}

// UpdateRepository implements the API.
func (s *server) UpdateRepository(ctx context.Context, request UpdateRepositoryRequestObject) (UpdateRepositoryResponseObject, error) {
	var repo Repository
	err := s.DB.Update(ctx, func(tx *db.Tx) error {
		found, err := s.find(tx, request.Name)
		if err != nil {
			return err
		}
		if v := request.Body.DeleteUntagged; v != nil {
			row, _, err := meta.FindRepository(tx, request.Name)
			if err != nil {
				return err
			}
			if err := meta.SetDeleteUntagged(tx, row.ID, *v); err != nil {
				return err
			}
			found.DeleteUntagged = *v
			if err := recordSetting(ctx, tx, request.Name, fmt.Sprintf("delete_untagged: %v", *v)); err != nil {
				return err
			}
		}
		if v := request.Body.QuotaBytes; v != nil {
			reason, err := setQuota(tx, request.Name, *v)
			if err != nil {
				return err
			}
			if err := recordSetting(ctx, tx, request.Name, reason); err != nil {
				return err
			}
			if found, err = s.find(tx, request.Name); err != nil {
				return err
			}
		}
		repo = found
		return nil
	})
	return UpdateRepository200JSONResponse(repo), err
}

func recordSetting(ctx context.Context, tx *db.Tx, repository, what string) error {
	c := change(ctx, "")
	return audit.Append(tx, audit.Entry{Actor: c.Actor, Address: c.Address, Action: "repository.settings", Repository: repository, Outcome: audit.Allowed, Reason: what})
}

// DeleteRepository implements the API.
func (s *server) DeleteRepository(ctx context.Context, request DeleteRepositoryRequestObject) (DeleteRepositoryResponseObject, error) {
	return DeleteRepository204Response{}, s.Registry.DeleteRepository(ctx, request.Name, change(ctx, "delete repository"))
}

// RestoreManifest implements the API.
func (s *server) RestoreManifest(ctx context.Context, request RestoreManifestRequestObject) (RestoreManifestResponseObject, error) {
	d, err := oci.ParseDigest(request.Body.Digest)
	if err != nil {
		return nil, err
	}
	return RestoreManifest204Response{}, s.Registry.RestoreManifest(ctx, request.Name, d, change(ctx, "restore"))
}

func (s *server) find(tx *db.Tx, name string) (Repository, error) {
	row, found, err := meta.FindRepository(tx, name)
	if err == nil && !found {
		err = oci.NewError(oci.CodeNameUnknown, "there is no repository "+name)
	}
	if err != nil {
		return Repository{}, err
	}
	repo := Repository{Name: row.Name, CreatedAt: time.UnixMilli(row.CreatedAt).UTC(), DeleteUntagged: row.DeleteUntagged}
	quota, own, err := meta.QuotaOf(tx, name)
	if own {
		repo.QuotaBytes = &quota
	}
	return repo, err
}

// FromReport is a collection's report as the API shows it.
func FromReport(r gc.Report) Collection {
	c := Collection{
		StartedAt: r.StartedAt.UTC(), FinishedAt: r.FinishedAt.UTC(), DryRun: r.DryRun, GraceSeconds: int64(r.Grace / time.Second), DetailsCut: r.DetailsCut,
		Freed: Freed{
			Manifests: r.Freed.Manifests, Memberships: r.Freed.Memberships, Blobs: r.Freed.Blobs, Uploads: r.Freed.Uploads,
			Files: r.Freed.Files, Repositories: r.Freed.Repositories, Bytes: r.Freed.Bytes,
		},
		Kept: make([]Kept, len(r.Kept)), Details: make([]Detail, len(r.Details)),
	}
	for i, k := range r.Kept {
		c.Kept[i] = Kept{Kind: k.Kind, Reason: k.Reason, Count: k.Count, Bytes: k.Bytes}
	}
	for i, d := range r.Details {
		c.Details[i] = Detail{Freed: d.Freed, Kind: DetailKind(d.Kind), Subject: d.Subject, Bytes: d.Bytes, Reason: d.Reason}
		if d.Repository != "" {
			c.Details[i].Repository = &d.Repository
		}
	}
	return c
}
