// Package bench measures a registry through the OCI distribution API and
// nothing else, so that the same numbers can be had from any registry.
//
// A [Bench] is opened on one registry. Each workload is prepared once, outside
// the clock, and can then be measured any number of times: workers repeat one
// operation for a while, and every answer is checked before it counts. A pulled
// blob is compared byte for byte with what was pushed, a page of tags name for
// name with the tags that were made, and a sample of what a workload pushed is
// read back after the clock has stopped. An answer that is wrong is an error,
// however fast it came.
//
// The client shares the machine with the server it measures, so it does as
// little as it can. Layers are random bytes with a unique tail: the hash of the
// random part is computed once and only continued over the tail, so a digest
// is that of the true bytes at the cost of one block. Bytes that come back are
// compared, which is cheaper and stricter than hashing them. Workers use
// HTTP/1.1 and keep their connections.
package bench
