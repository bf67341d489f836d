package registry_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"

	"slipway/internal/oci"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
)

// BenchmarkPutBlob pushes blobs of 10 KB that nobody has: most of it is the
// transaction. TMPDIR on a tmpfs takes the disk out of it.
func BenchmarkPutBlob(b *testing.B) {
	s := registrytest.Open(b, registry.Config{}, nil)
	content := make([]byte, 10<<10)
	for i := 0; b.Loop(); i++ {
		binary.LittleEndian.PutUint64(content, uint64(i))
		if err := s.Registry.PutBlob(context.Background(), "app", oci.FromBytes(oci.SHA256, content), registry.Body{Reader: bytes.NewReader(content), Length: int64(len(content))}); err != nil {
			b.Fatal(err)
		}
	}
}
