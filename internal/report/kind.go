package report

import (
	"bytes"
	"encoding/xml"
	"path"
	"regexp"
	"strings"
)

// Kinds of content, as Kind tells them apart.
const (
	KindJUnit     = "junit"
	KindGo        = "go"
	KindCobertura = "cobertura"
	KindLCOV      = "lcov"
	KindOther     = "other"
)

// IsCoverage reports whether a kind is one that Coverage reads.
func IsCoverage(kind string) bool {
	return kind == KindGo || kind == KindCobertura || kind == KindLCOV
}

var (
	goMode = regexp.MustCompile(`\A\s*mode: (set|count|atomic)\r?\n`)
	lcov   = regexp.MustCompile(`(?m)^(SF:.|DA:\d+,\d|end_of_record\s*$)`)
)

// sniffed is how much of the content Kind looks at, in bytes.
const sniffed = 64 << 10

// Kind recognises a report by how its content begins. Its path counts only
// where there is no beginning: an empty file named *.info is lcov, as tools
// write it when nothing was run.
func Kind(name string, content []byte) string {
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	head := content[:min(len(content), sniffed)]
	switch {
	case goMode.Match(append(bytes.Clone(head), '\n')):
		return KindGo
	case bytes.HasPrefix(bytes.TrimSpace(head), []byte("<")):
		return kindOfXML(head)
	case lcov.Match(head):
		return KindLCOV
	case len(bytes.TrimSpace(content)) == 0 && strings.EqualFold(path.Ext(name), ".info"):
		return KindLCOV
	}
	return KindOther
}

// kindOfXML goes by the root element. <coverage> is also Clover's and dotCover's
// root, which have no line-rate.
func kindOfXML(head []byte) string {
	d := decoder(head)
	for {
		token, err := d.RawToken()
		if err != nil {
			return KindOther
		}
		root, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		switch root.Name.Local {
		case "testsuites", "testsuite":
			return KindJUnit
		case "coverage":
			if attr(root, "line-rate") != "" || attr(root, "lines-valid") != "" || bytes.Contains(head, []byte("<packages")) && bytes.Contains(head, []byte("<class")) {
				return KindCobertura
			}
		}
		return KindOther
	}
}
