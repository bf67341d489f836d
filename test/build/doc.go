// Package build proves the promises of building against the real builder: a
// registry, the pipeline and a buildkitd, with nothing made up between them.
//
// The heart of it is TestChanges. It asks two judges about every change of a
// project: Slipway, whether the image is to be built anew, and BuildKit, by
// solving the changed project as docker buildx would, whether any step ran or
// the image is another one. Building without need costs a moment and has to be
// accounted for; reusing what BuildKit would have made otherwise is the worst
// defect that Slipway could have.
package build
