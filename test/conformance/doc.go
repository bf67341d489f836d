// Package conformance runs the OCI Distribution Specification's own conformance
// suite against a fresh server, with every API and every kind of data switched
// on and at the newest version of the specification. Nothing may fail and
// nothing may be skipped.
package conformance
