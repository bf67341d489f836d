// Package crash tests the promise that nothing acknowledged is lost and nothing
// served is wrong, whatever happens to the server or to its disk.
//
// Workers push, delete and collect through the public API and write down what
// the server acknowledged, and what was under way when it died: the ledger.
// After the crash the data folder itself is checked (package check), the server
// is started on it, and everything it answers is compared with the ledger. An
// operation that was acknowledged must have happened, one that was under way
// may have.
//
//	TestKill         SIGKILL at a random moment, many rounds on the same data
//	TestPowerCut     the disk loses what was not synced; see disk_test.go
//	TestDiskFull...  no space, by the reserve and for real
//	TestReadOnly...  a disk that is remounted read-only
//	TestIOErrors     a disk that fails every access
//	TestWriteErrors  a disk whose writes begin to fail under load
//
// Variables read here, beside those of package harness:
//
//	SLIPWAY_TEST_SEED  the seed of a run, which it prints
package crash
