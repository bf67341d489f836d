// Package clients checks that the programs people use with a registry work with
// Slipway: Docker Engine, podman, buildah, skopeo, crane, oras and regctl, each
// as it is packaged.
//
// One file per client holds what that client alone does: its uploads, copies,
// indexes, deletions and referrers. matrix_test.go pushes one image with each
// client and pulls every one with each: the digest must be the same at both ends.
//
// The tests run in namespaces of their own, see [slipway/test/harness.Isolate].
package clients
