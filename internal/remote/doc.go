// Package remote is the command line's work on any registry that speaks the
// OCI distribution protocol: list, inspect, copy, tag, delete, and move images
// between registries and files.
//
// # Model
//
// A [Client] holds what all work shares: credentials, the transport and its
// limits, the number of parallel transfers. References go in as text, data
// structures come out; printing is the caller's.
//
// Everything that moves an image is one algorithm, [copier], between a source
// and a sink. A source yields manifests and blobs by digest: a repository, an
// OCI layout (folder or tar), or an image built from an archive. A sink takes
// them: a repository or an OCI layout. The copier walks from a root manifest,
// writes blobs first, then the manifest that names them, then the tag, so what
// it leaves behind after a failure is never an image with holes. Manifests are
// written with the exact bytes that were read, so digests do not change.
//
// # Trust
//
// What a registry or a file says is checked before it is used: the digest and
// the size of every manifest and blob, the media type against the content, the
// length of answers that are held in memory. Text from a registry may hold
// terminal control sequences; [CleanText] removes them before text is printed.
//
// # Errors
//
// A failed operation returns an [*Error]: one line that says what was tried on
// what, what happened, and what to do next. A malformed reference matches
// [ErrInvalid].
package remote
