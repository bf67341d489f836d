package auth

import (
	"fmt"
	"slices"
	"strings"
)

const maxName = 64

// reserved cannot be names of users or robots: they mean something else where
// such a name stands.
var reserved = []string{"token", "anonymous", "anyone", "authenticated"}

// CheckName returns an error unless s can name a user or a robot: 1 to 64
// letters, digits and . _ - @ +, beginning with a letter or digit, all ASCII.
// So it can stand in a URL, in front of the ':' of basic authentication, in an
// htpasswd file and in a log.
//
// Case counts when a name is looked up. Names that differ by case only cannot
// be told apart by people, so a second one is not made; account holds that.
func CheckName(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("the name is missing: use letters, digits and . _ - @ +")
	case len(s) > maxName:
		return fmt.Errorf("name %.20q… has %d bytes; the limit is %d", s, len(s), maxName)
	case slices.Contains(reserved, strings.ToLower(s)):
		return fmt.Errorf("name %q is reserved: choose another", s)
	}
	for i, r := range s {
		if !isAlphanumeric(r) && (i == 0 || !strings.ContainsRune("._-@+", r)) {
			return fmt.Errorf("name %q is not valid: use letters, digits and . _ - @ +, beginning with a letter or digit", s)
		}
	}
	return nil
}

// CheckGroup returns an error unless s can name a group: 1 to 128 characters
// that are printable ASCII without space, comma and quotes. Groups may come
// from elsewhere, so "/team/dev" is one.
func CheckGroup(s string) error {
	if s == "" || len(s) > 2*maxName || strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`,"'`, r)
	}) {
		return fmt.Errorf("group %.140q is not valid: use 1 to %d visible ASCII characters without space, comma and quotes", s, 2*maxName)
	}
	return nil
}

func isAlphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}
