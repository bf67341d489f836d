// Package report reads what tests leave behind: JUnit results, and coverage
// as a Go profile, Cobertura XML or lcov.
//
// Reports come from code under test, so nothing in them is trusted: content is
// recognised by what it says, not by its name; size, depth and counts are
// bounded; whatever is shown to people is clipped and valid UTF-8.
//
// Coverage is counted in the unit of its format, statements for Go and lines
// for the others. A Cover just read keeps each unit, so that Merge counts a
// line that two reports cover once; stored as JSON it keeps the sums only.
package report
