// Package trust checks 'slipway trust' between two hosts: a registry with a
// certificate of a private authority on one, real clients in their default
// configuration on the other. Each client is refused before, with its own x509
// message, and pulls after, with no restart where the guide promises none.
//
// The hosts are network namespaces. The clients' host is the one of
// [slipway/test/harness.Isolate], with an /etc of its own on top of the machine's.
package trust
