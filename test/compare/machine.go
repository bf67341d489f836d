package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// machine is what the figures depend on besides the servers.
type machine struct {
	cpu, kernel, fileSystem string
	cores                   int
	ramGB                   float64
	sync                    time.Duration // median of an fsync after writing 4 KiB
	load                    string        // averages of 1, 5 and 15 minutes at the start
}

func lookAtMachine(dir string) (*machine, error) {
	m := &machine{cores: runtime.NumCPU()}
	m.cpu = fieldOf("/proc/cpuinfo", "model name")
	kb, _ := strconv.ParseFloat(strings.TrimSuffix(fieldOf("/proc/meminfo", "MemTotal"), " kB"), 64)
	m.ramGB = kb / (1 << 20)
	m.kernel = firstLine("/proc/sys/kernel/osrelease")
	m.load = loadAverage()
	m.fileSystem = fileSystemOf(dir)
	var err error
	m.sync, err = timeSync(dir)
	return m, err
}

func loadAverage() string {
	fields := strings.Fields(firstLine("/proc/loadavg"))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

// busy reports whether other work kept more than half a core when the
// comparison began.
func (m *machine) busy() bool {
	var last float64
	_, err := fmt.Sscanf(m.load, "%f", &last)
	return err == nil && last > 0.5
}

func firstLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

func fieldOf(path, key string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// fileSystemOf is the type of the longest mount point that leads to dir.
func fileSystemOf(dir string) string {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	best, kind := "", "unknown"
	for sc := bufio.NewScanner(f); sc.Scan(); {
		fields := strings.Fields(sc.Text())
		if len(fields) < 3 || len(fields[1]) < len(best) {
			continue
		}
		if rel, err := filepath.Rel(fields[1], dir); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			best, kind = fields[1], fields[2]
		}
	}
	return kind
}

func timeSync(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4096)
	times := make([]time.Duration, 101)
	for i := range times {
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		began := time.Now()
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}
