// Package source makes the checkout that a run builds from: of a folder on
// this machine, of a git URL, or of an archive that a client sent.
package source
