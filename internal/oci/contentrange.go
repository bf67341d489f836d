package oci

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ContentRange is the place of a chunk within an upload: both ends inclusive,
// and never so far apart that Length overflows.
type ContentRange struct{ First, Last int64 }

// Length is the number of bytes that the range spans.
func (r ContentRange) Length() int64 { return r.Last - r.First + 1 }

// ParseContentRange reads the form that the specification gives to chunks,
// "<first>-<last>", and tolerates HTTP's own "bytes <first>-<last>/<total>".
func ParseContentRange(s string) (ContentRange, error) {
	v := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(s), "bytes "))
	v, _, _ = strings.Cut(v, "/")
	a, b, ok := strings.Cut(v, "-")
	first, err1 := parseOffset(a)
	last, err2 := parseOffset(b)
	if !ok || err1 != nil || err2 != nil || last < first || last == math.MaxInt64 {
		return ContentRange{}, NewError(CodeRangeInvalid, fmt.Sprintf("Content-Range %q is not <first>-<last> with first not after last", clip(s)))
	}
	return ContentRange{first, last}, nil
}

func parseOffset(s string) (int64, error) {
	if s == "" || len(s) > 19 || strings.Trim(s, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseInt(s, 10, 64)
}
