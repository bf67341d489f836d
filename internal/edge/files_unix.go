//go:build unix

package edge

import "golang.org/x/sys/unix"

// fileLimit is how many files this process may open.
func fileLimit() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 1024
	}
	return int(min(limit.Cur, 1<<30))
}
