//go:build linux

package crash

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"slipway/test/harness"
)

// Mounts and loop devices end with the namespaces of the tests, also when the
// tests are killed.
func TestMain(m *testing.M) { os.Exit(harness.Isolate(m)) }

// seed is the start of all that is random in a test. The same seed gives the
// same operations; what they meet depends on the machine.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	if s := os.Getenv("SLIPWAY_TEST_SEED"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SLIPWAY_TEST_SEED: %v", err)
		}
	}
	t.Logf("SLIPWAY_TEST_SEED=%d", n)
	return n
}

func newRand(seed uint64, stream int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(stream)))
}

// rounds is how many rounds a test runs: normal, or long where that is asked for.
func rounds(normal, long int) int {
	if harness.Long() {
		return long
	}
	return normal
}
