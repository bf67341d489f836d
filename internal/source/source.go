package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"slipway/internal/git"
	"slipway/internal/pipeline"
)

// Describe says of a folder which commit it is of, if it is a git checkout.
func Describe(ctx context.Context, dir string) (s pipeline.Source, err error) {
	c, dirty, err := git.Local(ctx, dir)
	if err != nil {
		return s, fmt.Errorf("read the git checkout %s: %w", dir, err)
	}
	if c == nil {
		return s, nil
	}
	s = pipeline.Source{Commit: c.SHA, Branch: c.Branch, Tag: c.Tag, Dirty: dirty}
	s.Changed = func(ctx context.Context, paths []string) time.Time {
		at, err := git.LastCommitTouching(ctx, dir, c.SHA, paths)
		if err != nil {
			return time.Time{} // the epoch is a nicety: without git it is 1970
		}
		return at
	}
	return s, nil
}

// CloneOptions say how repositories are fetched.
type CloneOptions struct {
	Cache        string // folder of the mirrors of repositories
	AllowPrivate bool   // hosts in private networks may be asked
	Proxy        git.Proxy
	CA           []byte // certificates beside the system's, PEM
	// Credentials returns the user and password for a host. nil: none.
	Credentials func(host string) (user, password string)
}

// Clone checks the commit that a git URL names out into an empty folder, with
// its submodules and LFS objects, and returns the folder within it that the
// URL names.
func Clone(ctx context.Context, url, dir string, o CloneOptions) (folder string, s pipeline.Source, err error) {
	u, err := git.ParseURL(url)
	if err != nil {
		return "", s, err
	}
	c, err := git.Fetch(ctx, git.Options{URL: u, Dir: o.Cache, AllowPrivate: o.AllowPrivate, Proxy: o.Proxy, CA: o.CA, Credentials: o.Credentials})
	if err != nil {
		return "", s, err
	}
	if err := c.Checkout(ctx, dir); err != nil {
		return "", s, err
	}
	folder = dir
	if c.Subdir != "" {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return "", s, err
		}
		defer func() { _ = root.Close() }() // it was only read
		info, err := root.Stat(filepath.FromSlash(c.Subdir))
		if err != nil || !info.IsDir() {
			return "", s, fmt.Errorf("%s: the repository has no folder %s", u.String(), c.Subdir)
		}
		folder = filepath.Join(dir, filepath.FromSlash(c.Subdir))
	}
	s = pipeline.Source{URI: u.String(), Commit: c.SHA, Branch: c.Branch, Tag: c.Tag}
	s.Changed = func(ctx context.Context, paths []string) time.Time {
		for i, p := range paths {
			paths[i] = filepath.ToSlash(filepath.Join(c.Subdir, p))
		}
		at, err := c.LastTouching(ctx, paths)
		if err != nil {
			return time.Time{}
		}
		return at
	}
	return folder, s, nil
}
