package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"path"
	"strings"
	"sync"

	"slipway/internal/auth"
	"slipway/internal/oci"
	"slipway/internal/pipeline"
)

// Builds is what the API needs to build.
type Builds struct {
	Engine *pipeline.Engine
	// Checkout completes a request: it makes the folder of a git URL or of an
	// archive, and describes where it came from. release gives it back.
	Checkout func(ctx context.Context, b BuildRequest, archive io.Reader) (req pipeline.Request, release func(), err error)
	// Local allows what names files of the server's machine.
	Local bool
}

// maxRequest bounds the first part of a build's form, in bytes: secrets are in it.
const maxRequest = 16 << 20

// RunBuild implements the API.
func (s *server) RunBuild(ctx context.Context, request RunBuildRequestObject) (RunBuildResponseObject, error) {
	b, archive, readErr := readBuild(request.Body)
	// Of a request that can't be read, or names what can be no project, it is
	// the whole server; what is wrong is said to who may build at all.
	project := ""
	if readErr == nil && oci.CheckRepository(ProjectOf(b)) == nil {
		project = ProjectOf(b)
	}
	r, _ := ctx.Value(requestKey{}).(*http.Request)
	if err := s.Authorize(r, auth.Build, project); err != nil { // before anything is fetched or unpacked
		return nil, err
	}
	switch {
	case s.Builds == nil:
		return nil, oci.NewError(oci.CodeUnsupported, "this server does not build")
	case readErr != nil:
		return problemFor(http.StatusBadRequest, readErr), nil
	case !s.Builds.Local && (b.Directory != nil || b.Ssh != nil):
		return problemFor(http.StatusForbidden, errors.New("directory and ssh name files of the server's machine: only commands on that machine may, over the control socket")), nil
	}
	req, release, err := s.Builds.Checkout(ctx, b, archive)
	var f *pipeline.Failure
	switch {
	case errors.As(err, &f) && f.Kind == pipeline.KindBuilder:
		return problemFor(http.StatusInsufficientStorage, err), nil
	case err != nil:
		return problemFor(http.StatusUnprocessableEntity, err), nil
	}
	req.Actor, _ = ctx.Value(callerKey{}).(string)
	return &buildStream{ctx, s.Builds.Engine, req, release}, nil
}

// ProjectOf is the project that a request is about: the one that it names, or
// else the name of its folder or git repository.
func ProjectOf(b BuildRequest) string {
	switch {
	case b.Project != nil && *b.Project != "":
		return *b.Project
	case b.Directory != nil:
		return pipeline.ProjectName(path.Base(*b.Directory))
	case b.Source != nil && b.Source.Url != nil:
		url, _, _ := strings.Cut(*b.Source.Url, "#")
		return pipeline.ProjectName(path.Base(url))
	}
	return "project"
}

func problemFor(status int, err error) RunBuildResponseObject {
	return RunBuilddefaultApplicationProblemPlusJSONResponse{StatusCode: status, Body: Problem{Title: err.Error(), Status: status}}
}

// readBuild reads the parts of the form.
func readBuild(form *multipart.Reader) (b BuildRequest, archive io.Reader, err error) {
	part, err := form.NextPart()
	if err != nil || part.FormName() != "request" {
		return b, nil, errors.Join(errors.New(`the first part of the form must be "request"`), err)
	}
	dec := json.NewDecoder(io.LimitReader(part, maxRequest))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		return b, nil, fmt.Errorf("request: %w", err)
	}
	part, err = form.NextPart()
	switch {
	case errors.Is(err, io.EOF):
		return b, nil, nil
	case err != nil:
		return b, nil, err
	case part.FormName() != "context":
		return b, nil, fmt.Errorf(`the second part of the form must be "context", not %q`, part.FormName())
	}
	return b, part, nil
}

// buildStream runs a build while its events are sent.
type buildStream struct {
	ctx     context.Context
	engine  *pipeline.Engine
	request pipeline.Request
	release func()
}

