//go:build linux

package buildcrash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway/test/check"
	"slipway/test/harness"
)

// victims are who may be struck, and how a build that they cut off may end: the
// states of the run, and the exit codes of the client.
var victims = []struct {
	name   string
	strike func(*site, *harness.Client)
	states []string
	exits  []int
}{
	{"server", func(s *site, _ *harness.Client) { s.srv.Kill() }, []string{"interrupted"}, []int{1}},
	{"buildkitd", func(s *site, _ *harness.Client) { s.killDaemon() }, []string{"failed"}, []int{6}},
	{"client", func(_ *site, c *harness.Client) { c.Signal(syscall.SIGKILL) }, []string{"cancelled"}, []int{-1}},
	{"Ctrl-C", func(_ *site, c *harness.Client) { c.Signal(syscall.SIGINT) }, []string{"cancelled"}, []int{130}},
}

// killDaemon kills buildkitd, if it runs.
func (s *site) killDaemon() {
	for _, pid := range processes("buildkitd\x00--config") {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			s.Fatal(err)
		}
	}
}

// TestKilledInStep strikes while a step runs that would never end.
func TestKilledInStep(t *testing.T) {
	s := newSite(t)
	s.mustBuild("first")
	for i, v := range victims {
		t.Run(v.name, func(t *testing.T) {
			s := &site{t, s.srv, s.dir, s.interfaces}
			before, earlier := s.published(), s.last()
			marker := fmt.Sprintf("sleep\x00%d", 1_000_000+i)
			s.program(fmt.Sprintf("setsid sleep %d & sleep %d", 1_000_000+i, 1_000_000+i))
			c := s.build()
			harness.Until(t, "the step of both images runs", 60*time.Second, func() error {
				if n := len(processes(marker)); n < 4 {
					return fmt.Errorf("%d processes\n%s", n, c.Stderr())
				}
				return nil
			})
			v.strike(s, c)
			if code := c.Exit(); !has(v.exits, code) {
				t.Errorf("exit code %d, want one of %v\n%s", code, v.exits, c.Stderr())
			}
			t.Logf("the client says: %s", lastLine(c.Stderr()))
			s.nothingLeft(marker, v.name == "server")
			if v.name == "server" {
				s.srv.Restart()
			}
			r := s.settled()
			if r.Number != earlier.Number+1 || !has(v.states, r.State) || len(r.Tags) > 0 {
				t.Errorf("the run is %+v after %d, want one of %v", r, earlier.Number, v.states)
			}
			if after := s.published(); after != before {
				t.Errorf("tags moved: %v, then %v", before, after)
			}
			s.mustBuild("after " + v.name)
			if held := s.pins(); len(held) > 0 {
				t.Errorf("pins are left: %v", held)
			}
		})
	}
	s.srv.Stop()
	s.nothingLeft("sleep\x001000", true)
	t.Logf("in the end: %s", check.Folder(t, s.srv.Data(), check.Options{}))
	s.srv.Restart()
}

// TestKilledAnywhere strikes at random moments of builds that would succeed. A
// run either passed, and then all its tags have moved, or none has.
func TestKilledAnywhere(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SLIPWAY_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("SLIPWAY_TEST_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	rounds := 10
	if harness.Long() {
		rounds = 120
	}
	s := newSite(t)
	began := time.Now()
	s.mustBuild("first")
	length := time.Since(began)
	ended := map[string]int{}
	for i := range rounds {
		v := victims[i%len(victims)]
		before, earlier := s.published(), s.last()
		s.program(fmt.Sprintf("echo round %d of $STEP >/content; dd if=/dev/urandom of=/bulk bs=1M count=4 2>/dev/null", i))
		begin := time.Now()
		c := s.build()
		moment := time.Duration(r.Int64N(int64(length)))
		time.Sleep(moment)
		v.strike(s, c)
		code := c.Exit()
		whole := time.Since(begin)
		if v.name == "server" {
			s.nothingLeft("/bulk", true)
			s.srv.Restart()
		}
		now, after := s.settled(), s.published()
		what := fmt.Sprintf("round %d: %s struck after %v: the run is %+v, exit code %d, the tags were %v and are %v", i, v.name, moment.Round(time.Millisecond), now, code, before, after)
		switch {
		case now.Number == earlier.Number: // it had not begun
			if after != before {
				t.Errorf("%s: nothing ran", what)
			}
			ended["not begun"]++
		case now.State == "passed":
			if after[0] == before[0] || after[1] == before[1] {
				t.Errorf("%s: it passed", what)
			}
			length = min(length, whole)
			ended["passed"]++
		default:
			if after != before {
				t.Errorf("%s: it did not pass", what)
			}
			if !has(v.states, now.State) {
				t.Errorf("%s: want one of %v\n%s", what, v.states, c.Stderr())
			}
			ended[now.State]++
		}
		if code == 0 && now.State != "passed" {
			t.Errorf("%s: the client was told of a success", what)
		}
		s.nothingLeft("/bulk", false)
		if i%3 == 2 {
			s.mustBuild(fmt.Sprintf("after round %d", i))
			if held := s.pins(); len(held) > 0 {
				t.Errorf("%s: pins are left: %v", what, held)
			}
		}
		if t.Failed() {
			break
		}
	}
	s.mustBuild("in the end")
	s.srv.Stop()
	s.nothingLeft("/bulk", true)
	t.Logf("%v; in the end %s", ended, check.Folder(t, s.srv.Data(), check.Options{}))
	s.srv.Restart()
}

func has[T comparable](list []T, v T) bool {
	for _, w := range list {
		if v == w {
			return true
		}
	}
	return false
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
