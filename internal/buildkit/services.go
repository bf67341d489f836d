package buildkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	solverpb "github.com/moby/buildkit/solver/pb"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/internal/bake"
	"slipway/internal/oci"
	"slipway/internal/pipeline"
)

// Services are containers of the builder's gateway: they live in the session
// of the solve that tests against them and end with it, whatever becomes of
// us. The marker in their environment puts them into that solve's own network.

// serviceError is a service that did not come up.
type serviceError struct {
	name string
	err  error
	tail []string
}

func (e *serviceError) Error() string {
	text := fmt.Sprintf("service %s: %v", e.name, e.err)
	if len(e.tail) > 0 {
		text += "; its last lines:\n  " + strings.Join(e.tail, "\n  ")
	}
	return text
}

func (e *serviceError) Unwrap() error { return e.err }

// startServices starts the services one after another, each after what it
// depends on, and waits until they are ready. stop ends them all; it is never nil.
func (r *run) startServices(ctx context.Context, c gateway.Client) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, s := range slices.Backward(stops) {
			s()
		}
	}
	order, err := startOrder(r.solve.Services)
	if err != nil {
		return stop, err
	}
	for _, service := range order {
		end, err := r.startService(ctx, c, service)
		stops = append(stops, end)
		if err != nil {
			return stop, err
		}
	}
	return stop, nil
}

func startOrder(services []pipeline.Service) (order []pipeline.Service, err error) {
	byName, state := map[string]pipeline.Service{}, map[string]int{}
	for _, s := range services {
		byName[s.Name] = s
	}
	var visit func(name string) error
	visit = func(name string) error {
		s, ok := byName[name]
		switch {
		case !ok || state[name] == 2:
			return nil // what is not declared for this test is not started
		case state[name] == 1:
			return fmt.Errorf("service %s waits for itself: look at depends_on", name)
		}
		state[name] = 1
		for _, d := range s.DependsOn {
			if err := visit(d); err != nil {
				return err
			}
		}
		state[name] = 2
		order = append(order, s)
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// service is a running service.
type service struct {
	pipeline.Service
	container gateway.Container
	pod       Pod
	env       []string
	user      string
	dir       string

	mu    sync.Mutex
	tail  tail
	ended chan struct{}
	exit  error
}

func (r *run) startService(ctx context.Context, c gateway.Client, t pipeline.Service) (stop func(), err error) {
	stop = func() {}
	s := &service{Service: t, pod: r.pod, ended: make(chan struct{})}
	fail := func(err error) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		return &serviceError{t.Name, err, s.tail.lines()}
	}
	image, err := r.config(ctx, t.Image)
	if err != nil {
		return stop, fail(err)
	}
	ref, err := r.rootfs(ctx, c, t)
	if err != nil {
		return stop, fail(err)
	}
	mounts := []gateway.Mount{{Dest: "/", Ref: ref, MountType: solverpb.MountType_BIND}}
	for _, dir := range t.Tmpfs {
		mounts = append(mounts, gateway.Mount{Dest: dir, MountType: solverpb.MountType_TMPFS})
	}
	s.container, err = c.NewContainer(ctx, gateway.NewContainerRequest{Mounts: mounts, Hostname: t.Name})
	if err != nil {
		return stop, fail(err)
	}
	stop = func() { _ = s.container.Release(context.WithoutCancel(ctx)) } // the session's end releases it too
	args := s.prepare(image)
	if len(args) == 0 {
		return stop, fail(errors.New("its image names no command: give it one"))
	}
	out := &serviceOutput{s: s, progress: r.watch.progress, name: "service " + t.Name}
	process, err := s.container.Start(ctx, gateway.StartRequest{Args: args, Env: slices.Concat(s.env, s.pod.Service, []string{"NO_PROXY=" + s.pod.Marker}), User: s.user, Cwd: s.dir, Stdout: out, Stderr: out})
	if err != nil {
		return stop, fail(err)
	}
	go func() {
		s.exit = process.Wait()
		close(s.ended)
	}()
	stop = func() {
		_ = process.Signal(context.WithoutCancel(ctx), 9) // it may have ended
		_ = s.container.Release(context.WithoutCancel(ctx))
	}
	if err := s.ready(ctx, healthcheck(t.Healthcheck, image)); err != nil {
		return stop, fail(err)
	}
	r.watch.progress.Step(pipeline.Step{Name: "service " + t.Name + " is ready", Done: true})
	return stop, nil
}

// imageConfig is an image's configuration with Docker's health check.
type imageConfig struct {
	ocispec.Image
	Config struct {
		ocispec.ImageConfig
		Healthcheck *struct {
			Test                           []string
			Interval, Timeout, StartPeriod time.Duration
			Retries                        int
		}
	} `json:"config"`
}

// config reads the configuration of a service's image, which is a manifest for
// one platform.
func (r *run) config(ctx context.Context, b pipeline.Base) (image imageConfig, err error) {
	mediaType, raw, err := r.solver.store.Manifest(ctx, b.Repository, b.Digest)
	if err != nil {
		return image, err
	}
	m, err := oci.ParseManifest(mediaType, raw)
	if err != nil {
		return image, err
	}
	for _, e := range m.Edges {
		if e.Kind != oci.EdgeConfig {
			continue
		}
		blob, err := r.solver.store.OpenBlob(ctx, b.Repository, e.Digest)
		if err != nil {
			return image, err
		}
		defer func() { _ = blob.Close() }() // it was only read
		text, err := io.ReadAll(io.LimitReader(blob, maxManifest))
		if err != nil {
			return image, err
		}
		return image, json.Unmarshal(text, &image)
	}
	return image, fmt.Errorf("%s@%s is no image: it has no configuration", b.Repository, b.Digest)
}

func (r *run) rootfs(ctx context.Context, c gateway.Client, t pipeline.Service) (gateway.Reference, error) {
	platform, err := platforms.Parse(r.solve.Platform)
	if err != nil {
		return nil, err
	}
	st := llb.OCILayout("service/"+t.Name+"@"+t.Image.Digest.String(), llb.OCIStore(c.BuildOpts().SessionID, storeName),
		llb.Platform(platform), llb.WithCustomName("[service "+t.Name+"] load image"))
	def, err := st.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	result, err := c.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
	if err != nil {
		return nil, err
	}
	return result.SingleRef()
}

// prepare settles the environment, user and folder, and returns the command.
func (s *service) prepare(image imageConfig) []string {
	s.env = append(s.env, image.Config.Env...)
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		s.env = append(s.env, name+"="+s.Environment[name])
	}
	s.user, s.dir = image.Config.User, image.Config.WorkingDir
	if s.User != "" {
		s.user = s.User
	}
	if s.WorkingDir != "" {
		s.dir = s.WorkingDir
	}
	if s.dir == "" {
		s.dir = "/"
	}
	entrypoint, command := image.Config.Entrypoint, image.Config.Cmd
	if len(s.Entrypoint) > 0 {
		entrypoint, command = s.Entrypoint, nil // as Docker does it
	}
	if len(s.Command) > 0 {
		command = s.Command
	}
	return append(slices.Clone(entrypoint), command...)
}

