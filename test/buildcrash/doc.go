// Package buildcrash tests that a build which is cut off leaves nothing behind:
// no tag that moved, no process, no mount, no network interface, no pin; and that
// the next run works.
//
// The server, buildkitd and the client are killed at chosen and at random moments
// of real builds, in namespaces of the tests' own, where everything that is left
// can be seen.
//
//	TestKilledInStep     in the midst of a RUN that never ends
//	TestKilledAnywhere   at random moments, while two images are built and published
//	TestStop...          SIGTERM while a build goes on
//
// SLIPWAY_TEST_SEED is the seed of a run, which it prints.
package buildcrash
