package attest

import (
	"cmp"
	"slices"

	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// ArtifactOptions says what an artifact manifest holds.
type ArtifactOptions struct {
	ArtifactType string          // one of this package's media types, or any other
	Subject      v1.Descriptor   // without a digest: none, the artifact stands by itself
	Layers       []v1.Descriptor // in this order; none becomes the empty one, as the specification advises
	Annotations  map[string]string
}

// Artifact is an OCI 1.1 artifact manifest (image-spec, "Guidelines for
// Artifact Usage"): an empty config, layers, and the subject, of which only
// media type, digest and size are kept. There is no time in it unless an
// annotation gives one. The repository must hold the config's blob, whose two
// bytes are v1.DescriptorEmptyJSON.Data, before it accepts the manifest.
//
// Who finds it by which artifact type:
//
//   - Listings of referrers (oras discover, regctl artifact list) show
//     any type; they filter by what is asked for, and MediaTypeProvenance is
//     what they are told for an unsigned in-toto statement.
//   - cosign verify-attestation (with --new-bundle-format) and gh attestation
//     verify --bundle-from-oci look for "application/vnd.dev.sigstore.bundle.v0.3+json",
//     whose layer is a signed Sigstore bundle, and pass over anything unsigned:
//     such a bundle is a further referrer, made by who holds the key.
//   - docker buildx imagetools and Docker Scout read attestations inside the
//     index: manifests of type "application/vnd.docker.attestation.manifest.v1+json"
//     with the annotation vnd.docker.reference.type. They see no referrers.
func Artifact(a ArtifactOptions) []byte {
	layers := a.Layers
	if len(layers) == 0 {
		layers = []v1.Descriptor{emptyLayer()}
	}
	var subject *v1.Descriptor
	if a.Subject.Digest != "" {
		subject = &v1.Descriptor{MediaType: a.Subject.MediaType, Digest: a.Subject.Digest, Size: a.Subject.Size}
	}
	return mustMarshal(v1.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    v1.MediaTypeImageManifest,
		ArtifactType: a.ArtifactType,
		Config:       emptyLayer(),
		Layers:       layers,
		Subject:      subject,
		Annotations:  a.Annotations,
	})
}

func emptyLayer() v1.Descriptor {
	d := v1.DescriptorEmptyJSON
	d.Data = nil // both forms are allowed; the bytes are in the repository anyway
	return d
}

// Index is an OCI image index of manifests, one for each platform, in the
// order of their platforms as they are written: linux/amd64 comes before
// linux/arm/v7 and linux/arm64. Those without a platform are last, by digest.
func Index(manifests []v1.Descriptor, annotations map[string]string) []byte {
	list := slices.Clone(manifests)
	if list == nil {
		list = []v1.Descriptor{}
	}
	slices.SortStableFunc(list, func(a, b v1.Descriptor) int {
		return cmp.Or(comparePlatforms(a.Platform, b.Platform), cmp.Compare(a.Digest, b.Digest))
	})
	return mustMarshal(v1.Index{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   v1.MediaTypeImageIndex,
		Manifests:   list,
		Annotations: annotations,
	})
}

func comparePlatforms(a, b *v1.Platform) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return cmp.Or(
		cmp.Compare(a.OS, b.OS),
		cmp.Compare(a.Architecture, b.Architecture),
		cmp.Compare(a.Variant, b.Variant),
		cmp.Compare(a.OSVersion, b.OSVersion),
		slices.Compare(a.OSFeatures, b.OSFeatures),
	)
}

// mustMarshal is for types of strings, numbers and maps of strings, of which
// there is always JSON.
func mustMarshal(v any) []byte {
	content, err := marshal(v)
	if err != nil {
		panic(err)
	}
	return content
}
