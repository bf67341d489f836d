package buildkit

import (
	"context"
	"encoding/json"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/internal/oci"
)

// publish stores the manifest of the result, as the builder wrote it. With an
// attestation inside, the builder's root is an index, and its children go
// first.
func (v *view) publish(ctx context.Context, root oci.Digest) (oci.Digest, error) {
	if root == "" || root.Validate() != nil {
		return "", fmt.Errorf("the builder named no result: %q", root)
	}
	v.mu.Lock()
	raw, ok := v.written[root]
	v.mu.Unlock()
	if !ok {
		return "", fmt.Errorf("the builder did not send manifest %s that it named as its result", root)
	}
	var m struct {
		MediaType string               `json:"mediaType"`
		Manifests []ocispec.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return "", fmt.Errorf("result %s: %w", root, err)
	}
	for _, child := range m.Manifests {
		if _, err := v.publish(ctx, child.Digest); err != nil {
			return "", err
		}
	}
	stored, err := v.store.PutManifest(ctx, v.repository, m.MediaType, raw)
	if err == nil && stored != root {
		err = fmt.Errorf("the builder named result %s, and sent %s", root, stored)
	}
	return stored, err
}
