package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of a report. Real ones are far below.
const (
	MaxSize  = 64 << 20 // bytes of content
	maxDepth = 100      // of XML elements
	maxFiles = 200_000
	maxUnits = 2 << 20 // lines or statements' blocks
	maxText  = 4 << 10 // bytes of any name, message or output that is kept
)

func checkSize(content []byte) error {
	if len(content) > MaxSize {
		return fmt.Errorf("it has %d MiB; reports of up to %d MiB are read", len(content)>>20, MaxSize>>20)
	}
	return nil
}

// decoder reads XML that tools write carelessly: undeclared entities and
// characters that XML forbids. It expands none but XML's own five entities
// and loads no DTD, so that nothing can grow beyond its size.
func decoder(content []byte) *xml.Decoder {
	d := xml.NewDecoder(bytes.NewReader(clean(content)))
	d.Strict = false
	d.CharsetReader = func(charset string, r io.Reader) (io.Reader, error) {
		return r, nil // names and counts are ASCII in all that occur; the rest was made valid
	}
	return d
}

// forbiddenReference is a control character, or another that XML forbids, as a
// character reference. Test runners write them for colours in messages.
var forbiddenReference = regexp.MustCompile(`&#(?:0*(?:[0-8]|1[124-9]|2[0-9]|3[01])|[xX]0*(?:[0-8bcefBCEF]|1[0-9a-fA-F]|[fF]{3}[eEfF]));`)

// clean makes content valid UTF-8 without the control characters that XML
// forbids. It copies only what needs it.
func clean(content []byte) []byte {
	if bytes.Contains(content, []byte("&#")) {
		content = forbiddenReference.ReplaceAll(content, []byte("\ufffd"))
	}
	if utf8.Valid(content) && bytes.IndexFunc(content, forbidden) < 0 {
		return content
	}
	return bytes.Map(func(r rune) rune {
		if forbidden(r) {
			return utf8.RuneError
		}
		return r
	}, content)
}

func forbidden(r rune) bool {
	return r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
}

// element is what walk tells of.
type element struct {
	start xml.StartElement
	depth int // 1 for the root
}

// walk calls open, text and close for a document's elements, in order.
func walk(content []byte, open func(element) error, text func([]byte), close func(name string)) error {
	if err := checkSize(content); err != nil {
		return err
	}
	d := decoder(content)
	depth, roots := 0, 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			if roots == 0 {
				return errors.New("there is no XML element in it")
			}
			return nil
		}
		if err != nil {
			line, _ := d.InputPos()
			return fmt.Errorf("line %d is not XML: %s: was the report cut off?", line, clip(err.Error()))
		}
		switch token := token.(type) {
		case xml.StartElement:
			if depth++; depth == 1 {
				roots++
			}
			if depth > maxDepth {
				return fmt.Errorf("its elements nest deeper than %d levels", maxDepth)
			}
			if err := open(element{token, depth}); err != nil {
				line, _ := d.InputPos()
				return fmt.Errorf("line %d: %w", line, err)
			}
		case xml.EndElement:
			depth--
			close(token.Name.Local)
		case xml.CharData:
			text(token)
		}
	}
}

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// count is an attribute that counts; what is none counts as zero.
func count(e xml.StartElement, name string) int {
	n, err := strconv.Atoi(strings.TrimSpace(attr(e, name)))
	if err != nil || n < 0 || n > math.MaxInt32 {
		return 0
	}
	return n
}

// decimal reads a number with or without the separators of some locale:
// "1.5", "1,5", "1,234.5", "1.234,5", "1,234". The last separator is the
// decimal one, unless it occurs twice, or is a comma before three digits and
// more than zero.
func decimal(s string) (float64, bool) {
	s = strings.TrimSuffix(strings.TrimSpace(s), "s")
	last := strings.LastIndexAny(s, ".,")
	if last >= 0 {
		whole, fraction := s[:last], s[last+1:]
		thousands := strings.Count(s, s[last:last+1]) > 1 || s[last] == ',' && !strings.Contains(whole, ".") && len(fraction) == 3 && strings.Trim(whole, "0") != ""
		whole = strings.NewReplacer(".", "", ",", "").Replace(whole)
		if s = whole + "." + fraction; thousands {
			s = whole + fraction
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, false
	}
	return f, true
}

// clip bounds what is kept of a text, from its beginning.
func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return strings.ToValidUTF8(strings.TrimSpace(s), "\ufffd")
}

// tail is the end of a text that arrives in pieces.
type tail struct {
	text []byte
	cut  bool
}

func (t *tail) add(p []byte) {
	if len(p) > maxText {
		p, t.cut = p[len(p)-maxText:], true
	}
	if t.text = append(t.text, p...); len(t.text) > 2*maxText {
		t.text, t.cut = append(t.text[:0], t.text[len(t.text)-maxText:]...), true
	}
}

func (t *tail) String() string {
	text, cut := t.text, t.cut
	if len(text) > maxText {
		text, cut = text[len(text)-maxText:], true
	}
	for cut && len(text) > 0 && !utf8.RuneStart(text[0]) {
		text = text[1:]
	}
	s := strings.ToValidUTF8(strings.TrimSpace(string(text)), "\ufffd")
	if cut {
		s = "…" + s
	}
	return s
}
