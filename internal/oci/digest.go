package oci

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Digest names bytes by their hash, as "algorithm:hex". Only values that went
// through ParseDigest or FromBytes are used as keys or paths.
type Digest = digest.Digest

// Algorithm is a registered digest algorithm: SHA256 or SHA512.
type Algorithm = digest.Algorithm

// The algorithms that are accepted everywhere.
const (
	SHA256 = digest.SHA256
	SHA512 = digest.SHA512
)

// ParseDigest accepts sha256 and sha512 in their canonical lower-case form.
// Anything else is a DIGEST_INVALID error.
func ParseDigest(s string) (Digest, error) {
	algorithm, value, ok := strings.Cut(s, ":")
	if !ok {
		return "", NewError(CodeDigestInvalid, fmt.Sprintf("%q is not a digest: expected sha256:<64 hex> or sha512:<128 hex>", clip(s)))
	}
	a, err := ParseAlgorithm(algorithm)
	if err != nil {
		return "", err
	}
	if len(value) != a.Size()*2 || strings.ToLower(value) != value {
		return "", NewError(CodeDigestInvalid, fmt.Sprintf("digest %q is not valid: %s needs %d lower-case hex digits", clip(s), a, a.Size()*2))
	}
	if _, err := hex.DecodeString(value); err != nil {
		return "", NewError(CodeDigestInvalid, fmt.Sprintf("digest %q is not valid: %s needs %d lower-case hex digits", clip(s), a, a.Size()*2))
	}
	return Digest(s), nil
}

// ParseAlgorithm accepts "sha256" and "sha512".
func ParseAlgorithm(s string) (Algorithm, error) {
	switch a := Algorithm(s); a {
	case SHA256, SHA512:
		return a, nil
	}
	return "", NewError(CodeDigestInvalid, fmt.Sprintf("digest algorithm %q is not supported: use sha256 or sha512", clip(s)))
}

// FromBytes is the digest of b.
func FromBytes(a Algorithm, b []byte) Digest { return a.FromBytes(b) }

// Hasher computes a digest over bytes that arrive in pieces. Its state can be
// stored between requests and across restarts of the server.
type Hasher struct {
	algorithm Algorithm
	hash      hash.Hash
}

// NewHasher starts a digest of nothing.
func NewHasher(a Algorithm) *Hasher {
	if a == SHA512 {
		return &Hasher{a, sha512.New()}
	}
	return &Hasher{SHA256, sha256.New()}
}

// ResumeHasher continues from what State returned. An empty state is a fresh
// start.
func ResumeHasher(a Algorithm, state []byte) (*Hasher, error) {
	h := NewHasher(a)
	if len(state) == 0 {
		return h, nil
	}
	if err := h.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(state); err != nil {
		return nil, fmt.Errorf("resume %s: %w", a, err)
	}
	return h, nil
}

// Write never fails.
func (h *Hasher) Write(p []byte) (int, error) { return h.hash.Write(p) }

// Algorithm is the one that the hasher was made for.
func (h *Hasher) Algorithm() Algorithm { return h.algorithm }

// Digest is the digest of everything written so far.
func (h *Hasher) Digest() Digest { return digest.NewDigest(h.algorithm, h.hash) }

// State is the hasher's progress, about 110 bytes for sha256 and 210 for
// sha512, as Go's hash packages marshal it.
func (h *Hasher) State() ([]byte, error) {
	return h.hash.(encoding.BinaryMarshaler).MarshalBinary()
}
