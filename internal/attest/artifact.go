package attest

import v1 "github.com/opencontainers/image-spec/specs-go/v1"

// ArtifactOptions says what an artifact manifest holds.
type ArtifactOptions struct {
	ArtifactType string
	Subject      v1.Descriptor
	Layers       []v1.Descriptor
	Annotations  map[string]string
}

// Artifact is an OCI 1.1 artifact manifest: an empty config (v1.DescriptorEmptyJSON, a
// blob that the repository must hold), layers, and the subject.
func Artifact(a ArtifactOptions) []byte { return nil }

// Index is an OCI image index of manifests, one for each platform, sorted by
// platform.
func Index(manifests []v1.Descriptor, annotations map[string]string) []byte { return nil }
