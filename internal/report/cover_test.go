package report_test

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"slipway/internal/report"
)

type sums struct {
	format         string
	covered, total int64
	percent        float64
	files          string // name covered/total, …
}

func sumsOf(c report.Cover) sums {
	var list []string
	for _, f := range c.Files {
		list = append(list, f.Name+" "+ratio(f.Covered, f.Total))
	}
	return sums{c.Format, c.Covered, c.Total, math.Round(c.Percent*100) / 100, strings.Join(list, ", ")}
}

func ratio(a, b int64) string { s, _ := json.Marshal([2]int64{a, b}); return string(s) }

var covers = map[string]struct {
	path, content string
	want          sums
}{
	"Go":        {"coverage.out", "mode: set\nm/a.go:1.1,3.2 2 1\nm/a.go:4.1,5.2 1 0\nm/b.go:1.1,2.2 1 0\n", sums{"go", 2, 4, 50, "m/a.go [2,3], m/b.go [0,1]"}},
	"Go merged": {"c", "mode: atomic\nm/a.go:1.1,3.2 2 0\nm/a.go:1.1,3.2 2 7\nm/a.go:1.1,3.2 2 0\r\nmode: count\nm/a.go:4.1,4.9 3 18446744073709551615\n", sums{"go", 5, 5, 100, "m/a.go [5,5]"}},
	"Go empty":  {"c", "mode: set\n", sums{"go", 0, 0, 0, ""}},
	"Go names":  {"c", "mode: set\nC:\\a b, c.go:1.1,3.2 1 1\n", sums{"go", 1, 1, 100, "C:\\a b, c.go [1,1]"}},
	"coverage.py": {"coverage.xml", `<?xml version="1.0" ?><coverage version="7" lines-valid="3" lines-covered="2" line-rate="0.6667"><packages><package name="."><classes>
<class name="a.py" filename="a.py" line-rate="0.6"><methods/><lines><line number="1" hits="1"/><line number="2" hits="0"/><line number="3" hits="2"/></lines></class></classes></package></packages></coverage>`,
		sums{"cobertura", 2, 3, 66.67, "a.py [2,3]"}},
	"Cobertura with methods, two classes of a file": {"c.xml", `<coverage line-rate="1"><packages><package><classes><class name="A" filename="A.cs"><methods><method><lines><line number="1" hits="1"/></lines></method></methods><lines><line number="1" hits="1"/><line number="2" hits="0"/></lines></class>
<class name="A/B" filename="A.cs"><lines><line number="2" hits="1"/><line number="3" hits="0"/></lines></class></classes></package></packages></coverage>`, sums{"cobertura", 2, 3, 66.67, "A.cs [2,3]"}},
	"Cobertura of sums":  {"c.xml", `<coverage lines-valid="8" lines-covered="2" line-rate="0.25"><packages/></coverage>`, sums{"cobertura", 2, 8, 25, ""}},
	"Cobertura of rates": {"c.xml", `<!DOCTYPE coverage SYSTEM "http://cobertura.sourceforge.net/xml/coverage-04.dtd"><coverage line-rate="0,75"><packages/></coverage>`, sums{"cobertura", 0, 0, 75, ""}},
	"lcov":               {"lcov.info", "TN:\nSF:src/a.js\nFN:1,f\nDA:1,1\nDA:2,0,checksum\nDA:3,1e+06\nBRDA:1,0,0,-\nLF:3\nLH:2\nend_of_record\nSF:b\nDA:1,0\nend_of_record\n", sums{"lcov", 2, 4, 50, "b [0,1], src/a.js [2,3]"}},
	"lcov of two tests":  {"x", "TN:t1\nSF:a\nDA:1,1\nDA:2,0\nend_of_record\nTN:t2\nSF:a\nDA:1,0\nDA:2,1\nend_of_record\n", sums{"lcov", 2, 2, 100, "a [2,2]"}},
	"lcov of sums":       {"x", "SF:a\nLF:4\nLH:1\nend_of_record\n", sums{"lcov", 1, 4, 25, "a [1,4]"}},
	"lcov of nothing":    {"out/lcov.info", "", sums{"lcov", 0, 0, 0, ""}},
}

func TestCoverage(t *testing.T) {
	for name, c := range covers {
		got, err := report.Coverage(c.path, []byte(c.content))
		if err != nil || sumsOf(got) != c.want {
			t.Errorf("%s: %+v, %v\nwant %+v", name, sumsOf(got), err, c.want)
		}
		if kind := report.Kind(c.path, []byte(c.content)); kind != c.want.format || !report.IsCoverage(kind) {
			t.Errorf("%s: kind %s", name, kind)
		}
	}
}

var badCovers = map[string]string{
	"": "other", "hello": "other", "<testsuite/>": "junit", "mode: setx\n": "other", "\xff\xfe": "other",
	`<coverage clover="4.1"><project/></coverage>`: "other", `{"mode": "set"}`: "other",
	"mode: set\nm/a.go:1.1,3.2 2\n": "line 2", "mode: set\nm/a.go:1.1,3.2 -2 1\n": "line 2", "mode: set\n\nx\n": "line 3", "mode: set\nmode: bag\n": "not set, count or atomic",
	"mode: set\nm/a.go:1.1.3,2 2 1\n": "line 2", "mode: set\nm/a.go:1.1,3.2 99999 1\n": "line 2", "mode: set\n:1.1,3.2 1 1\n": "line 2", "mode: set\n" + strings.Repeat("x", 1<<20): "line 2",
	"SF:a\nDA:x,1\nend_of_record\n": "line 2", "SF:a\nDA:1,NaN\nend_of_record\n": "line 2", "DA:1,1\n": "begin with SF", "SF:a\nDA:1,1\n": "cut off", "SF:a\nLF:x\n": "line 2",
	`<coverage line-rate="1"><packages>`: "cut off", `<coverage line-rate="1">` + strings.Repeat("<a>", 200): "deeper than 100",
	"mode: set\n" + strings.Repeat("\n", 65<<20): "64 MiB",
}

