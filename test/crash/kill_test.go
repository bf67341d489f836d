//go:build linux

package crash

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"slipway/test/check"
	"slipway/test/harness"
)

// crew is the workers of a test and what they know.
type crew struct {
	t       reporter
	seed    uint64
	ledger  *ledger
	layers  [][]byte
	serials []int
	mayFail bool
	// what the test did, for its report
	operations, facts, freed, rounds int
}

const workers = 4

func newCrew(t reporter, seed uint64) *crew {
	return &crew{t: t, seed: seed, ledger: newLedger(), layers: sharedLayers(newRand(seed, -1)), serials: make([]int, workers)}
}

// work lets workers and a collector loose on a server, calls crash after a
// while, and returns when all have noticed.
func (c *crew) work(url string, r *rand.Rand, crash func()) {
	stop := make(chan struct{})
	var running sync.WaitGroup
	list := make([]*worker, workers)
	for i := range list {
		cl := newClient(url)
		list[i] = &worker{t: c.t, id: i, rand: rand.New(rand.NewPCG(r.Uint64(), uint64(i))), client: cl, ledger: c.ledger, layers: c.layers, mayFail: c.mayFail, serial: c.serials[i]}
		running.Go(func() {
			defer cl.close()
			list[i].run(stop)
		})
	}
	collector, cr := newClient(url), rand.New(rand.NewPCG(r.Uint64(), workers))
	running.Go(func() {
		defer collector.close()
		c.freed += collect(c.t, collector, cr, c.mayFail, stop)
	})
	time.Sleep(time.Duration(50+r.IntN(650)) * time.Millisecond)
	crash()
	close(stop)
	running.Wait()
	for i, w := range list {
		c.serials[i] = w.serial
		c.operations += w.done
	}
	c.rounds++
}

// verify compares a server, on which nothing changes, with the ledger.
func (c *crew) verify(url string, died time.Time, r *rand.Rand) {
	cl := newClient(url)
	defer cl.close()
	c.facts += verify(c.t, cl, c.ledger, died, r)
}

func (c *crew) String() string {
	return fmt.Sprintf("%d rounds, %d operations, %d acknowledged changes, %d facts checked, %d blobs freed by collection", c.rounds, c.operations, c.ledger.acknowledged, c.facts, c.freed)
}

// TestKill kills the server at random moments of pushes, deletions and
// collections, and goes on with the same data.
func TestKill(t *testing.T) {
	s := seed(t)
	r := newRand(s, 0)
	c := newCrew(t, s)
	srv := harness.Start(t, harness.Options{Args: quietArgs})
	for range rounds(25, 200) {
		srv.SetArgs(serveArgs...)
		srv.Restart()
		var died time.Time
		c.work(srv.URL(), r, func() {
			srv.Kill()
			died = time.Now()
		})
		// What the crash left, before any server has seen it.
		check.Folder(t, srv.Data(), check.Options{})
		srv.SetArgs(quietArgs...)
		srv.Restart()
		c.verify(srv.URL(), died, r)
		if t.Failed() {
			break
		}
	}
	srv.Stop()
	report := check.Folder(t, srv.Data(), check.Options{})
	t.Logf("%s; at the end %s", c, report)
	if c.freed == 0 && !t.Failed() {
		t.Error("collection freed no blob in all the rounds: the test did not test it")
	}
}
