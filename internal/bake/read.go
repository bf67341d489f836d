package bake

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// DefaultTimeout bounds the reading of a project. Reading takes milliseconds;
// a file that needs longer expands without end.
const DefaultTimeout = 20 * time.Second

// Files that are looked for, as buildx does, in the order in which they
// override each other.
var (
	bakeFiles       = []string{"docker-bake.json", "docker-bake.hcl", "docker-bake.override.json", "docker-bake.override.hcl"}
	composeFiles    = []string{"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"}
	dockerfileNames = []string{"Dockerfile", "dockerfile"}
)

// Read reads a project. An error about the project is an *Error, with the place
// where that is known.
func Read(ctx context.Context, req Request) (*Project, error) {
	dir, err := filepath.Abs(req.Dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read the project %s: %w", req.Dir, err)
	}
	req.Dir = dir
	checkout, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read the project %s: %w", req.Dir, err)
	}
	defer checkout.Close()

	settings, err := readSettings(checkout)
	if err != nil {
		return nil, err
	}
	files, kind, err := detect(checkout, req.Files)
	if err != nil {
		return nil, err
	}
	t := task{Request: req, Root: dir, Gates: settings.gates()}
	t.Files = files
	if kind == KindDockerfile {
		t.Files, t.Inline = []string{"docker-bake.json"}, map[string]string{"docker-bake.json": dockerfileProject(files)}
	}
	var project *Project
	if kind == KindDockerfile && len(req.Set) == 0 {
		project, err = plain(req, files[0])
	} else if project, err = ask(ctx, t); err == nil && kind == KindCompose && len(project.Targets) == 0 {
		for _, name := range dockerfileNames {
			if exists(checkout, name) { // a compose file that only runs images
				kind, files = KindDockerfile, []string{name}
				project, err = plain(req, name)
				break
			}
		}
	}
	if err != nil {
		return nil, err
	}
	project.Kind, project.Files = kind, files
	project.Settings = settings.Settings
	if len(req.Files) == 0 && project.Read != nil {
		project.Read = append(project.Read, bakeFiles...)
		project.Read = append(project.Read, composeFiles...)
	}
	if project.Read != nil {
		project.Read = append(project.Read, SettingsFile)
		slices.Sort(project.Read)
		project.Read = slices.Compact(project.Read)
	}
	if err := settings.apply(project); err != nil {
		return nil, err
	}
	if len(project.Targets) == 0 {
		return nil, &Error{Position{File: files[0]}, "no target is to be built: it has neither a target nor a service with a build section"}
	}
	project.fillIn(checkout)
	if err := project.check(dir, checkout); err != nil {
		return nil, err
	}
	return project, nil
}

// detect finds the project's files. Where there is a bake file, compose files
// belong to it, too, as they do for buildx.
func detect(checkout *os.Root, named []string) ([]string, Kind, error) {
	if len(named) > 0 {
		return chosen(checkout, named)
	}
	have := func(names []string) (list []string) {
		for _, name := range names {
			if exists(checkout, name) {
				list = append(list, name)
			}
		}
		return list
	}
	if own := have(bakeFiles); len(own) > 0 {
		return append(have(composeFiles), own...), KindBake, nil
	}
	if own := have(composeFiles); len(own) > 0 {
		return own, KindCompose, nil
	}
	if own := have(dockerfileNames); len(own) > 0 {
		return own[:1], KindDockerfile, nil
	}
	return nil, "", &Error{Position{}, "there is nothing to build here: no docker-bake.hcl or docker-bake.json, no compose.yaml, no Dockerfile"}
}

// chosen looks at the files that the caller names.
func chosen(checkout *os.Root, named []string) ([]string, Kind, error) {
	kind, files := KindCompose, []string{}
	for _, name := range named {
		clean, ok := within(checkout.Name(), name)
		if !ok {
			return nil, "", &Error{Position{File: name}, "is outside of the checkout"}
		}
		if !exists(checkout, clean) {
			_, err := checkout.Stat(clean)
			if err == nil {
				err = errors.New("it is not a regular file")
			}
			return nil, "", &Error{Position{File: name}, "cannot be read: " + reason(err)}
		}
		files = append(files, clean)
		switch lower := strings.ToLower(clean); {
		case strings.HasSuffix(lower, ".yaml"), strings.HasSuffix(lower, ".yml"):
		case len(named) == 1 && !strings.HasSuffix(lower, ".hcl") && !strings.HasSuffix(lower, ".json"):
			return files, KindDockerfile, nil
		default:
			kind = KindBake
		}
	}
	return files, kind, nil
}

