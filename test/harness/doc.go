// Package harness runs the real Slipway program for end-to-end tests.
//
// A test asks for what it needs and gets it, or ends there:
//
//	srv := harness.Start(t, harness.Options{Args: []string{"--sparse", "all"}})
//	crane := harness.Tool(t, "crane")
//	harness.Run(t, crane, "pull", srv.Host()+"/app:1", "app.tar")
//	srv.Kill()    // as a power cut would
//	srv.Restart() // same address, same data
//
// Everything that a test starts is stopped when the test ends, and the
// server's log is printed when the test fails.
//
// Some tests need programs or rights that a machine may lack: a container
// engine, root. On such a machine they skip and say what is missing. Where
// CI=true or SLIPWAY_TEST_REQUIRE=1 is set, as `make test` does, they fail
// instead: there a skipped test would be a promise that nobody checked.
//
// Variables read here:
//
//	SLIPWAY_BIN           the program under test; default: built from this checkout
//	SLIPWAY_TEST_REQUIRE  1: what is missing is a failure, not a skip
//	SLIPWAY_TEST_LONG     1: run the long variants (`make test-long`)
package harness