func TestCoverageErrors(t *testing.T) {
	for content, want := range badCovers {
		_, err := report.Coverage("out/cover.x", []byte(content))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "out/cover.x") || len(err.Error()) > 6000 {
			t.Errorf("%.60q: %.200v, want %q", content, err, want)
		}
	}
}

func TestCoverageBounds(t *testing.T) {
	if _, err := report.Coverage("x", []byte(manyFiles())); err == nil || !strings.Contains(err.Error(), "more than 200000 files") {
		t.Error(err)
	}
}

func manyFiles() string {
	var s strings.Builder
	for i := range 200_001 {
		s.WriteString("SF:" + ratio(int64(i), 0) + "\nend_of_record\n")
	}
	return s.String()
}

func read(t *testing.T, content string) report.Cover {
	t.Helper()
	c, err := report.Coverage("lcov.info", []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMerge(t *testing.T) {
	goA, goB := "mode: set\na.go:1.1,3.2 2 1\na.go:4.1,5.2 1 0\n", "mode: set\na.go:1.1,3.2 2 0\na.go:4.1,5.2 1 1\nb.go:1.1,2.2 1 0\n"
	lcovA := "SF:a.js\nDA:1,1\nDA:2,0\nend_of_record\n"
	rate := `<coverage line-rate="0.5"><packages/></coverage>`
	counted := `<coverage lines-valid="4" lines-covered="1" line-rate="0.25"><packages/></coverage>`
	cases := []struct {
		name   string
		covers []string
		want   sums
	}{
		{"none", nil, sums{}},
		{"one", []string{goA}, sums{"go", 2, 3, 66.67, "a.go [2,3]"}},
		{"the same twice", []string{goA, goA}, sums{"go", 2, 3, 66.67, "a.go [2,3]"}},
		{"each covers a part", []string{goA, goB}, sums{"go", 3, 4, 75, "a.go [3,3], b.go [0,1]"}},
		{"formats", []string{goA, lcovA}, sums{"mixed", 3, 5, 60, "a.go [2,3], a.js [1,2]"}},
		{"one file, statements and lines", []string{goA, "SF:a.go\nDA:1,1\nend_of_record\n"}, sums{"mixed", 1, 1, 100, "a.go [1,1]"}},
		{"sums", []string{lcovA, counted}, sums{"mixed", 2, 6, 33.33, "a.js [1,2]"}},
		{"a rate beside lines", []string{lcovA, rate}, sums{"mixed", 1, 2, 50, "a.js [1,2]"}},
		{"rates", []string{rate, `<coverage line-rate="0"><packages/></coverage>`}, sums{"cobertura", 0, 0, 25, ""}},
	}
	for _, c := range cases {
		var list []report.Cover
		for _, content := range c.covers {
			list = append(list, read(t, content))
		}
		var before []sums
		for _, cover := range list {
			before = append(before, sumsOf(cover))
		}
		if got := sumsOf(report.Merge(list)); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		for i, cover := range list {
			again := read(t, c.covers[i])
			if sumsOf(cover) != before[i] || !reflect.DeepEqual(cover, again) {
				t.Errorf("%s: Merge changed its argument %d", c.name, i)
			}
		}
	}

	stored, err := json.Marshal(read(t, goB))
	if err != nil {
		t.Fatal(err)
	}
	var back report.Cover
	if err := json.Unmarshal(stored, &back); err != nil {
		t.Fatal(err)
	}
	if got, want := sumsOf(report.Merge([]report.Cover{back, read(t, goA)})), (sums{"go", 2, 4, 50, "a.go [2,3], b.go [0,1]"}); got != want {
		t.Errorf("with one from storage: %+v, want %+v", got, want)
	}
}

func FuzzCoverage(f *testing.F) {
	for _, c := range covers {
		f.Add(c.path, []byte(c.content))
	}
	for content := range badCovers {
		if len(content) < 1000 {
			f.Add("x", []byte(content))
		}
	}
	f.Fuzz(func(t *testing.T, path string, content []byte) {
		c, err := report.Coverage(path, content)
		if err != nil {
			if len(err.Error()) > 12000 || !utf8.ValidString(err.Error()) {
				t.Errorf("an error of %d bytes: %.100q", len(err.Error()), err)
			}
			return
		}
		if c.Covered < 0 || c.Covered > c.Total || !(c.Percent >= 0 && c.Percent <= 100) {
			t.Errorf("%+v", c)
		}
		if twice := report.Merge([]report.Cover{c, c}); len(c.Files) > 0 && sumsOf(twice) != sumsOf(c) {
			t.Errorf("merged with itself: %+v, alone: %+v", sumsOf(twice), sumsOf(c))
		}
		for _, file := range c.Files {
			if !utf8.ValidString(file.Name) || file.Covered > file.Total || file.Covered < 0 {
				t.Errorf("%+v", file)
			}
		}
	})
}

func FuzzKind(f *testing.F) {
	f.Add("a", []byte("mode: set\n"))
	f.Add("a.info", []byte(" "))
	f.Add("a", []byte(`<?xml version="1.0"?><!-- x --><coverage line-rate="1"/>`))
	f.Fuzz(func(t *testing.T, path string, content []byte) {
		kind := report.Kind(path, content)
		if kind == report.KindOther {
			if _, err := report.Coverage(path, content); err == nil {
				t.Error("Coverage reads what is other")
			}
		}
	})
}
