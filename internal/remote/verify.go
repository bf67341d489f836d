package remote

import (
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// verifiedReader passes a blob's bytes and fails, instead of ending, when they
// are not the ones that its descriptor promises. It never passes more bytes
// than the descriptor's size.
type verifiedReader struct {
	io.ReadCloser
	desc v1.Descriptor
	sum  hash.Hash
	seen int64
}

func verified(rc io.ReadCloser, desc v1.Descriptor) (io.ReadCloser, error) {
	sum, err := v1.Hasher(desc.Digest.Algorithm)
	if err != nil {
		rc.Close()
		return nil, err
	}
	return &verifiedReader{ReadCloser: rc, desc: desc, sum: sum}, nil
}

func (r *verifiedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.seen += int64(n)
	if r.seen > r.desc.Size {
		return 0, fmt.Errorf("%s is larger than the %d bytes its manifest says", r.desc.Digest, r.desc.Size)
	}
	r.sum.Write(p[:n])
	if err != io.EOF {
		return n, err
	}
	if r.seen != r.desc.Size {
		return n, fmt.Errorf("%s ends after %d of %d bytes", r.desc.Digest, r.seen, r.desc.Size)
	}
	if got := hex.EncodeToString(r.sum.Sum(nil)); got != r.desc.Digest.Hex {
		return n, fmt.Errorf("the content of %s has the digest %s:%s", r.desc.Digest, r.desc.Digest.Algorithm, got)
	}
	return n, io.EOF
}

// readVerified reads a whole blob of at most limit bytes and closes it.
func readVerified(rc io.ReadCloser, desc v1.Descriptor, limit int64) ([]byte, error) {
	if desc.Size > limit || desc.Size < 0 {
		rc.Close()
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that are read into memory", desc.Digest, desc.Size, limit)
	}
	r, err := verified(rc, desc)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
