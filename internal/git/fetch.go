package git

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// fetched is a mirror that holds a commit.
type fetched struct {
	o      Options
	mirror string
}

// mirrors keeps two fetches of this process out of one mirror. Between
// processes git's own locks do, and the one that comes second may fail.
var mirrors sync.Map // folder -> *sync.Mutex

// Fetch brings the commit that o.URL names into its mirror and describes it.
// When the mirror has it already, it costs one request.
//
// Errors: ErrURL, ErrPrivate, ErrNotFound, and otherwise an *Error with what git
// says. None contains a credential.
func Fetch(ctx context.Context, o Options) (*Commit, error) {
	o = o.withDefaults()
	c, err := fetch(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", o.URL, err)
	}
	return c, nil
}

func fetch(ctx context.Context, o Options) (*Commit, error) {
	if o.URL.Remote == "" || o.Dir == "" {
		return nil, fmt.Errorf("%w: no address, or no folder for the mirrors", ErrURL)
	}
	sum := sha256.Sum256([]byte(o.URL.Remote))
	f := &fetched{o: o, mirror: filepath.Join(o.Dir, hex.EncodeToString(sum[:16])+".git")}
	lock, _ := mirrors.LoadOrStore(f.mirror, &sync.Mutex{})
	lock.(*sync.Mutex).Lock()
	defer lock.(*sync.Mutex).Unlock()

	t, err := f.find(ctx, o.URL.Ref)
	if err != nil {
		return nil, err
	}
	if err := f.ensure(ctx, len(t.id) == 64); err != nil {
		return nil, fmt.Errorf("make the mirror: %w", err)
	}
	if err := f.bring(ctx, t); err != nil {
		return nil, err
	}
	c := &Commit{Branch: t.branch, Tag: t.tag, Subdir: o.URL.Subdir, from: f}
	out, err := f.local("log", "-1", "--format=%H %ct", t.id+"^{commit}", "--").run(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is not a commit", ErrNotFound, t.id)
	}
	sha, seconds, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return nil, err
	}
	c.SHA, c.Time = sha, time.Unix(n, 0).UTC()
	return c, nil
}

// target is what a reference stands for.
type target struct {
	id, ref     string // ref is empty for a commit that was named by its id
	branch, tag string
}

// find asks the remote what the reference stands for, as git does: a name is a
// branch before it is a tag. A full id needs no question.
func (f *fetched) find(ctx context.Context, ref string) (target, error) {
	if commitID.MatchString(ref) {
		return target{id: ref}, nil
	}
	ask := []string{"HEAD"}
	switch {
	case strings.HasPrefix(ref, "refs/"):
		ask = []string{ref}
	case ref != "" && ref != "HEAD":
		ask = []string{"refs/heads/" + ref, "refs/tags/" + ref, ref}
	}
	c, done, err := f.o.remote(ctx, f.o.URL, call{args: append([]string{"ls-remote", "--symref", "--", f.o.URL.Remote}, ask...)})
	if err != nil {
		return target{}, err
	}
	defer done()
	out, err := c.run(ctx)
	if err != nil {
		return target{}, err
	}
	ids, head := map[string]string{}, ""
	for line := range strings.Lines(string(out)) {
		id, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if to, ok := strings.CutPrefix(id, "ref: "); ok {
			head = to
		} else if commitID.MatchString(id) {
			ids[name] = id
		}
	}
	for _, name := range ask {
		id, ok := ids[name]
		if !ok {
			continue
		}
		t := target{id: id, ref: name}
		if name == "HEAD" && checkRef(head) == nil {
			t.ref = head
		}
		t.branch, _ = strings.CutPrefix(t.ref, "refs/heads/")
		if t.branch == t.ref {
			t.branch = ""
		}
		if tag, ok := strings.CutPrefix(t.ref, "refs/tags/"); ok {
			t.tag = tag
		}
		return t, nil
	}
	if len(ask) == 1 && ask[0] == "HEAD" {
		return target{}, fmt.Errorf("%w: the repository is empty, or its default branch does not exist", ErrNotFound)
	}
	hint := ""
	if len(ref) >= 4 && len(ref) < 40 && strings.Trim(ref, "0123456789abcdef") == "" {
		hint = " (a commit needs its full id)"
	}
	return target{}, fmt.Errorf("%w: %s%s", ErrNotFound, ref, hint)
}

