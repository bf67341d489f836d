package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"slipway/internal/buildkit/shim"
)

// registry holds the runs under way, and writes for each the file that the
// runtime reads. Guarded by the Daemon's mutex.
type registry struct {
	dir   string
	tick  int            // counts what happens, to tell which came first
	open  map[string]int // token -> when it was registered
	ended map[string]int // token -> when it was released
}

func newRegistry(dir string) (registry, error) {
	r := registry{dir: dir, open: map[string]int{}, ended: map[string]int{}}
	if err := os.RemoveAll(dir); err != nil {
		return r, fmt.Errorf("forgetting the runs of a former start: %w", err)
	}
	return r, os.MkdirAll(dir, 0o700)
}

func (r *registry) idle() bool { return len(r.open) == 0 }

// Register makes a run known to the runtime under a token of the caller's choice:
// letters, digits and hyphens, never used before. A RUN step whose NO_PROXY holds
// [Marker] of the token then works for that run; BuildKit has no part in it, so no
// cache key and no provenance knows. A step with an unknown token does not start.
//
// The run ends with release. Until every run that was registered beside it has
// ended too, its token stays good: BuildKit does equal steps of two runs once,
// under the token of either.
func (d *Daemon) Register(token string, r Run) (release func(), err error) {
	if !shim.ValidToken(token) {
		return nil, fmt.Errorf("registering a run: token %q has other characters than letters, digits and hyphens", token)
	}
	for _, line := range r.Hosts {
		if strings.ContainsAny(line, "\n\x00") {
			return nil, fmt.Errorf("registering a run: %q is no line of /etc/hosts", line)
		}
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.runs.open[token] != 0 || d.runs.ended[token] != 0 {
		return nil, fmt.Errorf("registering a run: token %s is in use", token)
	}
	dir := filepath.Join(d.runs.dir, token)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("registering a run: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, shim.RunFile), raw, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("registering a run: %w", err), os.RemoveAll(dir))
	}
	d.runs.tick++
	d.runs.open[token] = d.runs.tick
	return func() { d.release(token) }, nil
}

func (d *Daemon) release(token string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := &d.runs
	if r.open[token] == 0 {
		return // released before
	}
	r.tick++
	delete(r.open, token)
	r.ended[token] = r.tick
	for old, end := range r.ended {
		beside := false
		for _, start := range r.open {
			beside = beside || start < end
		}
		if beside {
			continue
		}
		delete(r.ended, old)
		if err := os.RemoveAll(filepath.Join(r.dir, old)); err != nil {
			d.cfg.Log.Warn("forgetting a run", "run", old, "err", err)
		}
	}
}
