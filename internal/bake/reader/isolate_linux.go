package reader

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"slipway/internal/bake"
)

// isolate shuts this process in. The limits come last, and are those of the
// kernel: nothing that the project says can raise them.
func isolate(root string, mode bake.Isolation) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	if mode != bake.IsolateChecks {
		if err := syscall.Chroot("."); err != nil {
			return fmt.Errorf("chroot %s: %w", root, err)
		}
		if err := os.Chdir("/"); err != nil {
			return err
		}
	}
	// RLIMIT_DATA counts what can be written to, unlike RLIMIT_AS, which would
	// count the address space that the runtime reserves.
	for resource, limit := range map[int]uint64{
		unix.RLIMIT_DATA: bake.ChildMemory, unix.RLIMIT_CPU: bake.ChildSeconds, unix.RLIMIT_FSIZE: 0, unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: 64,
	} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("limit the reading of the project: %w", err)
		}
	}
	return nil
}
