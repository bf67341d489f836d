//go:build linux

package buildcrash

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway/test/harness"
)

// TestStopWaits: a build that ends within the drain time is published, though
// SIGTERM came while it ran.
func TestStopWaits(t *testing.T) {
	s := newSite(t)
	s.mustBuild("first")
	before := s.published()
	s.program("echo done >/content; sleep 3.00021")
	c := s.build()
	s.untilRuns(c, "sleep\x003.00021")
	s.srv.Stop() // exit code 0
	if code := c.Exit(); code != 0 {
		t.Errorf("exit code %d\n%s", code, c.Stderr())
	}
	s.nothingLeft("sleep\x003.00021", true)
	s.srv.Restart()
	if r, after := s.last(), s.published(); r.State != "passed" || after == before {
		t.Errorf("the run is %+v, the tags were %v and are %v", r, before, after)
	}
}

// TestStopCancels: a build that does not end within the drain time is cancelled
// as Ctrl-C would, and recorded as such.
func TestStopCancels(t *testing.T) {
	s := newSite(t, "--drain", "1s")
	s.mustBuild("first")
	before := s.published()
	s.program("sleep 1000021")
	c := s.build()
	s.untilRuns(c, "sleep\x001000021")
	began := time.Now()
	s.srv.Stop()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("stopping took %v with a drain time of 1 s", took)
	}
	if code := c.Exit(); code == 0 {
		t.Errorf("exit code %d\n%s", code, c.Stderr())
	}
	t.Logf("the client says: %s", lastLine(c.Stderr()))
	s.nothingLeft("sleep\x001000021", true)
	s.srv.Restart()
	if r, after := s.last(), s.published(); r.State != "cancelled" || after != before {
		t.Errorf("the run is %+v, the tags were %v and are %v", r, before, after)
	}
	if held := s.pins(); len(held) > 0 {
		t.Errorf("pins are left: %v", held)
	}
	log := harness.Run(t, harness.Binary(t), "logs", "crash", "--data", s.srv.Data())
	if !strings.Contains(log, "Finished: cancelled") {
		t.Errorf("its log does not say so:\n%s", log)
	}
	s.mustBuild("again")
}

// TestStoppedWithoutServer: a build without a server ends with its process, by
// whatever means.
func TestStoppedWithoutServer(t *testing.T) {
	s := newSite(t)
	s.mustBuild("first")
	before := s.published()
	s.srv.Stop()
	for i, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		marker := fmt.Sprintf("sleep\x00%d", 1000031+i)
		s.program(fmt.Sprintf("sleep %d", 1000031+i))
		c := s.build("--mirror.offline")
		s.untilRuns(c, marker)
		c.Signal(sig)
		want, state := 130, "cancelled"
		if sig == syscall.SIGKILL {
			want, state = -1, "interrupted"
		}
		if code := c.Exit(); code != want {
			t.Errorf("%v: exit code %d, want %d\n%s", sig, code, want, c.Stderr())
		}
		s.nothingLeft(marker, true)
		if r, after := s.last(), s.published(); r.State != state || after != before {
			t.Errorf("%v: the run is %+v, want %s; the tags were %v and are %v", sig, r, state, before, after)
		}
	}
	s.srv.Restart()
	s.mustBuild("again")
}

func (s *site) untilRuns(c *harness.Client, marker string) {
	s.Helper()
	harness.Until(s.T, "the step runs", 60*time.Second, func() error {
		if len(processes(marker)) == 0 {
			return fmt.Errorf("it does not\n%s", c.Stderr())
		}
		return nil
	})
}
