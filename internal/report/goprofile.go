package report

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// readGo reads a profile of go test -coverprofile, or several put together:
//
//	mode: set
//	example.com/app/main.go:3.13,5.2 1 0
//
// A block that several test binaries report is one block. The total is that
// of go tool cover -func, which has the source, except for function literals
// outside of functions: go tool cover leaves them out, go test counts them.
func readGo(f *files, content []byte) error {
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	return lines(content, func(line string) error {
		if mode, ok := strings.CutPrefix(line, "mode: "); ok {
			if mode != "set" && mode != "count" && mode != "atomic" {
				return fmt.Errorf("mode %q is not set, count or atomic", clip(mode))
			}
			return nil
		}
		name, at, u, ok := goBlock(line)
		if !ok {
			return fmt.Errorf("%q is not <file>:<line>.<column>,<line>.<column> <statements> <count>", clip(line))
		}
		return f.add(f.file(name), at, u)
	})
}

// goBlock reads a line from its end, since a file's name may hold anything.
func goBlock(line string) (name string, at place, u unit, ok bool) {
	colon := strings.LastIndexByte(line, ':')
	if colon <= 0 {
		return "", at, u, false
	}
	var fields [6]string
	rest := line[colon+1:]
	for i, separator := range []string{".", ",", ".", " ", " "} {
		if fields[i], rest, ok = strings.Cut(rest, separator); !ok {
			return "", at, u, false
		}
	}
	fields[5] = rest
	for i := range at {
		n, err := strconv.ParseUint(fields[i], 10, 31)
		if err != nil {
			return "", at, u, false
		}
		at[i] = int32(n)
	}
	weight, err := strconv.ParseUint(fields[4], 10, 15)
	hits, err2 := strconv.ParseUint(fields[5], 10, 64)
	if err != nil || err2 != nil || at[2] == 0 {
		return "", at, u, false
	}
	return line[:colon], at, unit{int32(weight), hits > 0}, true
}