// healthcheck is the service's own, or else its image's, with Docker's defaults.
func healthcheck(own *bake.Healthcheck, image imageConfig) *bake.Healthcheck {
	var h bake.Healthcheck
	switch {
	case own != nil:
		h = *own
	case image.Config.Healthcheck != nil:
		i := image.Config.Healthcheck
		h = bake.Healthcheck{Test: i.Test, Interval: i.Interval, Timeout: i.Timeout, StartPeriod: i.StartPeriod, Retries: i.Retries}
	}
	if len(h.Test) == 0 || h.Test[0] == "NONE" {
		return nil
	}
	if h.Interval <= 0 {
		h.Interval = 30 * time.Second
	}
	if h.Timeout <= 0 {
		h.Timeout = 30 * time.Second
	}
	if h.Retries <= 0 {
		h.Retries = 3
	}
	return &h
}

// ready waits until the health check succeeds. Unlike Docker it asks at once,
// and failures while the start period lasts do not count.
func (s *service) ready(ctx context.Context, h *bake.Healthcheck) error {
	if h == nil {
		return nil
	}
	args := h.Test
	switch args[0] {
	case "CMD":
		args = args[1:]
	case "CMD-SHELL":
		args = []string{"/bin/sh", "-c", strings.Join(args[1:], " ")}
	}
	if len(args) == 0 {
		return errors.New("its health check has no command")
	}
	began := time.Now()
	var last error
	for failed := 0; failed < h.Retries; {
		var said limited
		if last = s.check(ctx, args, h.Timeout, &said); last == nil {
			return nil
		}
		if time.Since(began) > h.StartPeriod {
			failed++
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.ended:
			return fmt.Errorf("it ended before it was ready: %w", errors.Join(s.exit, last))
		case <-time.After(h.Interval):
		}
	}
	return fmt.Errorf("it was not ready after %d checks, %s: %w", h.Retries, time.Since(began).Round(time.Millisecond), last)
}

// check runs the health check once.
func (s *service) check(ctx context.Context, args []string, timeout time.Duration, said *limited) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out := nopCloser{said}
	process, err := s.container.Start(ctx, gateway.StartRequest{Args: args, Env: slices.Concat(s.env, s.pod.Check), User: s.user, Cwd: s.dir, Stdout: out, Stderr: nopCloser{io.Discard}})
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- process.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			return err
		}
		text, code, reported := strings.Cut(said.b.String(), s.pod.Exit)
		switch code = strings.TrimSpace(code); {
		case !reported:
			return errors.New("its health check did not run")
		case code != "0":
			return fmt.Errorf("its health check ended with exit code %s: %s", code, strings.TrimSpace(text))
		}
		return nil
	case <-ctx.Done():
		_ = process.Signal(context.WithoutCancel(ctx), 9) // it may have ended
		return errors.Join(fmt.Errorf("its health check took more than %s", timeout), <-done)
	}
}

// serviceOutput logs what a service prints.
type serviceOutput struct {
	s        *service
	progress pipeline.Progress
	name     string
}

func (o *serviceOutput) Write(p []byte) (int, error) {
	o.s.mu.Lock()
	o.s.tail.add(p)
	o.s.mu.Unlock()
	o.progress.Output(o.name, p)
	return len(p), nil
}

func (o *serviceOutput) Close() error { return nil }

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// limited keeps the end of what is written.
type limited struct{ b bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	const most = 16 << 10
	l.b.Write(p)
	if over := l.b.Len() - most; over > 0 {
		l.b.Next(over)
	}
	return len(p), nil
}
