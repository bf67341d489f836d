package report

import (
	"strconv"
	"strings"
)

// readCobertura reads coverage-04.xml as the many tools write it. Lines that
// are listed are counted, each once, although a class lists those of its
// methods again. Without any, the root's lines-covered and lines-valid count,
// and without these its line-rate.
func readCobertura(f *files, content []byte) error {
	var file *File
	var covered, valid int
	err := walk(content, func(e element) error {
		switch e.start.Name.Local {
		case "coverage":
			if e.depth == 1 {
				covered, valid = count(e.start, "lines-covered"), count(e.start, "lines-valid")
				if rate, ok := decimal(attr(e.start, "line-rate")); ok {
					f.rate = min(max(rate, 0), 1)
				}
			}
		case "class":
			name := attr(e.start, "filename")
			if name == "" {
				name = attr(e.start, "name")
			}
			file = f.file(name)
			return f.check()
		case "line":
			n, err := strconv.ParseInt(strings.TrimSpace(attr(e.start, "number")), 10, 32)
			if file == nil || err != nil || n < 0 {
				return nil
			}
			hits, ok := decimal(attr(e.start, "hits"))
			return f.add(file, place{int32(n)}, unit{1, ok && hits > 0})
		}
		return nil
	}, func([]byte) {}, func(name string) {
		if name == "class" {
			file = nil
		}
	})
	if err != nil || f.units > 0 {
		return err
	}
	clear(f.byName) // classes without lines say nothing
	if valid > 0 {
		f.covered, f.total = int64(min(covered, valid)), int64(valid)
	}
	return nil
}
