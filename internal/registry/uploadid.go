package registry

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"github.com/google/uuid"

	"slipway/internal/oci"
)

// An upload's id is signed, so that opening an upload writes nothing: a row
// appears with the first bytes, and thousands of uploads that are opened and
// forgotten cost nothing. The id is
//
//	<UUID version 7>.<algorithm letter><signature>
//
// and the UUID holds the time at which it was opened.

const signatureBytes = 12

var algorithmLetter = map[oci.Algorithm]string{oci.SHA256: "a", oci.SHA512: "b"}

func (r *Registry) newUploadID(repository string, a oci.Algorithm) (string, error) {
	u, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	// The time is the database's, which decides when the upload expires.
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(r.DB.Now().UnixMilli()))
	copy(u[:6], ms[2:])
	return u.String() + "." + algorithmLetter[a] + r.sign(repository, u.String(), a), nil
}

func (r *Registry) sign(repository, id string, a oci.Algorithm) string {
	mac := hmac.New(sha256.New, r.key)
	for _, part := range []string{"upload", repository, id, a.String()} {
		mac.Write([]byte(part))
		mac.Write([]byte{0})
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:signatureBytes])
}

// checkUploadID returns when the upload was opened and its algorithm.
func (r *Registry) checkUploadID(repository, id string) (opened time.Time, a oci.Algorithm, err error) {
	unknown := oci.NewError(oci.CodeBlobUploadUnknown, "there is no such upload in repository "+repository+": it is finished, cancelled, expired or was never opened; start a new one with POST")
	name, rest, ok := strings.Cut(id, ".")
	if !ok || rest == "" {
		return opened, "", unknown
	}
	switch rest[:1] {
	case algorithmLetter[oci.SHA256]:
		a = oci.SHA256
	case algorithmLetter[oci.SHA512]:
		a = oci.SHA512
	default:
		return opened, "", unknown
	}
	if !hmac.Equal([]byte(rest[1:]), []byte(r.sign(repository, name, a))) {
		return opened, "", unknown
	}
	u, err := uuid.Parse(name)
	if err != nil {
		return opened, "", unknown
	}
	var ms [8]byte
	copy(ms[2:], u[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:]))), a, nil
}