// VisitRunBuildResponse implements the API. The end of the connection cancels
// the build.
func (b *buildStream) VisitRunBuildResponse(w http.ResponseWriter) error {
	defer b.release()
	ctx, cancel := context.WithCancelCause(b.ctx)
	defer cancel(nil)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep a live log to itself
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	var mu sync.Mutex
	_, _ = b.engine.Run(ctx, b.request, func(e pipeline.Event) { // its error is in the last event
		mu.Lock()
		defer mu.Unlock()
		if err := errors.Join(enc.Encode(e), control.Flush()); err != nil {
			cancel(fmt.Errorf("whoever asked for the build went away: %w", context.Canceled))
		}
	})
	return nil
}

// ListRuns implements the API.
func (s *server) ListRuns(ctx context.Context, r ListRunsRequestObject) (ListRunsResponseObject, error) {
	if s.Builds == nil {
		return nil, oci.NewError(oci.CodeUnsupported, "this server does not build")
	}
	n, before := 20, int64(0)
	if r.Params.N != nil {
		n = min(max(*r.Params.N, 1), 1000)
	}
	if r.Params.Before != nil {
		before = *r.Params.Before
	}
	list, err := s.Builds.Engine.Runs(ctx, r.Project, before, n)
	if err != nil {
		return nil, err
	}
	runs := Runs{Runs: []Run{}}
	for _, record := range list {
		run, err := fromRecord(record)
		if err != nil {
			return nil, err
		}
		runs.Runs = append(runs.Runs, run)
	}
	return ListRuns200JSONResponse(runs), nil
}

// GetRun implements the API.
func (s *server) GetRun(ctx context.Context, r GetRunRequestObject) (GetRunResponseObject, error) {
	if s.Builds == nil {
		return nil, oci.NewError(oci.CodeUnsupported, "this server does not build")
	}
	record, err := s.Builds.Engine.FindRun(ctx, r.Project, r.Number)
	if errors.Is(err, pipeline.ErrNotFound) {
		return GetRundefaultApplicationProblemPlusJSONResponse{StatusCode: http.StatusNotFound, Body: Problem{Title: plainText(err), Status: http.StatusNotFound}}, nil
	}
	if err != nil {
		return nil, err
	}
	run, err := fromRecord(record)
	return GetRun200JSONResponse(run), err
}

// GetRunFile implements the API.
func (s *server) GetRunFile(ctx context.Context, r GetRunFileRequestObject) (GetRunFileResponseObject, error) {
	if s.Builds == nil {
		return nil, oci.NewError(oci.CodeUnsupported, "this server does not build")
	}
	file, size, err := s.Builds.Engine.RunFile(ctx, r.Project, r.Number, r.Path)
	if errors.Is(err, pipeline.ErrNotFound) {
		return GetRunFiledefaultApplicationProblemPlusJSONResponse{StatusCode: http.StatusNotFound, Body: Problem{Title: plainText(err), Status: http.StatusNotFound}}, nil
	}
	return GetRunFile200ApplicationoctetStreamResponse{Body: file, ContentLength: size}, err
}

func plainText(err error) string {
	return strings.TrimSuffix(err.Error(), ": "+pipeline.ErrNotFound.Error())
}

// fromRecord is a run as the API shows it: the pipeline's names are the API's.
func fromRecord(r pipeline.Record) (run Run, err error) {
	raw, err := json.Marshal(r.Outcome)
	if err != nil {
		return run, err
	}
	if err := json.Unmarshal(raw, &run); err != nil {
		return run, err
	}
	for value, field := range map[*string]**string{&r.Actor: &run.Actor, &r.Cause: &run.Cause, &r.Commit: &run.Commit, &r.Branch: &run.Branch} {
		if *value != "" {
			*field = value
		}
	}
	if r.Ended.IsZero() {
		run.Ended = nil
	}
	run.Files = &r.Files
	if r.Files == nil {
		run.Files = &[]string{}
	}
	return run, nil
}