// plain is the project of a Dockerfile.
func plain(req Request, dockerfile string) (*Project, error) {
	for _, name := range req.Targets {
		if name != "default" {
			return nil, &Error{Position{File: dockerfile}, fmt.Sprintf("there is no target %q: a plain Dockerfile has one, named default", name)}
		}
	}
	return &Project{
		Read:      slices.Clone(dockerfileNames),
		Groups:    map[string][]string{},
		Available: []string{"default"},
		Targets: map[string]*Target{"default": {
			Name: "default", Position: Position{dockerfile, 1},
			Context: Context{ContextLocal, "."}, Dockerfile: dockerfile,
		}},
		Selected: []string{"default"},
	}, nil
}

func dockerfileProject(files []string) string {
	b, _ := json.Marshal(map[string]any{"target": map[string]any{"default": map[string]string{"dockerfile": files[0]}}})
	return string(b)
}

// ask starts the child, in the best isolation that this machine allows.
func ask(ctx context.Context, t task) (*Project, error) {
	for _, mode := range isolations() {
		t.Mode = mode
		a, err := askOnce(ctx, t)
		var start startError
		if errors.As(err, &start) && mode != isolateChecks {
			continue
		}
		if err != nil {
			return nil, err
		}
		if a.NotIsolated != "" {
			if mode != isolateChecks {
				continue
			}
			return nil, fmt.Errorf("read the project %s: %s", t.Root, a.NotIsolated)
		}
		if a.Error != nil {
			return nil, a.Error
		}
		if a.Project == nil {
			return nil, errors.New("read the project: the reader gave no answer")
		}
		return a.Project, nil
	}
	return nil, errors.New("read the project: its reader cannot be isolated")
}

// outOfMemory is how Go and the C library end at the limit of memory, which
// also thread stacks can be the first to meet.
var outOfMemory = regexp.MustCompile(`out of memory|cannot allocate memory|pthread_create failed|failed to create new OS thread`)

// startError says that the child could not be started.
type startError struct{ error }

func (e startError) Unwrap() error { return e.error }

func askOnce(ctx context.Context, t task) (*answer, error) {
	timeout := cmp.Or(t.Timeout, DefaultTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	executable, err := self()
	if err != nil {
		return nil, fmt.Errorf("read the project: %w", err)
	}
	input, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("read the project: %w", err)
	}
	cmd := exec.CommandContext(ctx, executable, ChildArg)
	cmd.Env = []string{} // not nil, which would be this process's
	cmd.Stdin = bytes.NewReader(input)
	stdout, stderr := &capped{most: maxAnswer}, &capped{most: 16 << 10}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = time.Second
	confine(cmd, t.Mode)
	if err := cmd.Start(); err != nil {
		return nil, startError{fmt.Errorf("start the reader of the project: %w", err)}
	}
	err = cmd.Wait()
	place := Position{File: strings.Join(t.Files, ", ")}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, &Error{place, fmt.Sprintf("took longer than %s to evaluate: does it, or what it includes, expand without end?", timeout)}
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case stdout.over:
		return nil, &Error{place, fmt.Sprintf("describes more than %d MiB of targets: does it expand without end?", maxAnswer>>20)}
	case err != nil && outOfMemory.MatchString(stderr.String()):
		return nil, &Error{place, "needs more memory than a project may: does it, or what it includes, expand without end?"}
	case err != nil && strings.Contains(err.Error(), "signal: "):
		return nil, &Error{place, fmt.Sprintf("could not be evaluated within %d s of processor time: does it expand without end?", childSeconds)}
	case err != nil:
		first, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		return nil, &Error{place, fmt.Sprintf("could not be read: the reader ended with %v: %s", err, first)}
	}
	var a answer
	if err := json.Unmarshal(stdout.Bytes(), &a); err != nil {
		return nil, fmt.Errorf("read the project: the reader's answer: %w", err)
	}
	return &a, nil
}

// capped keeps what is written up to a size, and fails the writer beyond.
type capped struct {
	bytes.Buffer
	most int
	over bool
}

func (c *capped) Write(p []byte) (int, error) {
	if c.Len()+len(p) > c.most {
		c.over = true
		return 0, io.ErrShortWrite
	}
	return c.Buffer.Write(p)
}
