// Package examples builds the projects in examples/ as their guide tells people
// to, on a real server: base images, tests, services beside the tests, images,
// tags. It needs the network, since the examples fetch what they are made of.
package examples
