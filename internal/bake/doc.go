// Package bake reads what a project builds: a bake file, the build sections of
// a compose file, or a plain Dockerfile become Targets. It changes nothing,
// runs nothing of the project and contacts nobody.
//
// Bake and compose files are programs of a kind: they have variables and
// functions, look at the process's environment and follow includes. They are
// therefore read by buildx's own code in a child process that has an empty
// environment and sees the checkout as its whole file system. The child is the
// program slipway-bake, which is package reader; a Reader keeps one started
// ahead. What it answers is checked: every path leads to a place within the
// checkout.
//
// A Dockerfile is analysed in process by BuildKit's own parser, for what a
// build depends on: which images, which parts of which context, which
// arguments. The analysis is conservative: what cannot be known counts as used.
package bake
