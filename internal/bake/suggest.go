package bake

import (
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// Suggest is ", did you mean …?" for the nearest of the names, or what there is.
func Suggest(name string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	best, distance := "", 3
	for _, candidate := range names {
		if d := levenshtein.Distance(strings.ToLower(name), strings.ToLower(candidate), nil); d < distance {
			best, distance = candidate, d
		}
	}
	if best != "" {
		return ", did you mean " + best + "?"
	}
	names = slices.Clone(names)
	slices.Sort(names)
	const most = 12
	if len(names) > most {
		names = append(names[:most], "…")
	}
	return "; there are: " + strings.Join(names, ", ")
}
