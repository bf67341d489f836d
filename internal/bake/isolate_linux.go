package bake

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolation is how a child is kept from all but the checkout.
type isolation string

const (
	isolateNamespaces isolation = "namespaces" // own root, mounts and network
	isolateUser       isolation = "user"       // the same, within a user namespace
	isolateRoot       isolation = "root"       // own root only
	isolateChecks     isolation = "checks"     // none: paths are checked beforehand
)

// isolations are what to try, the best first.
func isolations() []isolation {
	if os.Geteuid() == 0 {
		return []isolation{isolateNamespaces, isolateRoot, isolateChecks}
	}
	return []isolation{isolateUser, isolateChecks}
}

// confine prepares the command that starts the child.
func confine(cmd *exec.Cmd, mode isolation) {
	attr := &syscall.SysProcAttr{}
	switch mode {
	case isolateNamespaces:
		attr.Cloneflags = syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC
	case isolateUser:
		attr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
}

// isolate shuts this process in. The limits come last, and are those of the
// kernel: nothing that the project says can raise them.
func isolate(root string, mode isolation) error {
	if mode == isolateChecks {
		if err := os.Chdir(root); err != nil {
			return err
		}
	} else {
		if err := os.Chdir(root); err != nil {
			return err
		}
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
		unix.RLIMIT_DATA: childMemory, unix.RLIMIT_CPU: childSeconds, unix.RLIMIT_FSIZE: 0, unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: 64,
	} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("limit the reading of the project: %w", err)
		}
	}
	return nil
}

// self is this executable, also when its file has been replaced.
func self() (string, error) { return "/proc/self/exe", nil }
