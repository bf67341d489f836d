package buildkit

import (
	"slices"
	"strings"
	"testing"
)

// The last lines begin with a whole one: half a secret is not known as one.
func TestTail(t *testing.T) {
	for name, c := range map[string]struct {
		output string
		want   []string
	}{
		"short":      {"one\ntwo\n", []string{"one", "two"}},
		"cut":        {"secret " + strings.Repeat("s", tailBytes) + "\nlast\n", []string{"last"}},
		"no line":    {strings.Repeat("s", tailBytes+1), nil},
		"many lines": {strings.Repeat("line\n", 100), slices.Repeat([]string{"line"}, tailLines)},
	} {
		var got tail
		for chunk := range slices.Chunk([]byte(c.output), 1000) {
			got.add(chunk)
		}
		if lines := got.lines(); !slices.Equal(lines, c.want) {
			t.Errorf("%s: the last lines are %q, want %q", name, lines, c.want)
		}
	}
}
