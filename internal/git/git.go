// Package git gets sources out of git repositories that it does not trust.
//
// # A remote repository
//
// [ParseURL] reads the address, [Fetch] brings one commit into a bare mirror
// (one for each address, so that the next fetch brings what is new only), and
// [Commit.Checkout] writes the commit's files into a folder, submodules and
// LFS objects included: what is there is complete, or there is an error.
//
// The objects are moved by the git binary and written by this package. Git's
// own checkout would run filters and follow the repository's attributes; here
// the tree is listed, every name and link is checked, and the bytes are
// written below an os.Root. No hook, filter, or helper ever runs.
//
// # A local working folder
//
// [Local] and [LastCommitTouching] describe a folder that may be a checkout.
// Its .git is data: HEAD and the refs are read as files, and where git has to
// run, it runs with a configuration of ours instead of the repository's, which
// could name programs (fsmonitor, filters) to start. That also makes git's
// check of the owner (safe.directory) needless.
//
// # Secrets
//
// Credentials reach git through its environment, never through arguments, and
// are struck out of whatever it says. They are sent to the host that they were
// asked for and to no other: redirects are not followed.
package git

import (
	"errors"
	"time"
)

// Errors that callers tell apart.
var (
	// ErrURL says that an address is not one of a repository that may be used.
	ErrURL = errors.New("not a git address that can be used")
	// ErrNotFound says that the repository has no such branch, tag or commit.
	ErrNotFound = errors.New("no such branch, tag or commit")
	// ErrPrivate says that a host is in a private network.
	ErrPrivate = errors.New("the address is in a private network")
	// ErrHostile says that a tree contains what no checkout may.
	ErrHostile = errors.New("refused to check out")
	// ErrLFS says that an LFS object could not be had.
	ErrLFS = errors.New("LFS object is not available")
	// ErrSubmodule says that a submodule could not be had.
	ErrSubmodule = errors.New("submodule is not available")
)

// Commit is a commit of a repository.
type Commit struct {
	SHA    string    // in full
	Branch string    // that was asked for or is checked out; "" if none
	Tag    string    // that was asked for or is at the commit; "" if none
	Time   time.Time // of the committer; zero from Local
	Subdir string    // of the address: where in the tree the project is; "" is its root

	from *fetched // where Checkout reads; nil from Local
}
