package oci_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"slipway/internal/oci"
)

var (
	dA = "sha256:" + strings.Repeat("a", 64)
	dB = "sha256:" + strings.Repeat("b", 64)
	dC = "sha512:" + strings.Repeat("c", 128)
)

const (
	image  = oci.MediaTypeImageManifest
	index  = oci.MediaTypeImageIndex
	docker = oci.MediaTypeDockerManifest
	list   = oci.MediaTypeDockerList
	old    = oci.MediaTypeArtifactManifest
)

func desc(d string, size int, more string) string {
	return fmt.Sprintf(`{"digest":%q,"size":%d%s}`, d, size, more)
}

var manifests = []struct {
	name, contentType, content string
	want                       oci.Manifest
}{
	{"image", image, `{"schemaVersion":2,"config":` + desc(dA, 1, `,"mediaType":"application/x"`) + `,"layers":[` + desc(dB, 2, "") + `,` + desc(dC, 3, "") + `]}`,
		oci.Manifest{MediaType: image, ArtifactType: "application/x", Edges: []oci.Edge{{oci.EdgeConfig, oci.Digest(dA), 1}, {oci.EdgeLayer, oci.Digest(dB), 2}, {oci.EdgeLayer, oci.Digest(dC), 3}}}},
	{"image without layers", image, `{"schemaVersion":2,"config":` + desc(dA, 1, "") + `}`,
		oci.Manifest{MediaType: image, Edges: []oci.Edge{{oci.EdgeConfig, oci.Digest(dA), 1}}}},
	{"artifactType wins over the configuration's type", image, `{"schemaVersion":2,"artifactType":"text/a","config":` + desc(dA, 1, `,"mediaType":"application/x"`) + `}`,
		oci.Manifest{MediaType: image, ArtifactType: "text/a", Edges: []oci.Edge{{oci.EdgeConfig, oci.Digest(dA), 1}}}},
	{"subject and annotations", image, `{"schemaVersion":2,"subject":` + desc(dB, 5, "") + `,"annotations":{"k":"v"},"config":` + desc(dA, 1, "") + `}`,
		oci.Manifest{MediaType: image, Subject: oci.Digest(dB), Annotations: map[string]string{"k": "v"}, Edges: []oci.Edge{{oci.EdgeConfig, oci.Digest(dA), 1}}}},
	{"the same digest as configuration and layer", image, `{"schemaVersion":2,"config":` + desc(dA, 1, "") + `,"layers":[` + desc(dA, 1, "") + `,` + desc(dA, 1, "") + `]}`,
		oci.Manifest{MediaType: image, Edges: []oci.Edge{{oci.EdgeConfig, oci.Digest(dA), 1}, {oci.EdgeLayer, oci.Digest(dA), 1}}}},
	{"layers that are elsewhere", docker, `{"schemaVersion":2,"config":` + desc(dA, 1, "") + `,"layers":[` + desc(dB, 2, `,"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"`) + `]}`,
		oci.Manifest{MediaType: docker, Edges: []oci.Edge{{oci.EdgeConfig, oci.Digest(dA), 1}, {oci.EdgeForeign, oci.Digest(dB), 2}}}},
	{"index of blobs, as build caches are", index, `{"schemaVersion":2,"manifests":[` + desc(dA, 1, `,"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip"`) + `]}`,
		oci.Manifest{MediaType: index, Edges: []oci.Edge{{oci.EdgeLayer, oci.Digest(dA), 1}}}},
	{"index", index, `{"schemaVersion":2,"artifactType":"text/i","manifests":[` + desc(dA, 1, "") + `]}`,
		oci.Manifest{MediaType: index, ArtifactType: "text/i", Edges: []oci.Edge{{oci.EdgeManifest, oci.Digest(dA), 1}}}},
	{"Docker list", list, `{"schemaVersion":2,"mediaType":"` + list + `","manifests":[]}`, oci.Manifest{MediaType: list}},
	{"type from the document", "", `{"schemaVersion":2,"mediaType":"` + index + `","manifests":[]}`, oci.Manifest{MediaType: index}},
	{"type from the document's shape: index", "", `{"schemaVersion":2,"manifests":[]}`, oci.Manifest{MediaType: index}},
	{"type from the document's shape: image", "application/json", `{"schemaVersion":2,"config":` + desc(dA, 1, "") + `}`,
		oci.Manifest{MediaType: image, Edges: []oci.Edge{{oci.EdgeConfig, oci.Digest(dA), 1}}}},
	{"artifact", old, `{"artifactType":"text/x","blobs":[` + desc(dA, 0, "") + `]}`,
		oci.Manifest{MediaType: old, ArtifactType: "text/x", Edges: []oci.Edge{{oci.EdgeLayer, oci.Digest(dA), 0}}}},
	{"as deep as is allowed", index, `{"schemaVersion":2,"manifests":[],"x":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`, oci.Manifest{MediaType: index}},
	{"brackets in strings are no depth", index, `{"schemaVersion":2,"manifests":[],"x":"` + strings.Repeat(`[\"{`, 500) + `"}`, oci.Manifest{MediaType: index}},
}

