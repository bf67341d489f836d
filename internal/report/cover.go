package report

import "errors"

// Cover is how much of the code ran.
type Cover struct {
	Format  string  `json:"format"`  // a kind, or KindMixed after Merge
	Covered int64   `json:"covered"` // statements (Go) or lines
	Total   int64   `json:"total"`   // 0 for a Cobertura report that gives only rates
	Percent float64 `json:"percent"` // 0 to 100, not rounded; 0 if there is nothing to cover
	Files   []File  `json:"files,omitempty"`
}

// KindMixed is the format of coverage merged from several formats.
const KindMixed = "mixed"

// File is the coverage of one file, by the name that the report gives it.
type File struct {
	Name    string `json:"name"`
	Covered int64  `json:"covered"`
	Total   int64  `json:"total"`
}

// Coverage reads a coverage report of any known format. path is the report's
// name, for errors.
func Coverage(path string, content []byte) (Cover, error) { return Cover{}, errors.ErrUnsupported }

// Merge unites reports: code that one of them covers is covered. A file that
// several reports have, of which one came from storage, counts as in the
// report that covers most of it. Reports of nothing but a rate are left out
// if others can be counted, else their mean is the result.
func Merge(covers []Cover) Cover { return Cover{} }
