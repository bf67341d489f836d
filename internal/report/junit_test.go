package report_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"slipway/internal/report"
)

var junits = map[string]struct {
	xml  string
	want report.Tests
}{
	"go-junit-report": {`<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="3" failures="1">
	<testsuite name="example.com/app" tests="3" failures="1" errors="0" skipped="1" time="0.013" hostname="h">
		<properties><property name="go.version" value="go1.26"></property></properties>
		<testcase name="TestA" classname="example.com/app" time="0.010"></testcase>
		<testcase name="TestB" classname="example.com/app" time="0.003"><failure message="Failed" type=""><![CDATA[    b_test.go:7: 1 < 2 && "x"]]></failure></testcase>
		<testcase name="TestC" classname="example.com/app" time="0.000"><skipped message="no db"></skipped></testcase>
	</testsuite>
</testsuites>`, report.Tests{Suites: 1, Tests: 3, Failures: 1, Skipped: 1, Seconds: 0.013,
		Failed: []report.Case{{Suite: "example.com/app", Name: "TestB", Message: "Failed", Output: `b_test.go:7: 1 < 2 && "x"`}}}},
	"pytest": {`<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="0" skipped="0" tests="2" time="1.500" timestamp="2026-01-01T00:00:00">
<testcase classname="tests.test_a" name="test_ok" time="0.500" /><testcase classname="tests.test_a" name="test_db" time="1.000"><error message="failed on setup with &quot;OSError&quot;">trace
line 2</error></testcase></testsuite></testsuites>`, report.Tests{Suites: 1, Tests: 2, Errors: 1, Seconds: 1.5,
		Failed: []report.Case{{Suite: "pytest", Name: "test_db", Message: `failed on setup with "OSError"`, Output: "trace\nline 2"}}}},
	"surefire: root testsuite, thousands, output of the test, reruns": {`<testsuite xmlns:xsi="x" name="AppTest" time="1,234.5" tests="2" errors="0" skipped="0" failures="1">
<testcase name="a" classname="AppTest" time="1,234"/><testcase name="b" classname="AppTest" time="0.5"><failure type="java.lang.AssertionError"/><rerunFailure/><system-out>said</system-out></testcase><system-out>of the suite</system-out></testsuite>`,
		report.Tests{Suites: 1, Tests: 2, Failures: 1, Seconds: 1234.5, Failed: []report.Case{{Suite: "AppTest", Name: "b", Message: "java.lang.AssertionError", Output: "said"}}}},
	"PHPUnit: nested, sums above": {`<testsuites><testsuite name="all" tests="2" failures="1" time="0.3"><testsuite name="Unit" tests="2" failures="1" time="0.3">
<testcase name="a" time="0.1"/><testcase name="b" time="0.2"><failure>first
second</failure></testcase></testsuite></testsuite></testsuites>`,
		report.Tests{Suites: 2, Tests: 2, Failures: 1, Seconds: 0.3, Failed: []report.Case{{Suite: "all/Unit", Name: "b", Message: "first", Output: "first\nsecond"}}}},
	"nothing but cases": {`<testsuite><testcase/><testcase name="x" classname="C" time="0,25"><failure/></testcase></testsuite>`,
		report.Tests{Suites: 1, Tests: 2, Failures: 1, Seconds: 0.25, Failed: []report.Case{{Suite: "C", Name: "x"}}}},
	"nothing but attributes": {`<testsuites><testsuite tests="5" failures="1" errors="2" disabled="1" time="2"/><testsuite tests="1" skip="1" time="1.5s"/></testsuites>`,
		report.Tests{Suites: 2, Tests: 6, Failures: 1, Errors: 2, Skipped: 2, Seconds: 3.5}},
	"attributes of nonsense": {`<testsuite tests="many" failures="-1" time="NaN"><testcase time="1e300"/></testsuite>`, report.Tests{Suites: 1, Tests: 1}},
	"GoogleTest":             {`<testsuites tests="2"><testsuite name="S"><testcase name="a" status="run"/><testcase name="b" status="notrun"/></testsuite></testsuites>`, report.Tests{Suites: 1, Tests: 2, Skipped: 1}},
	"failure and error in one": {`<testsuite name="s"><testcase name="a"><error message="e"/><failure message="f"/></testcase></testsuite>`,
		report.Tests{Suites: 1, Tests: 1, Failures: 1, Failed: []report.Case{{Suite: "s", Name: "a", Message: "e"}}}},
	"no suites":  {`<testsuites/>`, report.Tests{}},
	"namespace":  {`<j:testsuite xmlns:j="urn:x"><j:testcase/></j:testsuite>`, report.Tests{Suites: 1, Tests: 1}},
	"Latin-1":    {"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><testsuite name=\"caf\xe9\"><testcase name=\"\xe9\"><failure/></testcase></testsuite>", report.Tests{Suites: 1, Tests: 1, Failures: 1, Failed: []report.Case{{Suite: "caf\ufffd", Name: "\ufffd"}}}},
	"controls":   {"<testsuite><testcase name=\"a\x1b[31m\x00\"><failure>&#27;x&#x1B;&#10;y</failure></testcase></testsuite>", report.Tests{Suites: 1, Tests: 1, Failures: 1, Failed: []report.Case{{Name: "a\ufffd[31m\ufffd", Message: "\ufffdx\ufffd", Output: "\ufffdx\ufffd\ny"}}}},
	"mark first": {"\ufeff<testsuite><testcase/></testsuite>", report.Tests{Suites: 1, Tests: 1}},
}

