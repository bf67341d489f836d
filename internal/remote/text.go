package remote

import (
	"strings"
	"unicode"
)

// CleanText replaces what could steer a terminal or disguise the text around
// it: control characters, escape sequences' introducers, and marks that change
// the writing direction. Line breaks and tabs become spaces.
func CleanText(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return -1
		case r == '\u2028', r == '\u2029':
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
