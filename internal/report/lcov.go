package report

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// readLCOV reads a tracefile of geninfo(1): records of one file each, which
// end with end_of_record, with a DA line for each line of code, and LF and LH
// for their sums. Tools that leave DA out are taken at their sums. Several
// records of a file, one for each test, are united.
func readLCOV(f *files, content []byte) error {
	var file *File
	var found, hit int64
	err := lines(content, func(line string) error {
		key, value, _ := strings.Cut(line, ":")
		if file == nil && (key == "DA" || key == "LF" || key == "LH") {
			return errors.New("a record must begin with SF:<file>")
		}
		switch key {
		case "SF":
			file, found, hit = f.file(value), 0, 0
			return f.check()
		case "DA":
			at, u, ok := lcovLine(value)
			if !ok {
				return fmt.Errorf("%q is not DA:<line>,<count>", clip(line))
			}
			return f.add(file, at, u)
		case "LF", "LH":
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				return fmt.Errorf("%q is not %s:<count>", clip(line), key)
			}
			if key == "LF" {
				found = int64(n)
			} else {
				hit = int64(n)
			}
		case "end_of_record":
			if file != nil && found > file.Total { // counts only without DA lines, see count
				file.Total, file.Covered = found, min(hit, found)
			}
			file = nil
		}
		return nil
	})
	if err == nil && file != nil {
		err = fmt.Errorf("the record of %s has no end_of_record: was the report cut off?", file.Name)
	}
	return err
}

// lcovLine reads "<line>,<count>[,<checksum>]". A few compilers write counts
// that went below zero; such a line did run.
func lcovLine(value string) (place, unit, bool) {
	fields := strings.SplitN(value, ",", 3)
	if len(fields) < 2 {
		return place{}, unit{}, false
	}
	n, err := strconv.ParseInt(fields[0], 10, 32)
	hits, err2 := strconv.ParseFloat(fields[1], 64) // some write 1e+06
	return place{int32(n)}, unit{1, hits != 0}, err == nil && err2 == nil && n >= 0 && hits == hits
}
