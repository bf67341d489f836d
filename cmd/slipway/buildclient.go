//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"path/filepath"

	"slipway/internal/pipeline"
	"slipway/internal/rest"
	"slipway/internal/source"
)

// buildOverSocket has the server of a data folder on this machine build: it
// reads the folder by itself.
func buildOverSocket(ctx context.Context, data string, request rest.BuildRequest, sink pipeline.Sink) error {
	return streamBuild(ctx, socketEndpoint(data), request, nil, sink)
}

// buildRemote sends the folder to a server, or has it fetch a git URL.
func buildRemote(ctx context.Context, server *endpoint, request rest.BuildRequest, sink pipeline.Sink) error {
	if request.Ssh != nil {
		return usageError{errors.New("--ssh works on this machine only: the server can't reach your agent; use --data, or a deploy key of the server")}
	}
	var send func(io.Writer) error
	if dir := request.Directory; dir != nil {
		request.Directory = nil
		if err := describeFolder(ctx, *dir, &request); err != nil {
			return err
		}
		send = func(w io.Writer) error {
			return source.Pack(ctx, w, *dir, func(path string, d fs.DirEntry) bool { return path == ".git" })
		}
	}
	return streamBuild(ctx, server, request, send, sink)
}

// describeFolder says in the request where the folder comes from: its
// repository does not travel with it.
func describeFolder(ctx context.Context, dir string, request *rest.BuildRequest) error {
	if request.Project == nil {
		name := pipeline.ProjectName(filepath.Base(dir))
		request.Project = &name
	}
	s, err := source.Describe(ctx, dir)
	if err != nil || s.Commit == "" {
		return err
	}
	request.Source = &rest.BuildSource{Commit: &s.Commit, Branch: &s.Branch, Tag: &s.Tag, Dirty: &s.Dirty}
	return nil
}

// streamBuild posts a build and passes its events on.
func streamBuild(ctx context.Context, server *endpoint, request rest.BuildRequest, send func(io.Writer) error, sink pipeline.Sink) error {
	body, form := io.Pipe()
	parts := multipart.NewWriter(form)
	sent := make(chan error, 1)
	go func() {
		err := writeForm(parts, request, send)
		_ = form.CloseWithError(err) // never fails
		sent <- err
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.url+"/api/v1/builds", body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", parts.FormDataContentType())
	resp, err := server.client.Do(req)
	if err != nil {
		_ = body.CloseWithError(err) // ends the sender
		if ctx.Err() != nil {
			return context.Canceled
		}
		return server.unreachable("build", errors.Join(err, notPipe(<-sent)))
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if resp.StatusCode != http.StatusOK {
		return refused(server, resp)
	}
	events := bufio.NewReader(resp.Body)
	for {
		line, err := events.ReadBytes('\n')
		if len(line) > 0 {
			var e pipeline.Event
			if err := json.Unmarshal(line, &e); err != nil {
				return fmt.Errorf("build on %s: it sent an event that can't be read: %w", server.name, err)
			}
			sink(e)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case ctx.Err() != nil:
			return context.Canceled
		case err != nil:
			return fmt.Errorf("build on %s: the connection was cut off, as when the server ends: %w; 'slipway logs' says what became of the run", server.name, err)
		}
	}
}

// notPipe is an error of reading the folder, not of the connection.
func notPipe(err error) error {
	if errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}

func writeForm(parts *multipart.Writer, request rest.BuildRequest, send func(io.Writer) error) error {
	w, err := parts.CreateFormField("request")
	if err != nil {
		return err
	}
	if err := json.NewEncoder(w).Encode(request); err != nil {
		return err
	}
	if send != nil {
		if w, err = parts.CreateFormFile("context", "context.tar.zst"); err != nil {
			return err
		}
		if err := send(w); err != nil {
			return err
		}
	}
	return parts.Close()
}

// refused is the answer of a server that did not begin to build.
func refused(server *endpoint, resp *http.Response) error {
	err := server.refusal("build", resp)
	switch resp.StatusCode {
	case http.StatusInsufficientStorage:
		return &pipeline.Failure{Kind: pipeline.KindBuilder, Err: err}
	case http.StatusUnprocessableEntity:
		return &pipeline.Failure{Kind: pipeline.KindProject, Err: err}
	}
	return err
}
