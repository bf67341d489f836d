package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Cover is how much of the code ran.
type Cover struct {
	Format  string  `json:"format"`  // a kind, or KindMixed after Merge
	Covered int64   `json:"covered"` // statements (Go) or lines
	Total   int64   `json:"total"`   // 0 for a report that gives only a rate
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

	units map[place]unit // nil for a file that came from storage or counts only in sums
}

// place is where a unit is in its file: a block of statements from line and
// column to line and column, or a line alone.
type place [4]int32

// unit is what is covered or not as a whole.
type unit struct {
	weight  int32 // statements in a block; 1 for a line
	covered bool
}

// Coverage reads a coverage report of any known format. path is the report's
// name, for errors and for content that says nothing by itself.
func Coverage(path string, content []byte) (Cover, error) {
	kind := Kind(path, content)
	read := map[string]func(*files, []byte) error{KindGo: readGo, KindCobertura: readCobertura, KindLCOV: readLCOV}[kind]
	if read == nil {
		return Cover{}, fmt.Errorf("coverage report %s: this is no Go profile (\"mode: …\"), Cobertura XML or lcov file, but %s: give the path of one of these", clip(path), kind)
	}
	err := checkSize(content)
	f := &files{byName: map[string]*File{}}
	if err == nil {
		err = read(f, content)
	}
	if err != nil {
		return Cover{}, fmt.Errorf("coverage report %s (%s): %w", clip(path), kind, err)
	}
	return f.cover(kind), nil
}

// files gathers units while a report is read.
type files struct {
	byName map[string]*File
	units  int

	covered, total int64   // of a report that lists no files
	rate           float64 // 0 to 1, of a report that says nothing else
}

// file is the one of a name, made if need be.
func (f *files) file(name string) *File {
	name = clip(name)
	if f.byName[name] == nil {
		f.byName[name] = &File{Name: name, units: map[place]unit{}}
	}
	return f.byName[name]
}

// add records a unit, which is covered if it is once.
func (f *files) add(file *File, at place, u unit) error {
	old, known := file.units[at]
	if !known {
		f.units++
	}
	file.units[at] = unit{max(old.weight, u.weight), old.covered || u.covered}
	return f.check()
}

// check holds a report to its bounds.
func (f *files) check() error {
	if f.units > maxUnits || len(f.byName) > maxFiles {
		return fmt.Errorf("it lists more than %d files, or more than %d lines or blocks", maxFiles, maxUnits)
	}
	return nil
}

// count sums up the units of a file that has some.
func (f *File) count() {
	if len(f.units) == 0 {
		return
	}
	f.Covered, f.Total = 0, 0
	for _, u := range f.units {
		f.Total += int64(u.weight)
		if u.covered {
			f.Covered += int64(u.weight)
		}
	}
}

// cover sums up.
func (f *files) cover(format string) Cover {
	c := Cover{Format: format, Covered: f.covered, Total: f.total}
	for _, name := range slices.Sorted(maps.Keys(f.byName)) {
		file := f.byName[name]
		file.count()
		c.Files = append(c.Files, *file)
		c.Covered += file.Covered
		c.Total += file.Total
	}
	if c.Percent = 100 * f.rate; c.Total > 0 {
		c.Percent = 100 * float64(c.Covered) / float64(c.Total)
	}
	return c
}

// Merge unites reports: code that one of them covers is covered. A file that
// several reports have counts unit by unit if all were just read and count
// alike, else as in the report that covers most of it. Reports that list no
// files add their sums; those of nothing but a rate are left out, unless all
// are: then their mean is the result.
func Merge(covers []Cover) Cover {
	f := &files{byName: map[string]*File{}}
	var format string
	var rates, percents float64
	for _, c := range covers {
		switch {
		case len(c.Files) > 0:
			for _, file := range c.Files {
				f.unite(file)
			}
		case c.Total > 0:
			f.covered += c.Covered
			f.total += c.Total
		case c.Percent > 0 || c.Format == KindCobertura:
			rates, percents = rates+1, percents+c.Percent
		}
		if format = cmp.Or(format, c.Format); c.Format != format {
			format = KindMixed
		}
	}
	if rates > 0 {
		f.rate = percents / 100 / rates
	}
	return f.cover(format)
}

// unite takes a file of another report in. It does not keep that one's units.
func (f *files) unite(file File) {
	have := f.byName[file.Name]
	switch {
	case have == nil:
		file.units = maps.Clone(file.units)
		f.byName[file.Name] = &file
	case len(have.units) > 0 && len(file.units) > 0 && have.byLine() == file.byLine():
		for at, u := range file.units {
			old := have.units[at]
			have.units[at] = unit{max(old.weight, u.weight), old.covered || u.covered}
		}
		have.count()
	case share(file.Covered, file.Total) > share(have.Covered, have.Total):
		have.Covered, have.Total, have.units = file.Covered, file.Total, maps.Clone(file.units)
	}
}

// byLine reports whether units are lines. A block of Go always ends somewhere.
func (f *File) byLine() bool {
	for at := range f.units {
		return at[2] == 0
	}
	return false
}

func share(covered, total int64) float64 {
	return float64(covered) / float64(max(total, 1))
}

// lines calls fn for each line that is not blank, without what ends it.
func lines(content []byte, fn func(line string) error) error {
	n := 0
	for line := range strings.Lines(string(content)) {
		n++
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if err := fn(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return nil
}
