package bake

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// Read reads a project, with a child of its own. An error about the project is an *Error, with the place
// where that is known.
func Read(ctx context.Context, req Request) (*Project, error) {
	return read(ctx, req, start)
}

func read(ctx context.Context, req Request, take func(Isolation) (*child, error)) (*Project, error) {
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
	t := Task{Version: TaskVersion, Request: req, Root: dir, Gates: settings.gates()}
	t.Files = files
	if kind == KindDockerfile {
		t.Files, t.Inline = []string{"docker-bake.json"}, map[string]string{"docker-bake.json": dockerfileProject(files)}
	}
	var project *Project
	if kind == KindDockerfile && len(req.Set) == 0 {
		project, err = plain(req, files[0])
	} else if project, err = ask(ctx, t, take); err == nil && kind == KindCompose && len(project.Targets) == 0 {
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
		clean, ok := Within(checkout.Name(), name)
		if !ok {
			return nil, "", &Error{Position{File: name}, "is outside of the checkout"}
		}
		if !exists(checkout, clean) {
			_, err := checkout.Stat(clean)
			if err == nil {
				err = errors.New("it is not a regular file")
			}
			return nil, "", &Error{Position{File: name}, "cannot be read: " + Reason(err)}
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

// ask has a child read, in the best isolation that this machine allows.
func ask(ctx context.Context, t Task, take func(Isolation) (*child, error)) (*Project, error) {
	for _, mode := range isolations() {
		t.Mode = mode
		a, err := askOnce(ctx, t, take)
		var notStarted startError
		if errors.As(err, &notStarted) && mode != IsolateChecks {
			continue
		}
		if err != nil {
			return nil, err
		}
		switch {
		case a.NotIsolated != "" && mode != IsolateChecks:
			continue
		case a.NotIsolated != "":
			return nil, fmt.Errorf("read the project %s: %s", t.Root, a.NotIsolated)
		case a.OtherVersion != 0:
			return nil, fmt.Errorf("read the project: the programs slipway and %s are of different releases: install both from one, and start a running server anew", Program)
		case a.Error != nil:
			return nil, a.Error
		case a.Project == nil:
			return nil, errors.New("read the project: the reader gave no answer")
		}
		return a.Project, nil
	}
	return nil, errors.New("read the project: its reader cannot be isolated")
}

func askOnce(ctx context.Context, t Task, take func(Isolation) (*child, error)) (*Answer, error) {
	timeout := cmp.Or(t.Timeout, DefaultTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := take(t.Mode)
	if err != nil {
		return nil, err
	}
	a, err := c.ask(ctx, t, timeout)
	if errors.Is(err, errGone) {
		if c, err = start(t.Mode); err != nil {
			return nil, err
		}
		a, err = c.ask(ctx, t, timeout)
	}
	return a, err
}
