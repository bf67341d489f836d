//go:build unix

package edge

import (
	"testing"

	"golang.org/x/sys/unix"
)

func fileLimits(t *testing.T) (soft, hard uint64) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return uint64(limit.Cur), uint64(limit.Max)
}
