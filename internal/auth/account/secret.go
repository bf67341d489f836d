package account

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"log/slog"
	"strings"
)

// Prefix begins a secret and says what it is, to its owner as to programs that
// look for secrets where none should be:
//
//	slipway_(pat|robot|refresh)_[a-z2-7]{59}
type Prefix string

// The prefixes.
const (
	PrefixPersonal Prefix = "slipway_pat_"
	PrefixRobot    Prefix = "slipway_robot_"
	PrefixRefresh  Prefix = "slipway_refresh_"
)

const (
	secretBytes   = 32
	bodyLength    = 52 // of secretBytes in base 32
	summedLength  = bodyLength + 7
	passwordBytes = 15 // 24 characters
)

var letters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Secret is shown once and never kept. It does not print itself.
type Secret struct{ value string }

// NewSecret makes a secret of 256 random bits, with a checksum, so that one
// which was cut off or mistyped is told from one that was revoked.
func NewSecret(p Prefix) Secret {
	var random [secretBytes]byte
	_, _ = rand.Read(random[:]) // never fails
	s := string(p) + letters.EncodeToString(random[:])
	return Secret{s + checksum(s)}
}

func checksum(s string) string {
	var sum [4]byte
	binary.BigEndian.PutUint32(sum[:], crc32.ChecksumIEEE([]byte(s)))
	return letters.EncodeToString(sum[:])
}

// Reveal is the secret itself.
func (s Secret) Reveal() string { return s.value }

// String hides the secret from anything that prints.
func (s Secret) String() string { return "(secret)" }

// GoString does the same for %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue does the same for logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// PrefixOf tells what a string that was shown as a password is meant to be. ok
// is false for what is none of ours and could be a password.
func PrefixOf(s string) (p Prefix, ok bool) {
	for _, p := range []Prefix{PrefixPersonal, PrefixRobot, PrefixRefresh} {
		if strings.HasPrefix(s, string(p)) {
			return p, true
		}
	}
	return "", false
}

// whole reports whether a secret has the length and the checksum of one.
func whole(s string) bool {
	p, ok := PrefixOf(s)
	if !ok || len(s) != len(p)+summedLength {
		return false
	}
	n := len(p) + bodyLength
	return checksum(s[:n]) == s[n:]
}

// hashSecret is all that is kept of a secret. Looking it up by its hash tells
// nothing of it by the time that takes: who does not know the secret cannot
// choose the hash.
func hashSecret(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func randomPassword() string {
	var random [passwordBytes]byte
	_, _ = rand.Read(random[:])
	return letters.EncodeToString(random[:])
}
