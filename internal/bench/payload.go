package bench

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	randv2 "math/rand/v2"
)

const tailSize = 32

// payload makes any number of distinct layers of one size. All share the same
// random bytes and differ in their last 32.
type payload struct {
	base  []byte
	state hash.Cloner // SHA-256 after base
	run   [16]byte
}

func newPayload(size int) (*payload, error) {
	if size <= tailSize {
		return nil, fmt.Errorf("a layer needs more than %d bytes, not %d", tailSize, size)
	}
	var seed [32]byte
	p := &payload{base: make([]byte, size-tailSize)}
	rand.Read(seed[:])
	rand.Read(p.run[:])
	randv2.NewChaCha8(seed).Read(p.base)
	h := sha256.New()
	h.Write(p.base)
	cloner, ok := h.(hash.Cloner)
	if !ok {
		return nil, fmt.Errorf("SHA-256 of this Go version cannot be cloned")
	}
	p.state = cloner
	return p, nil
}

// layer returns the layer numbered seq. The same number gives the same bytes.
func (p *payload) layer(seq uint64) (*layer, error) {
	l := &layer{base: p.base}
	copy(l.tail[:], p.run[:])
	binary.BigEndian.PutUint64(l.tail[len(p.run):], seq)
	h, err := p.state.Clone()
	if err != nil {
		return nil, fmt.Errorf("clone the hash of a layer: %w", err)
	}
	h.Write(l.tail[:])
	l.digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	return l, nil
}

// layer is content that is known without being held: shared bytes and a tail.
type layer struct {
	base   []byte
	tail   [tailSize]byte
	digest string
}

func (l *layer) size() int64 { return int64(len(l.base) + tailSize) }

func (l *layer) open() io.ReadCloser { return &layerReader{l: l} }

type layerReader struct {
	l   *layer
	off int
}

func (r *layerReader) Read(p []byte) (int, error) {
	n := copy(p, r.rest())
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	r.off += n
	return n, nil
}

// rest is the longest unread run of contiguous bytes.
func (r *layerReader) rest() []byte {
	if r.off < len(r.l.base) {
		return r.l.base[r.off:]
	}
	return r.l.tail[min(r.off-len(r.l.base), tailSize):]
}

func (r *layerReader) Close() error { return nil }

// verify reads body to its end and reports the first difference from the
// layer. buf is scratch space. The count is of bytes read.
func (l *layer) verify(body io.Reader, buf []byte) (int64, error) {
	want := layerReader{l: l}
	for {
		n, err := body.Read(buf)
		for got := buf[:n]; len(got) > 0; {
			rest := want.rest()
			if len(rest) == 0 {
				return int64(want.off), fmt.Errorf("blob %s: more than its %d bytes", l.digest, l.size())
			}
			k := min(len(got), len(rest))
			if !bytes.Equal(got[:k], rest[:k]) {
				return int64(want.off), fmt.Errorf("blob %s: wrong bytes after offset %d", l.digest, want.off)
			}
			got = got[k:]
			want.off += k
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return int64(want.off), fmt.Errorf("blob %s: read at offset %d: %w", l.digest, want.off, err)
		}
	}
	if int64(want.off) != l.size() {
		return int64(want.off), fmt.Errorf("blob %s: %d bytes, want %d", l.digest, want.off, l.size())
	}
	return int64(want.off), nil
}

// Media types of the images that a bench pushes.
const (
	mediaTypeManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaTypeConfig   = "application/vnd.oci.image.config.v1+json"
	mediaTypeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// image is one layer with the config and the manifest that name it.
type image struct {
	layer          *layer
	config         []byte
	configDigest   string
	manifest       []byte
	manifestDigest string
}

func newImage(l *layer) *image {
	img := &image{layer: l}
	img.config = fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[%q]}}`, l.digest)
	img.configDigest = digestOf(img.config)
	img.manifest = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		mediaTypeManifest, mediaTypeConfig, img.configDigest, len(img.config), mediaTypeLayer, l.digest, l.size())
	img.manifestDigest = digestOf(img.manifest)
	return img
}

func (img *image) size() int64 {
	return img.layer.size() + int64(len(img.config)) + int64(len(img.manifest))
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
