package git

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestCancelKillsTheGroup(t *testing.T) {
	s := newServer(t)
	s.hang = make(chan struct{})
	o := s.options("x", "")
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stopped by a test")
	asked := func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.seen) > 0 }
	done := make(chan error, 1)
	go func() { _, err := Fetch(ctx, o); done <- err }()
	for !asked() {
		time.Sleep(time.Millisecond) // until git's helper waits for an answer
	}
	cancel(stop)
	select {
	case err := <-done:
		if !errors.Is(err, stop) {
			t.Errorf("got %v", err)
		}
	case <-time.After(grace + 10*time.Second):
		t.Fatal("it goes on")
	}
	// The helper has the address among its arguments.
	deadline := time.Now().Add(10 * time.Second)
	for {
		out, _ := exec.Command("ps", "-eo", "args").Output()
		if !strings.Contains(string(out), o.URL.Remote) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("processes are left:\n%s", out)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
