//go:build unix

package git

import (
	"os/exec"
	"syscall"
)

// ownGroup makes the end of the command's context end its children, too: git
// talks through helpers (git-remote-https, ssh) that would live on.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
