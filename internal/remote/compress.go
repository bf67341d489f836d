package remote

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

var errXZ = errors.New("xz is not supported; unpack it on the way: xz -dc FILE | slipway import - REF")

// decompressed yields the plain bytes of a stream that is gzip, zstd or bzip2,
// or neither, and the name of what it was.
func decompressed(r io.Reader) (io.ReadCloser, string, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	head, err := b.Peek(6)
	if err != nil && err != io.EOF {
		return nil, "", err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		return z, "gzip", err
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b)
		if err != nil {
			return nil, "", err
		}
		return z.IOReadCloser(), "zstd", nil
	case bytes.HasPrefix(head, []byte("BZh")):
		return io.NopCloser(bzip2.NewReader(b)), "bzip2", nil
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return nil, "", errXZ
	}
	return io.NopCloser(b), "", nil
}

// packed is a compressed layer in a temporary file.
type packed struct {
	path   string
	desc   v1.Descriptor // digest and size of the compressed bytes
	diffID v1.Hash       // digest of the plain tar
}

func (p *packed) open() (io.ReadCloser, error) { return os.Open(p.path) }

// pack compresses a plain tar into a file in dir. Equal input gives equal
// bytes: no time, no name, one encoder at a fixed level.
func pack(ctx context.Context, dir string, plain io.Reader, compression string) (*packed, error) {
	f, err := os.CreateTemp(dir, "layer-*")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stored, inner := newMeter(f), sha256.New()
	var z io.WriteCloser
	switch compression {
	case "", "gzip":
		z = gzip.NewWriter(stored)
	case "zstd":
		if z, err = zstd.NewWriter(stored, zstd.WithEncoderConcurrency(1)); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%q is not a compression; use gzip or zstd: %w", CleanText(compression), ErrInvalid)
	}
	if _, err := io.Copy(io.MultiWriter(z, inner), &cancelled{ctx: ctx, r: plain}); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return &packed{path: f.Name(), desc: v1.Descriptor{Digest: stored.digest(), Size: stored.size}, diffID: sumOf(inner)}, f.Close()
}

// meter hashes and counts what is written through it.
type meter struct {
	to   io.Writer
	sum  hash.Hash
	size int64
}

func newMeter(to io.Writer) *meter { return &meter{to: to, sum: sha256.New()} }

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.to.Write(p)
	m.sum.Write(p[:n])
	m.size += int64(n)
	return n, err
}

func (m *meter) digest() v1.Hash { return sumOf(m.sum) }

func sumOf(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

// cancelled stops a local copy when its context ends.
type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
