package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// EdgeKind says what a manifest uses another piece of content for.
type EdgeKind string

// What an edge may be.
const (
	EdgeConfig   EdgeKind = "config"
	EdgeLayer    EdgeKind = "layer"    // layers, and the blobs of an artifact manifest
	EdgeManifest EdgeKind = "manifest" // child of an index
	EdgeForeign  EdgeKind = "foreign"  // a non-distributable layer: kept if it is here, not required
)

// Edge is a descriptor that a manifest holds and that its repository must
// hold too, except for non-distributable layers. The subject is not an edge.
type Edge struct {
	Kind   EdgeKind
	Digest Digest
	Size   int64
}

// Manifest is what the registry needs to know of a manifest. The bytes that a
// client sent are stored and served as they are; this is only derived.
type Manifest struct {
	MediaType    string
	ArtifactType string // by the referrers rule: artifactType, else an image's config media type
	Subject      Digest // empty without a subject
	Annotations  map[string]string
	Edges        []Edge // in the order of the document, each digest once per kind
}

// Limits of a manifest's shape, far above any real image.
const (
	maxManifestDepth = 64
	maxEdges         = 50_000
	maxArtifactType  = 255 // bytes, as RFC 6838 bounds media types; listings repeat it
)

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      *int64 `json:"size"`
}

