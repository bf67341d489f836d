// Package buildcli tests `slipway build` and `slipway logs` as people and scripts
// use them: real programs, real builds, exit codes, and what is said.
//
//	TestBuild          one server after the other kinds of request, by its socket
//	TestWithoutServer  the command builds by itself
//	TestRemote...      a folder or a git URL is sent to a server
//	TestServer...      what servers refuse
//
// Builds are of busybox, so that each takes a second.
package buildcli