func TestJUnit(t *testing.T) {
	for name, c := range junits {
		got, err := report.JUnit([]byte(c.xml))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v\nwant %+v", name, got, err, c.want)
		}
		if kind := report.Kind("any.xml", []byte(c.xml)); kind != report.KindJUnit {
			t.Errorf("%s: kind %s", name, kind)
		}
	}
}

const bomb = `<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c SYSTEM "file:///etc/passwd">]>`

var badJUnits = map[string]string{
	"": "no XML element", "not xml": "no XML element", "<html></html>": "root is <html>", `<testsuite><testcase>`: "cut off", `<testsuite name="x`: "cut off",
	strings.Repeat("<testsuite>", 101): "deeper than 100",
	strings.Repeat(" ", 65<<20):        "64 MiB",
}

func TestJUnitErrors(t *testing.T) {
	for xml, want := range badJUnits {
		got, err := report.JUnit([]byte(xml))
		if err == nil || !strings.Contains(err.Error(), want) || !reflect.DeepEqual(got, report.Tests{}) {
			t.Errorf("%.40q: %+v, %v, want %q", xml, got, err, want)
		}
	}
}

func TestJUnitExpandsNoEntities(t *testing.T) {
	got, err := report.JUnit([]byte(bomb + `<testsuite><testcase name="x"><failure>&b;&c;</failure></testcase></testsuite>`))
	if err != nil || got.Failed[0].Output != "&b;&c;" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestJUnitIsClipped(t *testing.T) {
	var xml strings.Builder
	xml.WriteString("<testsuite>")
	for i := range 250 {
		fmt.Fprintf(&xml, `<testcase name="%s"><failure message="%[1]s">%s THE END</failure></testcase>`, strings.Repeat("é", 5000), strings.Repeat("é<![CDATA[x]]>", 3000+i))
	}
	xml.WriteString("</testsuite>")
	got, err := report.JUnit([]byte(xml.String()))
	if err != nil || got.Failures != 250 || len(got.Failed) != report.MaxFailed {
		t.Fatalf("%d failures, %d described, %v", got.Failures, len(got.Failed), err)
	}
	c := got.Failed[0]
	if len(c.Name) > 5000 || len(c.Message) > 5000 || len(c.Output) > 5000 || !strings.HasSuffix(c.Output, " THE END") || !strings.HasPrefix(c.Output, "…") || !utf8.ValidString(c.Name+c.Message+c.Output) {
		t.Errorf("%d %d %q", len(c.Name), len(c.Message), c.Output)
	}
	sum := got
	sum.Add(got)
	if sum.Tests != 500 || sum.Failures != 500 || len(sum.Failed) != report.MaxFailed || sum.Passed() {
		t.Errorf("added up: %d, %d", sum.Tests, len(sum.Failed))
	}
}

func FuzzJUnit(f *testing.F) {
	for _, c := range junits {
		f.Add([]byte(c.xml))
	}
	f.Add([]byte(bomb + "<testsuite>&b;</testsuite>"))
	f.Fuzz(func(t *testing.T, content []byte) {
		got, err := report.JUnit(content)
		if err != nil {
			if len(err.Error()) > 6000 || !utf8.ValidString(err.Error()) {
				t.Errorf("an error of %d bytes: %.100q", len(err.Error()), err)
			}
			return
		}
		if got.Tests < 0 || got.Failures < 0 || got.Errors < 0 || got.Skipped < 0 || !(got.Seconds >= 0) || len(got.Failed) > got.Failures+got.Errors {
			t.Errorf("%+v", got)
		}
		for _, c := range got.Failed {
			if !utf8.ValidString(c.Suite + c.Name + c.Message + c.Output) {
				t.Errorf("%+v is not UTF-8", c)
			}
		}
	})
}
