package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// initMain is the first process of buildkitd's namespaces. It prepares them,
// starts buildkitd, hands signals on to it, reaps what others leave behind, and
// ends with buildkitd's exit code.
func initMain() (int, error) {
	// Priority belongs to a thread, and the thread that forks hands it on.
	runtime.LockOSThread()
	if os.Getpid() != 1 {
		return 1, errors.New("init is for slipway only: it must be the first process of a process namespace")
	}
	config, err := readInit()
	if err != nil {
		return 1, err
	}
	if err := prepare(config); err != nil {
		return 1, err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	pid, err := syscall.ForkExec(config.Args[0], config.Args, &syscall.ProcAttr{
		Env:   config.Env,
		Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		return 1, fmt.Errorf("starting %s: %w", config.Args[0], err)
	}
	go func() {
		for range signals {
			_ = unix.Kill(pid, unix.SIGTERM) // it may have ended by itself
		}
	}()
	return reap(pid)
}

func readInit() (Init, error) {
	pipe := os.NewFile(3, "config")
	unix.CloseOnExec(3)
	unix.CloseOnExec(4) // the lock of the daemon's folder: held as long as we live
	raw, err := io.ReadAll(pipe)
	if err != nil {
		return Init{}, fmt.Errorf("reading the configuration: %w", err)
	}
	var config Init
	if err := json.Unmarshal(raw, &config); err != nil {
		return Init{}, fmt.Errorf("reading the configuration: %w", err)
	}
	if len(config.Args) == 0 {
		return Init{}, errors.New("the configuration names no program")
	}
	return config, pipe.Close()
}

func prepare(config Init) error {
	// Slave, not private: what the host unmounts must not stay busy in here.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("separating the mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	for _, dir := range config.Private {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := unix.Mount("slipway", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err != nil {
			return fmt.Errorf("mounting a private %s: %w", dir, err)
		}
	}
	if config.Resolv != "" {
		target, err := filepath.EvalSymlinks("/etc/resolv.conf")
		if err != nil {
			return err
		}
		if err := unix.Mount(config.Resolv, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("replacing %s: %w", target, err)
		}
	}
	if err := network(config.Rules); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(config.OOM)), 0); err != nil {
		return fmt.Errorf("making builds the first to go when memory is short: %w", err)
	}
	return lower(config.Nice)
}

// network readies the namespace that buildkitd's own network is in: containers
// reach what is outside, and neither each other nor buildkitd.
func network(rules string) error {
	if rules == "" {
		return nil
	}
	for name, value := range map[string]string{
		"ipv4/ip_forward":                "1",
		"ipv4/conf/all/rp_filter":        "1",
		"ipv4/conf/all/send_redirects":   "0",
		"ipv6/conf/all/disable_ipv6":     "1",
		"ipv6/conf/default/disable_ipv6": "1",
	} {
		err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("setting net/%s: %w", name, err)
		}
	}
	cmd := exec.Command("iptables-restore", "--wait", "10")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("iptables-restore: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// lower makes builds yield to serving: for the processor and for the disk.
func lower(nice int) error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, nice); err != nil {
		return fmt.Errorf("setting the priority: %w", err)
	}
	const (
		process    = 1
		bestEffort = 2 << 13 // not "idle": a busy disk would then stop builds for good
		lowest     = 7
	)
	if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, process, 0, bestEffort|lowest); errno != 0 && errno != unix.ENOSYS {
		return fmt.Errorf("setting the priority for the disk: %w", errno)
	}
	return nil
}

// reap waits for the main process, and for the orphans that the kernel gives to
// the first process of a namespace.
func reap(main int) (int, error) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1, fmt.Errorf("waiting: %w", err)
		case pid != main:
		case status.Signaled():
			return 128 + int(status.Signal()), nil
		default:
			return status.ExitStatus(), nil
		}
	}
}