// local is a call on the mirror alone.
func (f *fetched) local(args ...string) call {
	return call{args: args, env: []string{"GIT_DIR=" + f.mirror}}
}

func (f *fetched) ensure(ctx context.Context, sha256 bool) error {
	if _, err := os.Stat(filepath.Join(f.mirror, "HEAD")); err == nil {
		return nil
	}
	if err := os.MkdirAll(f.o.Dir, 0o700); err != nil {
		return err
	}
	format := "sha1"
	if sha256 {
		format = "sha256"
	}
	_, err := call{args: []string{"init", "--bare", "--quiet", "--template=", "--object-format=" + format, "--", f.mirror}}.run(ctx)
	return err
}

func (f *fetched) has(ctx context.Context, id string) bool {
	_, err := f.local("cat-file", "-e", id+"^{commit}").run(ctx)
	return err == nil
}

// bring fetches the target, unless the mirror has it. What is fetched is kept
// by a ref of ours, so that no collection of garbage takes it.
func (f *fetched) bring(ctx context.Context, t target) error {
	kept := "refs/slipway/" + t.id
	if f.has(ctx, kept) {
		return nil
	}
	err := f.fetchRefs(ctx, "+"+t.id+":"+kept)
	if err == nil || ctx.Err() != nil {
		return err
	}
	// Some servers give no commit by its id: ask for what it is found under.
	from := "+refs/heads/*:refs/remote/heads/*"
	specs := []string{from, "+refs/tags/*:refs/remote/tags/*"}
	if t.ref != "" {
		specs = []string{"+" + t.ref + ":refs/remote/ref"}
	}
	if again := f.fetchRefs(ctx, specs...); again != nil {
		return again
	}
	if !f.has(ctx, t.id) {
		return fmt.Errorf("%w: %s", ErrNotFound, t.id)
	}
	_, err = f.local("update-ref", "--", kept, t.id).run(ctx)
	return err
}

func (f *fetched) fetchRefs(ctx context.Context, specs ...string) error {
	args := []string{"fetch", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--quiet"}
	switch _, err := os.Stat(filepath.Join(f.mirror, "shallow")); {
	case f.o.Depth > 0:
		args = append(args, "--depth="+strconv.Itoa(f.o.Depth))
	case err == nil: // it was fetched with a depth before
		args = append(args, "--unshallow")
	}
	c := f.local(append(append(args, "--", f.o.URL.Remote), specs...)...)
	c, done, err := f.o.remote(ctx, f.o.URL, c)
	if err != nil {
		return err
	}
	defer done()
	_, err = c.run(ctx)
	return err
}

// LastTouching is LastCommitTouching for a fetched commit. Paths are relative
// to its Subdir.
func (c *Commit) LastTouching(ctx context.Context, paths []string) (time.Time, error) {
	if c.from == nil {
		return time.Time{}, errors.New("the commit was not fetched")
	}
	prefix := c.Subdir
	if prefix == "" {
		prefix = "."
	}
	return lastTouching(ctx, []string{"GIT_DIR=" + c.from.mirror}, c.SHA, newInterest(prefix, paths))
}

// node is a line of git ls-tree.
type node struct {
	mode string
	id   string
	path string
}

func (f *fetched) list(ctx context.Context, sha string) ([]node, error) {
	out, err := f.local("ls-tree", "-r", "-z", "--full-tree", sha+"^{commit}", "--").run(ctx)
	if err != nil {
		return nil, err
	}
	var nodes []node
	for line := range bytes.SplitSeq(bytes.TrimSuffix(out, []byte{0}), []byte{0}) {
		meta, path, ok := strings.Cut(string(line), "\t")
		fields := strings.Fields(meta)
		if !ok || len(fields) != 3 {
			if len(line) == 0 {
				continue // an empty tree
			}
			return nil, fmt.Errorf("git ls-tree: cannot read %q", line)
		}
		nodes = append(nodes, node{fields[0], fields[2], path})
	}
	return nodes, nil
}

// config reads a blob in the form of git's configuration files. The last value
// of a key counts.
func (f *fetched) config(ctx context.Context, blob string) (map[string]string, error) {
	out, err := f.local("config", "--no-includes", "--blob="+blob, "-z", "--list").run(ctx)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for item := range strings.SplitSeq(string(out), "\x00") {
		if key, value, ok := strings.Cut(item, "\n"); ok {
			values[key] = value
		}
	}
	return values, nil
}
