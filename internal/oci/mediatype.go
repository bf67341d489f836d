package oci

import (
	"mime"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of manifests that are stored and served.
const (
	MediaTypeImageManifest    = v1.MediaTypeImageManifest
	MediaTypeImageIndex       = v1.MediaTypeImageIndex
	MediaTypeDockerManifest   = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerList       = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeArtifactManifest = "application/vnd.oci.artifact.manifest.v1+json" // image-spec 1.1 release candidates; still pushed by old tools

	mediaTypeDockerSchema1       = "application/vnd.docker.distribution.manifest.v1+json"
	mediaTypeDockerSchema1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// ManifestMediaTypes lists what a manifest PUT accepts.
var ManifestMediaTypes = []string{
	MediaTypeImageManifest, MediaTypeImageIndex,
	MediaTypeDockerManifest, MediaTypeDockerList,
	MediaTypeArtifactManifest,
}

// TrimMediaType drops parameters such as charset, which the specification
// tells registries to ignore. What cannot be parsed is returned as it stands.
func TrimMediaType(contentType string) string {
	if t, _, err := mime.ParseMediaType(contentType); err == nil {
		return t
	}
	t, _, _ := strings.Cut(contentType, ";")
	return strings.TrimSpace(t)
}

// Non-distributable ("foreign") layers are fetched from their own URLs and
// need not be in the registry.
func isNonDistributable(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/vnd.oci.image.layer.nondistributable.v1.") ||
		mediaType == "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" ||
		mediaType == "application/vnd.docker.image.rootfs.foreign.diff.tar"
}
