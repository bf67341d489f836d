package oci

import (
	"fmt"
	"regexp"
)

// MaxRepositoryLength is the longest repository name accepted, in bytes. Many
// clients limit host and name together to 255.
const MaxRepositoryLength = 255

var (
	// Both patterns are the specification's own ("Pulling manifests").
	repositoryPattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// CheckRepository returns a NAME_INVALID error unless name is a repository
// name by the specification's grammar, of at most MaxRepositoryLength bytes.
func CheckRepository(name string) error {
	if len(name) > MaxRepositoryLength {
		return NewError(CodeNameInvalid, fmt.Sprintf("repository name has %d bytes; the limit is %d", len(name), MaxRepositoryLength))
	}
	if !repositoryPattern.MatchString(name) {
		return NewError(CodeNameInvalid, fmt.Sprintf("repository name %q is not valid: use lower-case letters, digits and single '.', '_', '-' between them, in parts joined by '/'", name))
	}
	return nil
}

// ValidTag reports whether s is a tag by the specification's grammar.
func ValidTag(s string) bool { return tagPattern.MatchString(s) }

// CheckTag returns a TAG_INVALID error unless s is a tag.
func CheckTag(s string) error {
	if !ValidTag(s) {
		return NewError(CodeTagInvalid, fmt.Sprintf("tag %q is not valid: 1 to 128 letters, digits, '_', '.' and '-', not starting with '.' or '-'", clip(s)))
	}
	return nil
}

// Reference is what stands after /manifests/: a tag or a digest, never both.
type Reference struct {
	Tag    string
	Digest Digest
}

// ParseReference reads a tag or a digest. Whatever has a colon is meant as a
// digest, since no tag may have one.
func ParseReference(s string) (Reference, error) {
	for i := range len(s) {
		if s[i] == ':' {
			d, err := ParseDigest(s)
			return Reference{Digest: d}, err
		}
	}
	if err := CheckTag(s); err != nil {
		return Reference{}, err
	}
	return Reference{Tag: s}, nil
}

// String is the form that ParseReference reads.
func (r Reference) String() string {
	if r.Tag != "" {
		return r.Tag
	}
	return r.Digest.String()
}

// clip keeps error messages readable when a client sends a huge value.
func clip(s string) string {
	if len(s) > 160 {
		return s[:160] + "…"
	}
	return s
}
