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
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"slipway/internal/pipeline"
	"slipway/internal/rest"
	"slipway/internal/source"
)

// buildOverSocket has the server of a data folder on this machine build: it
// reads the folder by itself.
func buildOverSocket(ctx context.Context, data string, request rest.BuildRequest, sink pipeline.Sink) error {
	return streamBuild(ctx, socketClient(data), "http://local", "the server of "+data, request, nil, sink)
}

// socketClient talks to the server of a data folder on this machine.
func socketClient(data string) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(data, controlSocket))
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial}}
}

// buildRemote sends the folder to a server, or has it fetch a git URL.
func buildRemote(ctx context.Context, server string, request rest.BuildRequest, where string, sink pipeline.Sink) error {
	if !strings.Contains(server, "://") {
		server = "http://" + server
	}
	if u, err := url.Parse(server); err != nil || u.Host == "" {
		return usageError{fmt.Errorf("server is %q: it must be an address such as http://127.0.0.1:5000", server)}
	}
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
	return streamBuild(ctx, http.DefaultClient, server, server, request, send, sink)
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

// streamBuild posts a build and passes its events on. name is what people call
// the server.
func streamBuild(ctx context.Context, client *http.Client, server, name string, request rest.BuildRequest, send func(io.Writer) error, sink pipeline.Sink) error {
	body, form := io.Pipe()
	parts := multipart.NewWriter(form)
	sent := make(chan error, 1)
	go func() {
		err := writeForm(parts, request, send)
		_ = form.CloseWithError(err) // never fails
		sent <- err
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(server, "/")+"/api/v1/builds", body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", parts.FormDataContentType())
	resp, err := client.Do(req)
	if err != nil {
		_ = body.CloseWithError(err) // ends the sender
		if ctx.Err() != nil {
			return context.Canceled
		}
		return fmt.Errorf("build on %s: %w", name, errors.Join(err, notPipe(<-sent)))
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if resp.StatusCode != http.StatusOK {
		return refused(name, resp)
	}
	events := bufio.NewReader(resp.Body)
	for {
		line, err := events.ReadBytes('\n')
		if len(line) > 0 {
			var e pipeline.Event
			if err := json.Unmarshal(line, &e); err != nil {
				return fmt.Errorf("build on %s: it sent an event that can't be read: %w", name, err)
			}
			sink(e)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case ctx.Err() != nil:
			return context.Canceled
		case err != nil:
			return fmt.Errorf("build on %s: the connection was cut off, as when the server ends: %w; 'slipway logs' says what became of the run", name, err)
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
func refused(server string, resp *http.Response) error {
	var p rest.Problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&p); err != nil || p.Title == "" {
		return fmt.Errorf("build on %s: it answered %s: is this a Slipway server that builds?", server, resp.Status)
	}
	err := fmt.Errorf("build on %s: %s", server, p.Title)
	if resp.StatusCode == http.StatusInsufficientStorage {
		return &pipeline.Failure{Kind: pipeline.KindBuilder, Err: err}
	}
	if resp.StatusCode == http.StatusUnprocessableEntity {
		return &pipeline.Failure{Kind: pipeline.KindProject, Err: err}
	}
	return err
}
