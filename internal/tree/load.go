package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Defaults of Options.
const (
	DefaultMaxEntries = 200_000
	DefaultMaxBytes   = 16 << 30
)

// Options says what Load reads.
type Options struct {
	// Ignore holds the patterns of the ignore file in its order, as they stand
	// there (without comments), with BuildKit's meaning.
	Ignore []string
	// KeepGit makes .git at the root an entry like any other. It is left out
	// otherwise, since it differs between checkouts of the same commit.
	KeepGit bool
	// MaxEntries limits the number of entries; 0 is DefaultMaxEntries.
	MaxEntries int
	// MaxBytes limits the total size of the files; 0 is DefaultMaxBytes.
	MaxBytes int64
	// Cache spares hashing what was hashed before. nil hashes everything.
	Cache *Cache
}

// Load reads the folder root. A root that is a symbolic link is resolved;
// links in it are entries and never followed. Files that vanish before they
// are read are left out, as if Load had come a moment later.
//
// Errors: ErrTooLarge names the largest folders; ErrChanged names a file that
// kept changing while it was hashed; an unreadable path is named. Patterns
// that cannot be parsed are an error.
func Load(ctx context.Context, root string, o Options) (*Tree, error) {
	t, err := load(ctx, root, o)
	if err != nil {
		return nil, fmt.Errorf("read build context %s: %w", root, err)
	}
	return t, nil
}

func load(ctx context.Context, root string, o Options) (*Tree, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return nil, err
	}
	if o.MaxEntries == 0 {
		o.MaxEntries = DefaultMaxEntries
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	ignore, err := newIgnorer(o.Ignore)
	if err != nil {
		return nil, err
	}
	f, err := openFolder(root)
	if err != nil {
		return nil, err
	}
	defer f.close()
	known := o.Cache.records(root)
	w := &walker{ctx: ctx, o: o, ignore: ignore, known: known, t: &Tree{root: root}}
	if len(known) > 0 {
		w.t.entries, w.t.stamps = make([]Entry, 0, len(known)*5/4), make([]stamp, 0, len(known)*5/4)
	}
	if err := w.walk(f, "", nil); err != nil {
		return nil, err
	}
	fresh, err := hashFiles(ctx, w.t, w.unhashed)
	if err != nil {
		return nil, err
	}
	o.Cache.remember(root, w.t, fresh)
	return w.t, nil
}

type walker struct {
	ctx      context.Context
	o        Options
	ignore   *ignorer
	known    map[string]record
	t        *Tree
	unhashed []int // entries whose content the cache does not know
	bytes    int64
}

// parent is a folder on the way to what is walked. One that is ignored becomes
// an entry only when something in it does.
type parent struct {
	*parent
	matched matchInfo
	entry   Entry
	stamp   stamp
	listed  bool
}

func (w *walker) walk(f *folder, path string, p *parent) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	names, err := f.names()
	if err != nil {
		return err
	}
	slices.Sort(names)
	prefix := path
	if prefix != "" {
		prefix += "/"
	}
	for _, name := range names {
		if p == nil && name == ".git" && !w.o.KeepGit {
			continue
		}
		if err := w.visit(f, prefix+name, name, p); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) visit(f *folder, path, name string, p *parent) error {
	ignored, matched, err := w.ignore.match(path, p)
	if err != nil {
		return err
	}
	if ignored && w.ignore.final {
		return nil // nothing under it can come back: spare the system calls
	}
	e, s, err := f.stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && e.Type == 0:
		return nil // vanished, or a socket
	case err != nil && ignored:
		return nil
	case err != nil:
		return unreadable(path, err)
	}
	e.Path = path
	if e.Type == Dir {
		return w.enter(f, name, &parent{parent: p, matched: matched, entry: e, stamp: s}, ignored)
	}
	if ignored {
		return nil
	}
	if e.Type == File {
		if r, ok := w.known[path]; ok && r.stamp == s {
			e.Digest, e.Xattrs = r.digest, r.xattrs
		} else {
			w.unhashed = append(w.unhashed, -1) // the index comes with add
		}
		w.bytes += e.Size
	}
	if err := w.listParents(p); err != nil {
		return err
	}
	if e.Type == File && e.Digest == "" {
		w.unhashed[len(w.unhashed)-1] = len(w.t.entries)
	}
	return w.add(e, s)
}

// enter walks a folder.
func (w *walker) enter(f *folder, name string, d *parent, ignored bool) error {
	if ignored && !w.ignore.mayContain(d.entry.Path) {
		return nil
	}
	sub, err := f.open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errNotDir):
		return nil // vanished, or became something else
	case err != nil && ignored && errors.Is(err, fs.ErrPermission):
		return nil
	case err != nil:
		return unreadable(d.entry.Path, err)
	}
	defer sub.close()
	if d.entry.Xattrs, err = sub.xattrs(); err != nil {
		return unreadable(d.entry.Path, err)
	}
	if !ignored {
		if err := w.listParents(d); err != nil {
			return err
		}
	}
	return w.walk(sub, d.entry.Path, d)
}

// listParents adds the folders down to p that are not listed yet.
func (w *walker) listParents(p *parent) error {
	if p == nil || p.listed {
		return nil
	}
	if err := w.listParents(p.parent); err != nil {
		return err
	}
	p.listed = true
	return w.add(p.entry, p.stamp)
}

func (w *walker) add(e Entry, s stamp) error {
	w.t.entries, w.t.stamps = append(w.t.entries, e), append(w.t.stamps, s)
	if len(w.t.entries) > w.o.MaxEntries {
		return fmt.Errorf("%w: more than %d files and folders. %s", ErrTooLarge, w.o.MaxEntries, w.advice(func(Entry) int64 { return 1 }, "%d entries"))
	}
	if w.bytes > w.o.MaxBytes {
		return fmt.Errorf("%w: more than %d MiB. %s", ErrTooLarge, w.o.MaxBytes>>20, w.advice(func(e Entry) int64 { return e.Size >> 10 }, "%d KiB"))
	}
	return nil
}

// advice names the folders that weigh most, of what was seen up to the limit.
func (w *walker) advice(weigh func(Entry) int64, format string) string {
	weights := map[string]int64{}
	for _, e := range w.t.entries {
		top, rest, inside := strings.Cut(e.Path, "/")
		if !inside && e.Type != Dir {
			top = "."
		}
		weights[top] += weigh(e)
		if second, _, deeper := strings.Cut(rest, "/"); deeper {
			weights[top+"/"+second] += weigh(e)
		}
	}
	folders := make([]string, 0, len(weights))
	for folder := range weights {
		folders = append(folders, folder)
	}
	slices.SortFunc(folders, func(a, b string) int {
		if d := weights[b] - weights[a]; d != 0 {
			return int(max(-1, min(1, d)))
		}
		return strings.Compare(a, b)
	})
	var list []string
	for _, folder := range folders[:min(4, len(folders))] {
		list = append(list, fmt.Sprintf("%s (at least "+format+")", folder, weights[folder]))
	}
	return "Largest so far: " + strings.Join(list, ", ") + ". Name what the build does not need in .dockerignore, or raise the limit"
}

func unreadable(path string, err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s: %w: make it readable, or name it in .dockerignore", path, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}
