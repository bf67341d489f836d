//go:build linux

package service

import (
	"strconv"
	"syscall"
	"testing"
)

// killProcess ends the process with the given id at once. The engine and the
// test share a process namespace, so the engine's ids are ours.
func killProcess(t *testing.T, id string) {
	t.Helper()
	pid, err := strconv.Atoi(id)
	if err != nil || pid <= 1 {
		t.Fatalf("%q is not a process id to kill", id)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
