package mask

import (
	"bytes"
	"io"
	"strings"
)

// MinSecret is the length in bytes, without blanks around it, from which a
// secret is hidden.
const MinSecret = 4

// masks are what a run of hidden bytes may become. The first is meant to be
// seen; the others serve when a secret itself could be read across it.
var masks = []string{"***", "###", "•••", "[masked]", "~~~", "<masked>", "___", "\u2588\u2588\u2588"}

// Masker hides a fixed set of secrets. It is safe for concurrent use.
type Masker struct {
	matcher *matcher
	mask    string
	short   []int
}

// New prepares to hide secrets, in every form that the package comment lists.
// A secret may come with the line breaks that its file ends with.
func New(secrets [][]byte) *Masker {
	m := &Masker{mask: masks[0]}
	var patterns [][]byte
	for i, secret := range secrets {
		if len(bytes.TrimSpace(secret)) < MinSecret {
			m.short = append(m.short, i)
			continue
		}
		patterns = append(patterns, forms(secret)...)
	}
	m.matcher = newMatcher(patterns)
	for _, mask := range masks {
		if !anyReadsAcross(patterns, mask) {
			m.mask = mask
			break
		}
	}
	return m
}

// Short lists the places in New's argument of secrets that are too short to
// be hidden: a log without the letter "a" helps nobody.
func (m *Masker) Short() []int { return m.short }

// String hides the secrets in one text, such as an error.
func (m *Masker) String(s string) string {
	var out strings.Builder
	w := m.Writer(&out)
	_, _ = io.WriteString(w, s) // a Builder never fails
	_ = w.Close()
	return out.String()
}

// Writer hides the secrets in what is written to it and passes the rest to w,
// at most one Write for each Write.
func (m *Masker) Writer(w io.Writer) *Writer { return &Writer{to: w, m: m} }

// anyReadsAcross reports whether putting mask in the place of hidden bytes
// could make one of the patterns appear, as "***" does for the secret "a***b".
func anyReadsAcross(patterns [][]byte, mask string) bool {
	for _, p := range patterns {
		if bytes.Contains(p, []byte(mask)) || strings.Contains(mask, string(p)) {
			return true
		}
		for n := 1; n < len(mask) && n < len(p); n++ {
			if string(p[:n]) == mask[len(mask)-n:] || string(p[len(p)-n:]) == mask[:n] {
				return true
			}
		}
	}
	return false
}
