// Package oci holds the vocabulary of the OCI distribution and image
// specifications that every other package speaks: names of repositories and
// tags, digests, media types, what a manifest points at, and the error codes.
//
// Everything here is pure: it parses and checks text that came from outside
// and does no input or output. It imports nothing else of Slipway.
package oci
