// Package attest writes the documents that say where an image came from, and
// the manifests that attach them to it. It signs, stores and fetches nothing.
//
// Three documents are about one image: its provenance (Statement), the list of
// inputs that its input digest was computed from, and the record of the run.
// Each is a blob; an artifact manifest (Artifact) holds it as its one layer
// and names the image as its subject, which makes it a referrer: found through
// the image's digest, gone with the image, and no part of it. The image's own
// digest therefore depends on its inputs alone.
//
// All documents are deterministic: equal arguments give equal bytes.
package attest

// Media types of documents. Each is the layer's media type and the artifact's
// type.
const (
	MediaTypeProvenance = "application/vnd.in-toto+json"
	MediaTypeInputs     = "application/vnd.slipway.inputs.v1+json"
	MediaTypeRun        = "application/vnd.slipway.run.v1+json"
)

// AnnotationPredicateType tells what an in-toto statement states, without
// opening it: on a provenance layer, and on its manifest so that a listing of
// referrers shows it.
const AnnotationPredicateType = "in-toto.io/predicate-type"

// What a statement of ours says it is.
const (
	StatementType = "https://in-toto.io/Statement/v1"
	PredicateType = "https://slsa.dev/provenance/v1"
)

// BuildType is the buildType of every provenance, described in
// docs/build-type.md. It is a name and no address: whoever owned its domain
// could redefine it.
const BuildType = "urn:slipway:build-type:v1"
