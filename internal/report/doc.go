// Package report reads what tests leave behind: JUnit results, and coverage
// as a Go profile, Cobertura XML or lcov.
//
// Reports come from code under test, so nothing in them is trusted: content is
// recognised by what it says, not by its name; size, depth and counts are
// bounded; whatever is shown to people is clipped and valid UTF-8.
//
// Coverage is counted in the unit of its format, statements for Go and lines
// for the others. A Cover keeps each unit until it is stored, so that Merge
// counts a line that two reports cover once.
package report

// Kinds of content, as Kind tells them apart.
const (
	KindJUnit     = "junit"
	KindGo        = "go"
	KindCobertura = "cobertura"
	KindLCOV      = "lcov"
	KindOther     = "other"
)

// MaxSize is the size in bytes above which a report is not read.
const MaxSize = 64 << 20

// Kind recognises a report by its content; path only breaks a tie.
func Kind(path string, content []byte) string { return KindOther }

// IsCoverage reports whether a kind is one that Coverage reads.
func IsCoverage(kind string) bool {
	return kind == KindGo || kind == KindCobertura || kind == KindLCOV
}
