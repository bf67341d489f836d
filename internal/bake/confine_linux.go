package bake

import (
	"os"
	"os/exec"
	"syscall"
)

// isolations are what to try, the best first.
func isolations() []Isolation {
	if os.Geteuid() == 0 {
		return []Isolation{IsolateNamespaces, IsolateRoot, IsolateChecks}
	}
	return []Isolation{IsolateUser, IsolateChecks}
}

// confine prepares the command that starts a child. Nothing here may depend on
// the checkout, which a child that waits does not know yet. That is also why it
// has no mounts of its own: they would stay as they were when it was started,
// and keep what others unmount.
func confine(cmd *exec.Cmd, mode Isolation) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	switch mode {
	case IsolateNamespaces:
		attr.Cloneflags = syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC
	case IsolateUser:
		attr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	cmd.Dir = "/"
}