type document struct {
	SchemaVersion *int              `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *descriptor       `json:"config"`
	Layers        *[]descriptor     `json:"layers"`
	Manifests     *[]descriptor     `json:"manifests"`
	Blobs         []descriptor      `json:"blobs"`
	Subject       *descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// ParseManifest checks a manifest and lists what it points at. contentType is
// the request's Content-Type, without parameters, and may be empty when the
// document says its own media type. Errors are MANIFEST_INVALID, or
// DIGEST_INVALID and SIZE_INVALID for a descriptor, and name the field.
func ParseManifest(contentType string, content []byte) (*Manifest, error) {
	if err := checkDepth(content); err != nil {
		return nil, err
	}
	var doc document
	if err := json.Unmarshal(content, &doc); err != nil {
		return nil, invalid("the manifest is not valid JSON of its type: %v", err)
	}
	mediaType, err := decideMediaType(contentType, &doc)
	if err != nil {
		return nil, err
	}
	m := &Manifest{MediaType: mediaType, ArtifactType: doc.ArtifactType, Annotations: doc.Annotations}
	if mediaType != MediaTypeArtifactManifest && (doc.SchemaVersion == nil || *doc.SchemaVersion != 2) {
		return nil, invalid("schemaVersion must be 2")
	}
	switch mediaType {
	case MediaTypeImageManifest, MediaTypeDockerManifest:
		err = m.addImage(&doc)
	case MediaTypeImageIndex, MediaTypeDockerList:
		err = m.addIndex(&doc)
	case MediaTypeArtifactManifest:
		err = m.addDescriptors("blobs", EdgeLayer, doc.Blobs)
	}
	if err != nil {
		return nil, err
	}
	if len(m.ArtifactType) > maxArtifactType {
		return nil, invalid("the artifact type, or the config's media type in its place, has %d bytes; the limit is %d", len(m.ArtifactType), maxArtifactType)
	}
	if doc.Subject != nil {
		e, err := doc.Subject.edge("subject", "")
		if err != nil {
			return nil, err
		}
		m.Subject = e.Digest
	}
	return m, nil
}

// decideMediaType reconciles the header with the document, which must agree
// where both speak.
func decideMediaType(contentType string, doc *document) (string, error) {
	mediaType := contentType
	if mediaType == "" || mediaType == "application/octet-stream" || mediaType == "application/json" {
		mediaType = doc.MediaType
	}
	if mediaType == "" {
		switch {
		case doc.Manifests != nil:
			mediaType = MediaTypeImageIndex
		case doc.Layers != nil || doc.Config != nil:
			mediaType = MediaTypeImageManifest
		}
	}
	if mediaType == mediaTypeDockerSchema1 || mediaType == mediaTypeDockerSchema1Signed || (doc.SchemaVersion != nil && *doc.SchemaVersion == 1) {
		return "", invalid("Docker schema 1 manifests are not accepted: push with Docker 1.10 or newer, or convert the image first")
	}
	if !slices.Contains(ManifestMediaTypes, mediaType) {
		return "", invalid("media type %q is not a manifest: set Content-Type to one of %s", clip(mediaType), strings.Join(ManifestMediaTypes, ", "))
	}
	if doc.MediaType != "" && doc.MediaType != mediaType {
		return "", invalid("Content-Type is %q but the manifest's mediaType is %q: send the same in both", mediaType, clip(doc.MediaType))
	}
	return mediaType, nil
}

func (m *Manifest) addImage(doc *document) error {
	if doc.Manifests != nil {
		return invalid("an image manifest must not have a list of manifests; push it as an index")
	}
	if doc.Config == nil {
		return invalid("config is missing")
	}
	if err := m.addDescriptors("config", EdgeConfig, []descriptor{*doc.Config}); err != nil {
		return err
	}
	if m.ArtifactType == "" {
		m.ArtifactType = doc.Config.MediaType
	}
	if doc.Layers == nil {
		return nil
	}
	return m.addDescriptors("layers", EdgeLayer, *doc.Layers)
}

func (m *Manifest) addIndex(doc *document) error {
	if doc.Layers != nil || doc.Config != nil {
		return invalid("an index must not have config or layers; push it as an image manifest")
	}
	if doc.Manifests == nil {
		return invalid("manifests is missing")
	}
	return m.addDescriptors("manifests", EdgeManifest, *doc.Manifests)
}

func (m *Manifest) addDescriptors(field string, kind EdgeKind, list []descriptor) error {
	if len(list) > maxEdges {
		return invalid("%s has %d entries; the limit is %d", field, len(list), maxEdges)
	}
	seen := make(map[Digest]int64, len(list))
	for i, d := range list {
		e, err := d.edge(fmt.Sprintf("%s[%d]", field, i), kind)
		if err != nil {
			return err
		}
		switch {
		case isNonDistributable(d.MediaType):
			e.Kind = EdgeForeign
		case kind == EdgeManifest && d.MediaType != "" && !slices.Contains(ManifestMediaTypes, d.MediaType):
			e.Kind = EdgeLayer // an index may list blobs, as build caches do
		}
		if size, ok := seen[e.Digest]; ok {
			if size != e.Size {
				return NewError(CodeSizeInvalid, fmt.Sprintf("%s[%d]: %s is listed with sizes %d and %d", field, i, e.Digest, size, e.Size))
			}
			continue
		}
		seen[e.Digest] = e.Size
		m.Edges = append(m.Edges, e)
	}
	return nil
}

func (d descriptor) edge(field string, kind EdgeKind) (Edge, error) {
	dig, err := ParseDigest(d.Digest)
	if err != nil {
		return Edge{}, NewError(CodeDigestInvalid, fmt.Sprintf("%s: digest %q is not valid: expected sha256:<64 hex> or sha512:<128 hex>", field, clip(d.Digest)))
	}
	if d.Size == nil || *d.Size < 0 {
		return Edge{}, NewError(CodeSizeInvalid, field+": size is missing or negative")
	}
	return Edge{Kind: kind, Digest: dig, Size: *d.Size}, nil
}

// checkDepth refuses documents that nest deeper than any manifest does, before
// the decoder sees them, and those with bytes after the document.
func checkDepth(content []byte) error {
	depth, inString, escaped := 0, false, false
	for _, c := range content {
		switch {
		case escaped:
			escaped = false
		case inString:
			switch c {
			case '\\':
				escaped = true
			case '"':
				inString = false
			}
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			if depth++; depth > maxManifestDepth {
				return invalid("the manifest nests deeper than %d levels", maxManifestDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	if trimmed := bytes.TrimLeft(content, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return invalid("the manifest is not a JSON object")
	}
	return nil
}

func invalid(format string, args ...any) *Error {
	return NewError(CodeManifestInvalid, fmt.Sprintf(format, args...))
}
