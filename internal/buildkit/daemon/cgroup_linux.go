package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cgroup is the control group of one daemon, with two below it: buildkitd for the
// daemon, builds for its containers. In version 2 it is one folder; in version 1
// one for each controller.
type cgroup struct {
	name   string
	v2     bool
	mounts map[string]string // controller -> where its hierarchy is mounted
	all    []string          // every hierarchy, in which the runtime may have made groups
}

// findCgroup looks at what this machine has mounted. Without control groups it
// returns one that limits nothing.
func findCgroup(name string) *cgroup {
	c := &cgroup{name: name, mounts: map[string]string{}}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return c
	}
	defer func() { _ = f.Close() }()
	var unified string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// id parent major:minor root mountpoint options… - type source superoptions
		before, after, _ := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if len(left) < 5 || len(right) < 3 {
			continue
		}
		switch right[0] {
		case "cgroup2":
			unified = left[4]
		case "cgroup":
			c.all = append(c.all, left[4])
			for option := range strings.SplitSeq(right[2], ",") {
				c.mounts[option] = left[4]
			}
		}
	}
	if unified == "" {
		return c
	}
	c.all = append(c.all, unified)
	controllers, err := os.ReadFile(filepath.Join(unified, "cgroup.controllers"))
	if err == nil && slices.Contains(strings.Fields(string(controllers)), "pids") {
		c.v2, c.mounts = true, map[string]string{}
		for _, controller := range strings.Fields(string(controllers)) {
			c.mounts[controller] = unified
		}
	}
	return c
}

// has tells whether the machine has a controller.
func (c *cgroup) has(controller string) bool { return c.mounts[controller] != "" }

// builds is the group of containers, as runtimes name it; empty without groups.
func (c *cgroup) builds() string {
	if !c.has("pids") && !c.has("memory") {
		return ""
	}
	return "/" + c.name + "/builds"
}

// setting is one limit: a file of a controller below the group named.
type setting struct {
	controller, group, file, value, what string
	optional                             bool
}

func (c *cgroup) settings(cfg Config) []setting {
	const period = 100_000 // microseconds
	memory, pids := strconv.FormatInt(cfg.Memory, 10), strconv.FormatInt(cfg.Processes, 10)
	quota := int64(cfg.CPUs * period)
	if c.v2 {
		list := []setting{
			{"cpu", "", "cpu.weight", "33", "priority of serving for processors", false},
			{"io", "", "io.weight", "default 33", "", true},
			{"memory", "builds", "memory.max", memory, "memory", false},
			{"memory", "builds", "memory.swap.max", "0", "", true},
			{"pids", "builds", "pids.max", pids, "number of processes", false},
		}
		if quota > 0 {
			list = append(list, setting{"cpu", "builds", "cpu.max", fmt.Sprintf("%d %d", quota, period), "processors", false})
		}
		return list
	}
	list := []setting{
		{"cpu", "", "cpu.shares", "340", "priority of serving for processors", false},
		{"blkio", "", "blkio.bfq.weight", "33", "", true},
		{"memory", "builds", "memory.limit_in_bytes", memory, "memory", false},
		{"memory", "builds", "memory.memsw.limit_in_bytes", memory, "", true},
		{"pids", "builds", "pids.max", pids, "number of processes", false},
	}
	if quota > 0 {
		list = append(list,
			setting{"cpu", "builds", "cpu.cfs_period_us", strconv.Itoa(period), "processors", false},
			setting{"cpu", "builds", "cpu.cfs_quota_us", strconv.FormatInt(quota, 10), "processors", false})
	}
	return list
}

// create makes the groups and sets the limits. It returns what cannot be limited
// here; builds run without that.
func (c *cgroup) create(cfg Config) (missing []string, err error) {
	if c.v2 {
		if err := c.delegate(); err != nil {
			return nil, err
		}
	}
	for _, controller := range []string{"cpu", "memory", "pids", "blkio", "io"} {
		if !c.has(controller) {
			continue
		}
		dir := filepath.Join(c.mounts[controller], c.name)
		for _, sub := range []string{"", "buildkitd", "builds"} {
			if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
				return nil, fmt.Errorf("making a control group for builds: %w; steps run in control groups, so they must be writable: in a container, add --cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup", err)
			}
		}
	}
	if c.v2 {
		c.enable(filepath.Join(c.mounts["pids"], c.name))
	}
	for _, s := range c.settings(cfg) {
		err := fs.ErrNotExist
		if c.has(s.controller) {
			err = os.WriteFile(filepath.Join(c.mounts[s.controller], c.name, s.group, s.file), []byte(s.value), 0)
		}
		if err != nil && !s.optional && !slices.Contains(missing, s.what) {
			missing = append(missing, s.what)
		}
	}
	return missing, nil
}

// delegate enables the controllers for groups at the top. In a container the top
// has processes of its own, which version 2 allows only in leaves: they move to
// one, as they do wherever containers run in containers.
func (c *cgroup) delegate() error {
	top := c.mounts["pids"]
	if c.enable(top) {
		return nil
	}
	procs, err := os.ReadFile(filepath.Join(top, "cgroup.procs"))
	if err != nil {
		return fmt.Errorf("control groups: %w", err)
	}
	if _, err := os.Stat(filepath.Join(top, "cgroup.type")); errors.Is(err, fs.ErrNotExist) || os.Getppid() != 0 && os.Getpid() != 1 {
		return nil // the machine's own top, or not ours to change: create says what is missing
	}
	leaf := filepath.Join(top, "slipway")
	if err := os.MkdirAll(leaf, 0o755); err != nil {
		return fmt.Errorf("control groups: %w", err)
	}
	for _, pid := range strings.Fields(string(procs)) {
		_ = os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte(pid), 0) // it may be gone
	}
	c.enable(top)
	return nil
}

// enable hands the controllers down to the groups of dir, and tells whether all
// that builds need were.
func (c *cgroup) enable(dir string) bool {
	all := true
	for _, controller := range []string{"cpu", "io", "memory", "pids"} {
		if c.has(controller) {
			err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0)
			all = all && err == nil
		}
	}
	return all
}

// join puts a process, and so what it will start, into the group of the daemon.
func (c *cgroup) join(pid int) error {
	for _, controller := range []string{"cpu", "memory", "pids", "blkio", "io"} {
		if !c.has(controller) {
			continue
		}
		file := filepath.Join(c.mounts[controller], c.name, "buildkitd", "cgroup.procs")
		if err := os.WriteFile(file, []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("putting buildkitd into its control group: %w", err)
		}
	}
	return nil
}

// remove removes the groups, whose processes have ended. The kernel lets go of
// the last of them a moment later.
func (c *cgroup) remove() error {
	for deadline := time.Now().Add(5 * time.Second); ; {
		var err error
		for _, mount := range c.all {
			err = errors.Join(err, removeGroups(filepath.Join(mount, c.name)))
		}
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func removeGroups(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	for _, dir := range slices.Backward(dirs) {
		if e := os.Remove(dir); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}
