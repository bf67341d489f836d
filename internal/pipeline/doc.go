// Package pipeline turns a project into published images, and does no more
// than it has to.
//
// A Run reads the project, and for every target and platform resolves each
// base image to a digest and computes the input digest: a hash over everything
// that decides what the build will give. An image that was made from the same
// inputs before is reused, by its digest. The inputs are kept as a list, so
// that "why was this built?" is answered by comparing two lists.
//
// What is not known yet is built by a Solver, straight from and into our
// Store. Tests go first and hold back the tags of what they gate. At the end
// all tags of the run move in one transaction: either everybody sees the whole
// run, or nobody sees any of it.
//
// The package knows neither the registry nor the builder. It declares what it
// needs of them (Store, Resolver, Publisher, Solver), and others provide it.
package pipeline