func TestParseManifest(t *testing.T) {
	for _, c := range manifests {
		got, err := oci.ParseManifest(c.contentType, []byte(c.content))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s:\n%+v, want\n%+v", c.name, *got, c.want)
		}
	}
}

var badManifests = []struct {
	name, contentType, content string
	code                       oci.Code
}{
	{"nothing", image, ``, oci.CodeManifestInvalid},
	{"null", image, `null`, oci.CodeManifestInvalid},
	{"array", image, `[]`, oci.CodeManifestInvalid},
	{"two documents", index, `{"schemaVersion":2,"manifests":[]}{}`, oci.CodeManifestInvalid},
	{"too deep", index, `{"schemaVersion":2,"manifests":[],"x":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, oci.CodeManifestInvalid},
	{"a million levels", index, strings.Repeat(`{"a":`, 1_000_000), oci.CodeManifestInvalid},
	{"too many entries", index, `{"schemaVersion":2,"manifests":[` + strings.Repeat(desc(dA, 1, "")+",", 50_000) + desc(dA, 1, "") + `]}`, oci.CodeManifestInvalid},
	{"schema 1", "application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1}`, oci.CodeManifestInvalid},
	{"schema 1 as an image", image, `{"schemaVersion":1,"config":` + desc(dA, 1, "") + `}`, oci.CodeManifestInvalid},
	{"types that differ", image, `{"schemaVersion":2,"mediaType":"` + docker + `","config":` + desc(dA, 1, "") + `}`, oci.CodeManifestInvalid},
	{"type unknown", "text/plain", `{"schemaVersion":2,"config":` + desc(dA, 1, "") + `}`, oci.CodeManifestInvalid},
	{"no type at all", "", `{"schemaVersion":2}`, oci.CodeManifestInvalid},
	{"both shapes", image, `{"schemaVersion":2,"config":` + desc(dA, 1, "") + `,"manifests":[]}`, oci.CodeManifestInvalid},
	{"no configuration", image, `{"schemaVersion":2,"layers":[]}`, oci.CodeManifestInvalid},
	{"digest", image, `{"schemaVersion":2,"config":` + desc("sha256:x", 1, "") + `}`, oci.CodeDigestInvalid},
	{"no size", image, `{"schemaVersion":2,"config":{"digest":"` + dA + `"}}`, oci.CodeSizeInvalid},
	{"negative size", image, `{"schemaVersion":2,"config":` + desc(dA, -1, "") + `}`, oci.CodeSizeInvalid},
	{"one digest with two sizes", index, `{"schemaVersion":2,"manifests":[` + desc(dA, 1, "") + `,` + desc(dA, 2, "") + `]}`, oci.CodeSizeInvalid},
	{"subject", index, `{"schemaVersion":2,"manifests":[],"subject":{}}`, oci.CodeDigestInvalid},
}

func TestParseManifestRefuses(t *testing.T) {
	for _, c := range badManifests {
		if m, err := oci.ParseManifest(c.contentType, []byte(c.content)); !oci.HasCode(err, c.code) {
			t.Errorf("%s: %+v, %v, want %s", c.name, m, err, c.code)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	for _, c := range manifests {
		f.Add(c.contentType, []byte(c.content))
	}
	for _, c := range badManifests {
		if len(c.content) < 10_000 {
			f.Add(c.contentType, []byte(c.content))
		}
	}
	f.Fuzz(func(t *testing.T, contentType string, content []byte) {
		m, err := oci.ParseManifest(contentType, content)
		if err != nil {
			if !oci.HasCode(err, oci.CodeManifestInvalid) && !oci.HasCode(err, oci.CodeDigestInvalid) && !oci.HasCode(err, oci.CodeSizeInvalid) {
				t.Errorf("%v has another code", err)
			}
			return
		}
		if !slices.Contains(oci.ManifestMediaTypes, m.MediaType) {
			t.Errorf("media type %q", m.MediaType)
		}
		if m.Subject != "" && !digestOfSpec.MatchString(m.Subject.String()) {
			t.Errorf("subject %q", m.Subject)
		}
		seen := map[oci.Edge]bool{}
		for _, e := range m.Edges {
			if !digestOfSpec.MatchString(e.Digest.String()) || e.Size < 0 || (e.Kind == oci.EdgeManifest && !isIndex(m.MediaType)) || (e.Kind == oci.EdgeConfig && isIndex(m.MediaType)) {
				t.Errorf("edge %+v of a %s", e, m.MediaType)
			}
			if seen[e] {
				t.Errorf("edge %+v is there twice", e)
			}
			seen[e] = true
		}
		// What is stored is parsed again when it is restored, by its own type.
		if again, err := oci.ParseManifest(m.MediaType, content); err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("by its own media type: %+v, %v, before %+v", again, err, m)
		}
	})
}

func TestTrimMediaType(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "text/plain": "text/plain", "text/plain; charset=utf-8": "text/plain", "Text/Plain ;x=y": "text/plain", "text/plain; charset": "text/plain", "text/plain;;;": "text/plain", " text/plain ": "text/plain",
	} {
		if got := oci.TrimMediaType(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

func isIndex(mediaType string) bool {
	return mediaType == oci.MediaTypeImageIndex || mediaType == oci.MediaTypeDockerList
}
