package git

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Local describes the checkout that dir is in. A nil Commit says that dir is in
// none, or in one without a commit yet. dirty says that files differ from the
// commit or are not under version control; where that cannot be told (git is
// not installed, say), it is true.
//
// HEAD and the refs are read as files. One git process finds out what is
// dirty, and it never reads the repository's configuration.
func Local(ctx context.Context, dir string) (c *Commit, dirty bool, err error) {
	r, err := openLocal(dir)
	if err != nil || r == nil {
		return nil, false, err
	}
	c = &Commit{}
	if c.SHA, c.Branch, err = r.head(); err != nil {
		return nil, false, fmt.Errorf("read HEAD of %s: %w", r.gitDir, err)
	}
	if c.SHA == "" {
		return nil, false, nil
	}
	tags, err := r.tags(c.SHA)
	if err != nil {
		return nil, false, fmt.Errorf("read the tags of %s: %w", r.gitDir, err)
	}
	c.Tag = newest(tags)
	if r.top == "" {
		return c, false, nil // a bare repository
	}
	dirty, err = r.dirty(ctx, c.SHA)
	return c, dirty, err
}

// local is a repository on this machine, as files.
type local struct {
	top    string // of the working folder; "" if bare
	gitDir string // with HEAD and index
	common string // with objects and refs; differs from gitDir in a linked worktree
}

// openLocal finds the repository that dir is in; nil if there is none.
func openLocal(dir string) (*local, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	for at := dir; ; at = filepath.Dir(at) {
		dotGit := filepath.Join(at, ".git")
		info, err := os.Stat(dotGit)
		if err == nil {
			if !info.IsDir() {
				if dotGit, err = pointed(dotGit, "gitdir: "); err != nil {
					return nil, fmt.Errorf("read %s: %w", filepath.Join(at, ".git"), err)
				}
			}
			r := &local{top: at, gitDir: dotGit, common: dotGit}
			if common, err := pointed(filepath.Join(dotGit, "commondir"), ""); err == nil {
				r.common = common
			}
			if _, err := os.Stat(filepath.Join(dotGit, "HEAD")); err == nil {
				return r, nil
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if at == filepath.Dir(at) {
			return nil, nil
		}
	}
}

// pointed reads a file that names a folder, relative to its own.
func pointed(file, prefix string) (string, error) {
	b, err := readSmall(file)
	if err != nil {
		return "", err
	}
	name, ok := strings.CutPrefix(strings.TrimSpace(string(b)), prefix)
	if !ok || name == "" {
		return "", fmt.Errorf("it does not begin with %q", prefix)
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(file), name)
	}
	return name, nil
}

func readSmall(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 4096))
}

// head is the commit that is checked out, "" if there is none yet, and its
// branch, if it is on one.
func (r *local) head() (sha, branch string, err error) {
	b, err := readSmall(filepath.Join(r.gitDir, "HEAD"))
	if err != nil {
		return "", "", err
	}
	text := strings.TrimSpace(string(b))
	name, symbolic := strings.CutPrefix(text, "ref: ")
	if !symbolic {
		if !commitID.MatchString(text) {
			return "", "", errors.New("it names no commit")
		}
		return text, "", nil
	}
	if name = strings.TrimSpace(name); name == "refs/heads/.invalid" {
		return "", "", errors.New("the repository keeps its refs as a reftable, which cannot be read")
	}
	if checkRef(name) != nil {
		return "", "", errors.New("it names no branch")
	}
	branch, _ = strings.CutPrefix(name, "refs/heads/")
	for range 5 { // symbolic refs of symbolic refs
		b, err := readSmall(filepath.Join(r.common, filepath.FromSlash(name)))
		text := strings.TrimSpace(string(b))
		next, symbolic := strings.CutPrefix(text, "ref: ")
		switch {
		case err != nil:
			sha, err := r.packed(name)
			return sha, branch, err
		case !symbolic && commitID.MatchString(text):
			return text, branch, nil
		case !symbolic || checkRef(next) != nil:
			return "", "", fmt.Errorf("%s names no commit", name)
		}
		name = next
	}
	return "", "", fmt.Errorf("%s leads in a circle", name)
}

