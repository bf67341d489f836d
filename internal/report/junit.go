package report

import (
	"fmt"
	"math"
	"strings"
)

// Tests sums up one JUnit report, or several added up.
type Tests struct {
	Suites   int     `json:"suites"`
	Tests    int     `json:"tests"` // all cases: passed, failed, in error and skipped
	Failures int     `json:"failures"`
	Errors   int     `json:"errors"`
	Skipped  int     `json:"skipped"`
	Seconds  float64 `json:"seconds"`
	Failed   []Case  `json:"failed,omitempty"` // failures and errors in the report's order, at most MaxFailed
}

// MaxFailed is how many failed cases are described; the rest is only counted.
const MaxFailed = 200

// Case is a test that failed or did not get as far.
type Case struct {
	Suite   string `json:"suite"` // names of the suites around it, joined by "/"
	Name    string `json:"name"`
	Message string `json:"message"`
	Output  string `json:"output,omitempty"` // the failure's text, else the end of what the test printed; clipped
}

// Passed reports whether there is neither failure nor error.
func (t Tests) Passed() bool { return t.Failures == 0 && t.Errors == 0 }

// Add adds up reports of different tests.
func (t *Tests) Add(o Tests) {
	t.Suites += o.Suites
	t.Tests += o.Tests
	t.Failures += o.Failures
	t.Errors += o.Errors
	t.Skipped += o.Skipped
	t.Seconds += o.Seconds
	t.Failed = append(t.Failed, o.Failed[:min(len(o.Failed), MaxFailed-min(len(t.Failed), MaxFailed))]...)
}

// JUnit reads a JUnit report of any dialect: one suite or many, nested or not,
// attributes present or missing. Cases that are listed are counted, whatever
// attributes say; a suite that lists none counts by its attributes, as
// summaries do. Seconds are those of the outermost suites that tell, else of
// their cases. The caller adds the file's name to an error.
func JUnit(content []byte) (Tests, error) {
	r := junit{}
	if err := walk(content, r.open, r.text, r.close); err != nil {
		return Tests{}, err
	}
	r.sum.Seconds = math.Max(0, r.sum.Seconds)
	return r.sum, nil
}

// junit is the state of reading. Elements of no interest only pass by.
type junit struct {
	sum    Tests
	suites []suite
	test   *testcase
	part   string // failure, error or an output of the current test, whose text is read
}

// suite is one that is open, with what is known of its content.
type suite struct {
	root    bool // <testsuites>, which is none
	name    string
	said    Tests
	timed   bool
	seconds float64 // of what it contains
	listed  bool    // it contains cases, or suites that say something
}

type testcase struct {
	Case
	result  string // failure, error, skipped or empty
	detail  tail
	printed tail
}

func (r *junit) open(e element) error {
	name := e.start.Name.Local
	if e.depth == 1 && name != "testsuites" && name != "testsuite" {
		return fmt.Errorf("its root is <%s>, not <testsuites> or <testsuite> as in JUnit reports", clip(name))
	}
	switch {
	case r.test == nil && (name == "testsuites" || name == "testsuite"):
		r.openSuite(e, name == "testsuites")
	case r.test == nil && name == "testcase":
		r.openCase(e)
	case r.test != nil:
		r.openPart(e, name)
	}
	return nil
}

func (r *junit) openSuite(e element, root bool) {
	s := suite{root: root, name: clip(attr(e.start, "name"))}
	s.said = Tests{Tests: count(e.start, "tests"), Failures: count(e.start, "failures"), Errors: count(e.start, "errors")}
	s.said.Skipped = max(count(e.start, "skipped"), count(e.start, "skip"), count(e.start, "disabled"))
	s.said.Seconds, s.timed = seconds(e)
	if !root {
		r.sum.Suites++
	}
	r.suites = append(r.suites, s)
}

func (r *junit) openCase(e element) {
	r.test = &testcase{Case: Case{Suite: r.path(), Name: clip(attr(e.start, "name"))}}
	if class := clip(attr(e.start, "classname")); class != "" && r.test.Suite == "" {
		r.test.Suite = class
	}
	r.sum.Tests++
	if s := r.suite(); s != nil {
		s.listed = true
		t, _ := seconds(e)
		s.seconds += t
	}
	if status := attr(e.start, "status"); status == "notrun" || status == "disabled" { // GoogleTest
		r.test.result = "skipped"
	}
}

func (r *junit) openPart(e element, name string) {
	switch name {
	case "failure", "error":
		r.part = name
		// A failure with an error in the clean-up counts once, as a failure.
		if r.test.result != "failure" {
			r.test.result = name
		}
		if r.test.Message == "" {
			r.test.Message = clip(attr(e.start, "message"))
		}
		if r.test.Message == "" {
			r.test.Message = clip(attr(e.start, "type"))
		}
	case "skipped":
		if r.test.result == "" {
			r.test.result = name
		}
	case "system-out", "system-err":
		r.part = name
	}
}

func (r *junit) text(p []byte) {
	switch r.part {
	case "failure", "error":
		r.test.detail.add(p)
	case "system-out", "system-err":
		r.test.printed.add(p)
	}
}

func (r *junit) close(name string) {
	switch {
	case r.part == name:
		r.part = ""
	case r.test != nil && name == "testcase":
		r.closeCase()
	case r.test == nil && len(r.suites) > 0 && (name == "testsuites" || name == "testsuite"):
		r.closeSuite()
	}
}

func (r *junit) closeCase() {
	t := r.test
	r.test, r.part = nil, ""
	switch t.result {
	case "skipped":
		r.sum.Skipped++
		return
	case "failure":
		r.sum.Failures++
	case "error":
		r.sum.Errors++
	default:
		return
	}
	t.Output = t.detail.String()
	if t.Output == "" {
		t.Output = t.printed.String()
	}
	if t.Message == "" {
		t.Message, _, _ = strings.Cut(t.Output, "\n")
	}
	if len(r.sum.Failed) < MaxFailed {
		r.sum.Failed = append(r.sum.Failed, t.Case)
	}
}

func (r *junit) closeSuite() {
	s := r.suites[len(r.suites)-1]
	r.suites = r.suites[:len(r.suites)-1]
	if !s.listed {
		r.sum.Tests += s.said.Tests
		r.sum.Failures += s.said.Failures
		r.sum.Errors += s.said.Errors
		r.sum.Skipped += s.said.Skipped
	}
	took := s.seconds
	if s.timed {
		took = s.said.Seconds
	}
	if above := r.suite(); above != nil {
		above.listed = above.listed || s.listed || s.said.Tests > 0 || s.said.Errors > 0 || s.said.Failures > 0
		above.seconds += took
	} else {
		r.sum.Seconds += took
	}
}

func (r *junit) suite() *suite {
	if len(r.suites) == 0 {
		return nil
	}
	return &r.suites[len(r.suites)-1]
}

// path is the names of the open suites.
func (r *junit) path() string {
	var names []string
	for _, s := range r.suites {
		if !s.root && s.name != "" {
			names = append(names, s.name)
		}
	}
	return clip(strings.Join(names, "/"))
}

// maxSeconds is about 30 years: what is above is no duration.
const maxSeconds = 1e9

func seconds(e element) (float64, bool) {
	t, ok := decimal(attr(e.start, "time"))
	if !ok || t < 0 || t > maxSeconds {
		return 0, false
	}
	return t, true
}
