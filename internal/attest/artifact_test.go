package attest_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/internal/attest"
	"slipway/internal/oci"
)

func TestArtifact(t *testing.T) {
	subject := v1.Descriptor{MediaType: oci.MediaTypeImageIndex, Digest: digest("a"), Size: 10, Platform: &v1.Platform{OS: "linux"}, Annotations: map[string]string{"x": "y"}}
	note := map[string]string{attest.AnnotationPredicateType: attest.PredicateType}
	content := attest.Artifact(attest.ArtifactOptions{
		ArtifactType: attest.MediaTypeProvenance,
		Subject:      subject,
		Layers:       []v1.Descriptor{{MediaType: attest.MediaTypeProvenance, Digest: digest("b"), Size: 20, Annotations: note}},
		Annotations:  note,
	})
	const want = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.in-toto+json",` +
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},` +
		`"layers":[{"mediaType":"application/vnd.in-toto+json","digest":"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","size":20,"annotations":{"in-toto.io/predicate-type":"https://slsa.dev/provenance/v1"}}],` +
		`"subject":{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":10},` +
		`"annotations":{"in-toto.io/predicate-type":"https://slsa.dev/provenance/v1"}}`
	if string(content) != want {
		t.Errorf("%s\nwant\n%s", content, want)
	}
	m, err := oci.ParseManifest("", content)
	if err != nil || m.Subject != subject.Digest || m.ArtifactType != attest.MediaTypeProvenance || len(m.Edges) != 2 {
		t.Errorf("the registry reads it as %+v, %v", m, err)
	}
	if oci.FromBytes(oci.SHA256, v1.DescriptorEmptyJSON.Data) != v1.DescriptorEmptyJSON.Digest {
		t.Error("the empty config's bytes are not those of its digest")
	}
}

func TestArtifactWithoutLayers(t *testing.T) {
	content := attest.Artifact(attest.ArtifactOptions{ArtifactType: attest.MediaTypeRun, Subject: v1.Descriptor{MediaType: oci.MediaTypeImageManifest, Digest: digest("a"), Size: 1}})
	var m v1.Manifest
	if err := json.Unmarshal(content, &m); err != nil || len(m.Layers) != 1 || m.Layers[0].MediaType != v1.MediaTypeEmptyJSON || len(m.Annotations) != 0 {
		t.Errorf("%s, %v", content, err)
	}
}

func TestIndex(t *testing.T) {
	platforms := []*v1.Platform{
		{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm", Variant: "v6"}, {OS: "linux", Architecture: "arm", Variant: "v7"},
		{OS: "linux", Architecture: "arm64"}, {OS: "windows", Architecture: "amd64", OSVersion: "10.0.1"}, {OS: "windows", Architecture: "amd64", OSVersion: "10.0.2"}, nil, nil,
	}
	var list []v1.Descriptor
	for i, p := range platforms {
		list = append(list, v1.Descriptor{MediaType: oci.MediaTypeImageManifest, Digest: digest(string("01234567"[i])), Size: 1, Platform: p})
	}
	want := attest.Index(list, map[string]string{"b": "1", "a": "2"})
	var index v1.Index
	if err := json.Unmarshal(want, &index); err != nil {
		t.Fatal(err)
	}
	for i, d := range index.Manifests {
		if d.Digest != list[i].Digest {
			t.Errorf("at %d: %+v", i, d)
		}
	}
	for range len(list) {
		list = slices.Concat(list[1:], list[:1])
		first := list[0].Digest
		if got := attest.Index(list, map[string]string{"a": "2", "b": "1"}); !bytes.Equal(got, want) || list[0].Digest != first {
			t.Errorf("in another order: %s", got)
		}
	}
	if m, err := oci.ParseManifest("", want); err != nil || len(m.Edges) != len(list) {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := oci.ParseManifest("", attest.Index(nil, nil)); err != nil {
		t.Errorf("of nothing: %v", err)
	}
}