// packed looks a ref up in packed-refs; "" if it is not there.
func (r *local) packed(name string) (sha string, err error) {
	err = r.eachPacked(func(ref, id, _ string) {
		if ref == name {
			sha = id
		}
	})
	return sha, err
}

// eachPacked calls fn with every packed ref, and with what an annotated tag
// leads to.
func (r *local) eachPacked(fn func(ref, id, peeled string)) error {
	f, err := os.Open(filepath.Join(r.common, "packed-refs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var ref, id, peeled string
	flush := func() {
		if ref != "" {
			fn(ref, id, peeled)
		}
		ref, id, peeled = "", "", ""
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if p, ok := strings.CutPrefix(line, "^"); ok {
			peeled = p
			continue
		}
		flush()
		if i, name, ok := strings.Cut(line, " "); ok && commitID.MatchString(i) {
			ref, id = name, i
		}
	}
	flush()
	return lines.Err()
}

// tags lists the tags of a commit.
func (r *local) tags(sha string) ([]string, error) {
	found := map[string]bool{}
	err := r.eachPacked(func(ref, id, peeled string) {
		if name, ok := strings.CutPrefix(ref, "refs/tags/"); ok && (id == sha || peeled == sha) {
			found[name] = true
		}
	})
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(r.common, "refs", "tags")
	err = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := readSmall(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		id := strings.TrimSpace(string(b)) // a loose ref goes before a packed one
		delete(found, name)
		if checkRef(name) == nil && (id == sha || commitID.MatchString(id) && r.peel(id) == sha) {
			found[name] = true
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []string
	for name := range found {
		list = append(list, name)
	}
	return list, nil
}

// peel returns what an annotated tag names, if its object is a file of its
// own. It is until git packs objects, and then git packs the refs, too, with
// what they lead to.
func (r *local) peel(id string) string {
	f, err := os.Open(filepath.Join(r.common, "objects", id[:2], id[2:]))
	if err != nil {
		return ""
	}
	defer f.Close()
	z, err := zlib.NewReader(f)
	if err != nil {
		return ""
	}
	b, err := io.ReadAll(io.LimitReader(z, 200))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return ""
	}
	kind, body, _ := bytes.Cut(b, []byte{0})
	target, rest, _ := bytes.Cut(body, []byte("\n"))
	object, ok := bytes.CutPrefix(target, []byte("object "))
	if !ok || !bytes.HasPrefix(kind, []byte("tag ")) || !bytes.HasPrefix(rest, []byte("type commit\n")) {
		return ""
	}
	return string(object)
}

// newest is the tag that people mean if a commit has several: the highest
// number.
func newest(tags []string) string {
	best := ""
	for _, t := range tags {
		if best == "" || versionLess(best, t) {
			best = t
		}
	}
	return best
}

// versionLess compares digits as numbers and all else as bytes.
func versionLess(a, b string) bool {
	for a != "" && b != "" {
		m, n := digits(a), digits(b)
		if m > 0 && n > 0 {
			x, y := strings.TrimLeft(a[:m], "0"), strings.TrimLeft(b[:n], "0")
			if len(x) != len(y) {
				return len(x) < len(y)
			}
			if x != y {
				return x < y
			}
			a, b = a[m:], b[n:]
			continue
		}
		if a[0] != b[0] {
			return a[0] < b[0]
		}
		a, b = a[1:], b[1:]
	}
	// "v1.0" is what "v1.0-rc1" leads up to.
	if strings.HasPrefix(a, "-") || strings.HasPrefix(b, "-") {
		return strings.HasPrefix(a, "-")
	}
	return a == "" && b != ""
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}
