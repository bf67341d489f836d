//go:build unix

package edge

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

func fileLimits(t *testing.T) (soft, hard string) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(limit.Cur), fmt.Sprint(limit.Max)
}
