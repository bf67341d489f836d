package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Checkout writes the commit's whole tree into dir, which must be empty or not
// exist: files with mode 0644 or 0755, links, submodules' trees, and the content
// of LFS objects. Subdir is not applied. Nothing is written outside dir, whatever
// the tree contains, and there is no .git.
//
// Errors: ErrHostile, ErrSubmodule, ErrLFS, each with the path. After an error
// dir holds part of the tree and is to be removed.
func (c *Commit) Checkout(ctx context.Context, dir string) error {
	if c.from == nil {
		return errors.New("check out: the commit was not fetched")
	}
	if err := c.checkout(ctx, dir); err != nil {
		return fmt.Errorf("check out %s of %s: %w", c.SHA, c.from.o.URL, err)
	}
	return nil
}

func (c *Commit) checkout(ctx context.Context, dir string) error {
	p := &plan{o: c.from.o, links: map[string]string{}}
	if err := p.add(ctx, c.from, c.SHA, "", 0); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		return errors.Join(err, fmt.Errorf("%s is not empty", dir))
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	w := &writer{root: root, left: p.o.MaxBytes, made: map[string]bool{".": true}, links: p.links}
	for _, part := range p.parts {
		if err := w.write(ctx, part); err != nil {
			return err
		}
	}
	// Links come last, so that no file can be written through one.
	if err := w.writeLinks(); err != nil {
		return err
	}
	return w.fetchObjects(ctx)
}

// plan is what will be written: the trees of the commit and its submodules.
type plan struct {
	o       Options
	parts   []part
	entries int
	modules int
	links   map[string]string // filled in by writer
}

// part is one repository's tree, at a folder of the checkout.
type part struct {
	from   *fetched
	prefix string
	sha    string
	nodes  []node // files and links
}

func (p *plan) add(ctx context.Context, f *fetched, sha, prefix string, depth int) error {
	nodes, err := f.list(ctx, sha)
	if err != nil {
		return err
	}
	if p.entries += len(nodes); p.entries > p.o.MaxEntries {
		return fmt.Errorf("%w: it has more than %d files", ErrHostile, p.o.MaxEntries)
	}
	at, modules := part{from: f, prefix: prefix, sha: sha}, []node{}
	gitmodules := ""
	for _, n := range nodes {
		if err := checkName(n.path); err != nil {
			return fmt.Errorf("%w %s: %w", ErrHostile, strings.Map(visible, path.Join(prefix, n.path)), err)
		}
		switch n.mode {
		case "100644", "100755", "100664", "120000":
			at.nodes = append(at.nodes, n)
		case "160000":
			modules = append(modules, n)
			continue
		default:
			return fmt.Errorf("%w %s: it is of the unknown mode %s", ErrHostile, path.Join(prefix, n.path), n.mode)
		}
		if n.path == ".gitmodules" && n.mode != "120000" {
			gitmodules = n.id
		}
	}
	p.parts = append(p.parts, at)
	if len(modules) == 0 {
		return nil
	}
	return p.addModules(ctx, f, gitmodules, modules, prefix, depth)
}

