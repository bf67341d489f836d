package source

import (
	"context"
	"fmt"
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
