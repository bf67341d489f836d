package httpapi

import (
	"fmt"
	"strconv"
	"strings"

	"slipway/internal/oci"
)

// applyRange leaves only ranges in the request that http.ServeContent can
// serve. It drops those that do not count (RFC 9110, 14.2 and 13.1.5) and
// returns the specification's error, instead of net/http's plain text, if one
// ends before it begins or the blob ends before all of them.
func applyRange(c *call, size int64) error {
	hd := c.Request.Header
	header := hd.Get("Range")
	if header == "" {
		return nil
	}
	valid, some := checkRange(header, size)
	condition := hd.Get("If-Range")
	if !valid || size == 0 || (condition != "" && condition != c.Header().Get("ETag")) {
		hd.Del("Range")
		return nil
	}
	if some {
		return nil
	}
	c.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", size))
	return oci.NewError(oci.CodeRangeInvalid, fmt.Sprintf("the range %.100q has no part of the blob's %d bytes", header, size))
}

// checkRange reports whether a Range header is well formed, and whether some
// of it lies within size bytes. With a range that ends before it begins none
// does.
func checkRange(header string, size int64) (valid, some bool) {
	list, ok := strings.CutPrefix(header, "bytes=")
	if !ok {
		return false, false
	}
	for spec := range strings.SplitSeq(list, ",") {
		spec = strings.Trim(spec, " \t")
		if spec == "" {
			continue
		}
		first, last, ok := strings.Cut(spec, "-")
		from, err1 := position(first)
		to, err2 := position(last)
		switch {
		case !ok || err1 != nil || err2 != nil || (from < 0 && to < 0):
			return false, false
		case from >= 0 && to >= 0 && to < from:
			return true, false // RFC 9110 leaves the choice; conformance wants a refusal
		case from < 0: // the last so many bytes
			valid, some = true, some || to > 0
		default:
			valid, some = true, some || from < size
		}
	}
	return valid, some
}

// position is a number of a range, -1 for one that is left out.
func position(s string) (int64, error) {
	if s == "" {
		return -1, nil
	}
	if strings.Trim(s, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseInt(s, 10, 64)
}