// checkName refuses what no tree should have, and all ways to write ".git" on
// some file system: this folder may be copied to another one.
func checkName(name string) error {
	for _, part := range strings.Split(name, "/") {
		if part == "" || part == "." || part == ".." || strings.Contains(part, "\x00") {
			return errors.New("it is no proper path")
		}
		for _, p := range strings.Split(part, `\`) {
			if isDotGit(p) {
				return errors.New("it would be taken for a repository's own folder")
			}
		}
	}
	return nil
}

func isDotGit(name string) bool {
	name = strings.Map(func(r rune) rune {
		switch { // HFS+ ignores these
		case r >= 0x200c && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x206a && r <= 0x206f, r == 0xfeff:
			return -1
		}
		return r
	}, strings.ToLower(name))
	name, _, _ = strings.Cut(name, ":") // NTFS streams
	name = strings.TrimRight(name, " .")
	return name == ".git" || name == "git~1"
}

// escapes follows a link as the kernel would, in a tree with these links and
// no others, and says whether it ever leaves the tree.
func escapes(links map[string]string, at string) bool {
	rest := []string{}
	push := func(target string) { rest = append(strings.Split(target, "/"), rest...) }
	push(links[at])
	current := path.Dir(at)
	if strings.HasPrefix(links[at], "/") {
		return true
	}
	for hops := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if current == "." {
				return true
			}
			current = path.Dir(current)
			continue
		}
		next := path.Join(current, name)
		target, isLink := links[next]
		if !isLink {
			current = next
			continue
		}
		if hops++; hops > 40 || strings.HasPrefix(target, "/") {
			return hops <= 40 // a circle leads nowhere
		}
		push(target)
	}
	return false
}

// writer puts parts into a folder.
type writer struct {
	root    *os.Root
	left    int64           // bytes that may still be written
	made    map[string]bool // folders
	links   map[string]string
	objects []object // LFS objects to be fetched
}

// write writes the files of a part, and notes its links.
func (w *writer) write(ctx context.Context, p part) error {
	if err := w.folder(pathOrDot(p.prefix)); err != nil {
		return err
	}
	if len(p.nodes) == 0 {
		return nil
	}
	var ids strings.Builder
	for _, n := range p.nodes {
		ids.WriteString(n.id)
		ids.WriteByte('\n')
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := p.from.local("cat-file", "--batch", "--buffer")
	c.stdin = strings.NewReader(ids.String())
	cmd, stderr := c.command(ctx)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return c.fail(ctx, err, stderr)
	}
	b := bufio.NewReaderSize(out, 256<<10)
	for _, n := range p.nodes {
		if err := w.one(b, p, n); err != nil {
			cancel()
			_ = cmd.Wait() // killed: the reason is known
			return fmt.Errorf("%s: %w", path.Join(p.prefix, n.path), err)
		}
	}
	return c.fail(ctx, cmd.Wait(), stderr)
}

func pathOrDot(p string) string {
	if p == "" {
		return "."
	}
	return p
}

// one reads "<id> blob <size>\n<content>\n" and writes the content.
func (w *writer) one(b *bufio.Reader, p part, n node) error {
	line, err := b.ReadString('\n')
	if err != nil {
		return fmt.Errorf("git cat-file ended early: %w", err)
	}
	fields := strings.Fields(line)
	if len(fields) != 3 || fields[0] != n.id || fields[1] != "blob" {
		return fmt.Errorf("git cat-file: %s", strings.TrimSpace(line))
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil || size < 0 {
		return fmt.Errorf("git cat-file: %s", strings.TrimSpace(line))
	}
	if err := w.spend(size); err != nil {
		return err
	}
	name := path.Join(p.prefix, n.path)
	content := io.LimitReader(b, size)
	switch {
	case n.mode == "120000":
		if size > 4096 {
			return fmt.Errorf("%w: a link of %d bytes", ErrHostile, size)
		}
		target, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		w.links[name] = string(target)
	case size < maxPointer:
		text, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		if o, ok := parsePointer(text); ok {
			o.path, o.from, o.sha, o.executable = name, p.from, p.sha, n.mode == "100755"
			w.objects = append(w.objects, o)
		} else if err := w.file(name, n.mode == "100755", strings.NewReader(string(text)), size); err != nil {
			return err
		}
	default:
		if err := w.file(name, n.mode == "100755", content, size); err != nil {
			return err
		}
	}
	if c, err := b.ReadByte(); err != nil || c != '\n' {
		return errors.Join(errors.New("git cat-file: no end of the object"), err)
	}
	return nil
}

func (w *writer) spend(n int64) error {
	if w.left -= n; w.left < 0 {
		return fmt.Errorf("%w: all files together are larger than allowed", ErrHostile)
	}
	return nil
}

// file makes a file, which must not exist.
func (w *writer) file(name string, executable bool, content io.Reader, size int64) (err error) {
	if err := w.folder(path.Dir(name)); err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if executable {
		mode = 0o755
	}
	f, err := w.root.OpenFile(filepath.FromSlash(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, content)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = f.Chmod(mode) // whatever the umask says
	}
	return errors.Join(err, f.Close())
}

func (w *writer) folder(name string) error {
	if w.made[name] {
		return nil
	}
	if err := w.folder(path.Dir(name)); err != nil {
		return err
	}
	w.made[name] = true
	if err := w.root.Mkdir(filepath.FromSlash(name), 0o755); err != nil {
		return err
	}
	return w.root.Chmod(filepath.FromSlash(name), 0o755)
}

func (w *writer) writeLinks() error {
	for name, target := range w.links {
		if target == "" || strings.Contains(target, "\x00") {
			return fmt.Errorf("%w %s: a link to nothing", ErrHostile, name)
		}
		if escapes(w.links, name) {
			return fmt.Errorf("%w %s: it links to %s, outside the checkout", ErrHostile, name, strings.Map(visible, target))
		}
		if err := w.folder(path.Dir(name)); err != nil {
			return err
		}
		if err := w.root.Symlink(target, filepath.FromSlash(name)); err != nil {
			return err
		}
	}
	return nil
}
