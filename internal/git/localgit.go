package git

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// shadow makes a git folder of our own over the repository's objects, so that
// git reads neither the repository's configuration nor its hooks. done removes
// it.
func (r *local) shadow(sha string) (env []string, done func(), err error) {
	dir, err := os.MkdirTemp("", "slipway-git-*")
	if err != nil {
		return nil, nil, err
	}
	done = func() { _ = os.RemoveAll(dir) }
	config := "[core]\n\trepositoryformatversion = 0\n"
	if len(sha) == 64 {
		config = "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = sha256\n"
	}
	err = errors.Join(
		os.Mkdir(filepath.Join(dir, "refs"), 0o700),
		os.WriteFile(filepath.Join(dir, "HEAD"), []byte(sha+"\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o600),
	)
	// Where the history was cut off is a fact about the objects.
	if b, rerr := os.ReadFile(filepath.Join(r.common, "shallow")); rerr == nil {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "shallow"), b, 0o600))
	}
	if b, rerr := os.ReadFile(filepath.Join(r.common, "info", "exclude")); rerr == nil {
		err = errors.Join(err, os.Mkdir(filepath.Join(dir, "info"), 0o700), os.WriteFile(filepath.Join(dir, "info", "exclude"), b, 0o600))
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return []string{"GIT_DIR=" + dir, "GIT_OBJECT_DIRECTORY=" + filepath.Join(r.common, "objects")}, done, nil
}

func (r *local) dirty(ctx context.Context, sha string) (bool, error) {
	env, done, err := r.shadow(sha)
	if err != nil {
		return true, err
	}
	defer done()
	out, err := call{
		args: []string{"status", "--porcelain", "-z", "--untracked-files=normal", "--ignore-submodules=all"},
		env:  append(env, "GIT_WORK_TREE="+r.top, "GIT_INDEX_FILE="+filepath.Join(r.gitDir, "index")),
	}.run(ctx)
	if ctx.Err() != nil {
		return true, context.Cause(ctx)
	}
	return err != nil || len(out) > 0, nil // an index that git cannot read without its configuration
}

// LastCommitTouching returns the time of the last commit up to sha that
// changed one of the paths or something in them, of the checkout that dir is
// in. Paths have slashes and are relative to dir; "." is all of it. A history
// that was cut off counts as if its oldest commit made everything. The time is
// zero if no commit did.
func LastCommitTouching(ctx context.Context, dir, sha string, paths []string) (time.Time, error) {
	r, err := openLocal(dir)
	if err != nil {
		return time.Time{}, err
	}
	if r == nil {
		return time.Time{}, fmt.Errorf("%s is not in a git checkout", dir)
	}
	prefix := "."
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		if abs, err := filepath.Abs(real); err == nil {
			if rel, err := filepath.Rel(r.top, abs); err == nil {
				prefix = filepath.ToSlash(rel)
			}
		}
	}
	if !commitID.MatchString(sha) {
		return time.Time{}, fmt.Errorf("%q is not a commit", sha)
	}
	env, done, err := r.shadow(sha)
	if err != nil {
		return time.Time{}, err
	}
	defer done()
	return lastTouching(ctx, env, sha, newInterest(prefix, paths))
}

// interest is a set of paths.
type interest struct {
	wanted map[string]bool // these, and what is in them
	above  map[string]bool // the folders that they are in, which may have been files
}

func newInterest(prefix string, paths []string) interest {
	in := interest{map[string]bool{}, map[string]bool{}}
	for _, p := range paths {
		p = path.Join(prefix, p)
		in.wanted[p] = true
		for p = path.Dir(p); p != "." && p != "/" && !in.above[p]; p = path.Dir(p) {
			in.above[p] = true
		}
	}
	return in
}

func (in interest) has(name string) bool {
	if in.wanted["."] || in.wanted[name] || in.above[name] {
		return true
	}
	for name = path.Dir(name); name != "."; name = path.Dir(name) {
		if in.wanted[name] {
			return true
		}
	}
	return false
}

// lastTouching reads the history from its end until a commit is of interest.
// One process answers for any number of paths, which git would compare one by
// one.
func lastTouching(ctx context.Context, env []string, sha string, in interest) (time.Time, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := call{
		args: []string{"log", "-z", "--format=format:%x01%ct", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv", sha, "--"},
		env:  env,
	}
	cmd, stderr := c.command(ctx)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return time.Time{}, err
	}
	if err := cmd.Start(); err != nil {
		return time.Time{}, c.fail(ctx, err, stderr)
	}
	at, found, err := scanLog(out, in)
	if found || err != nil {
		cancel()
		_ = cmd.Wait() // killed: we know enough
		return at, err
	}
	return time.Time{}, c.fail(ctx, cmd.Wait(), stderr)
}

// scanLog reads "\x01<seconds>\n<name>\0<name>\0\0" for each commit.
func scanLog(r io.Reader, in interest) (at time.Time, found bool, err error) {
	b := bufio.NewReaderSize(r, 64<<10)
	for {
		item, err := b.ReadBytes(0)
		if errors.Is(err, io.EOF) && len(item) == 0 {
			return time.Time{}, false, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return time.Time{}, false, err
		}
		item = bytes.TrimSuffix(item, []byte{0})
		if rest, ok := bytes.CutPrefix(item, []byte{1}); ok {
			seconds, name, _ := strings.Cut(string(rest), "\n")
			n, err := strconv.ParseInt(seconds, 10, 64)
			if err != nil {
				return time.Time{}, false, fmt.Errorf("git log: %w", err)
			}
			at, item = time.Unix(n, 0).UTC(), []byte(name)
		}
		if len(item) > 0 && in.has(string(item)) {
			return at, true, nil
		}
	}
}
