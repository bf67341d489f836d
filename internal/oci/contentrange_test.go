package oci_test

import (
	"fmt"
	"testing"

	"slipway/internal/oci"
)

var contentRanges = map[string]oci.ContentRange{
	"0-0": {0, 0}, "0-1": {0, 1}, "5-9": {5, 9}, "0-9223372036854775806": {0, 1<<63 - 2},
	"bytes 5-9": {5, 9}, "bytes 5-9/10": {5, 9}, "bytes 5-9/*": {5, 9}, "5-9/10": {5, 9}, " 5-9 ": {5, 9},
}

var badContentRanges = []string{
	"", "-", "5", "5-", "-5", "9-5", "1-0", "5--9", "+5-9", "5-+9", "0x5-0x9", "5 - 9", "5-9-10", "a-b", "bytes", "bytes ", "bytes=5-9", "items 5-9", "５-９",
	"99999999999999999999-99999999999999999999", "0-9223372036854775807", "0-9223372036854775808", "5-9\x00", "-1--1", "1e3-2e3",
}

func TestParseContentRange(t *testing.T) {
	for s, want := range contentRanges {
		if got, err := oci.ParseContentRange(s); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range badContentRanges {
		if got, err := oci.ParseContentRange(s); !oci.HasCode(err, oci.CodeRangeInvalid) {
			t.Errorf("%q: %v, %v, want RANGE_INVALID", s, got, err)
		}
	}
}

func FuzzParseContentRange(f *testing.F) {
	for s := range contentRanges {
		f.Add(s)
	}
	for _, s := range badContentRanges {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := oci.ParseContentRange(s)
		if err != nil {
			if !oci.HasCode(err, oci.CodeRangeInvalid) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if r.First < 0 || r.Last < r.First || r.Length() < 1 {
			t.Errorf("%q: %+v with length %d", s, r, r.Length())
		}
		if again, err := oci.ParseContentRange(fmt.Sprintf("%d-%d", r.First, r.Last)); err != nil || again != r {
			t.Errorf("%q: %+v and again %+v, %v", s, r, again, err)
		}
	})
}
