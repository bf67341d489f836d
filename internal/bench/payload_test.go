package bench

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestLayersAreDistinctAndTrulyHashed(t *testing.T) {
	for _, size := range []int{33, 64, 1 << 10, 10<<10 + 7} {
		p, err := newPayload(size)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for seq := range uint64(5) {
			l, err := p.layer(seq)
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(l.open())
			if err != nil {
				t.Fatal(err)
			}
			if len(content) != size || l.size() != int64(size) {
				t.Errorf("size %d: %d bytes, size() %d", size, len(content), l.size())
			}
			if want := digestOf(content); l.digest != want {
				t.Errorf("size %d: digest %s, want %s", size, l.digest, want)
			}
			if seen[l.digest] {
				t.Errorf("size %d: layer %d is not new", size, seq)
			}
			seen[l.digest] = true
		}
	}
	if _, err := newPayload(tailSize); err == nil {
		t.Error("a layer without random bytes was made")
	}
}

func TestLayerReader(t *testing.T) {
	p, err := newPayload(100)
	if err != nil {
		t.Fatal(err)
	}
	l, err := p.layer(1)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(l.open())
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(l.open(), content); err != nil {
		t.Error(err)
	}
}

func TestVerify(t *testing.T) {
	p, err := newPayload(1000)
	if err != nil {
		t.Fatal(err)
	}
	l, err := p.layer(1)
	if err != nil {
		t.Fatal(err)
	}
	good, err := io.ReadAll(l.open())
	if err != nil {
		t.Fatal(err)
	}
	flip := func(i int) []byte {
		b := slices.Clone(good)
		b[i] ^= 1
		return b
	}
	tests := []struct {
		name    string
		content []byte
		want    string // part of the error, "" for none
	}{
		{"good", good, ""},
		{"first byte", flip(0), "wrong bytes after offset 0"},
		{"last random byte", flip(1000 - tailSize - 1), "wrong bytes"},
		{"tail", flip(999), "wrong bytes"},
		{"empty", nil, "0 bytes, want 1000"},
		{"short by one", good[:999], "999 bytes, want 1000"},
		{"without tail", good[:1000-tailSize], "968 bytes, want 1000"},
		{"long by one", append(slices.Clone(good), 0), "more than its 1000 bytes"},
	}
	for _, tt := range tests {
		for _, chunk := range []int{1, 7, 1000, 4096} {
			n, err := l.verify(bytes.NewReader(tt.content), make([]byte, chunk))
			if tt.want == "" && (err != nil || n != 1000) {
				t.Errorf("%s by %d: %d, %v", tt.name, chunk, n, err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%s by %d: error %v, want %q", tt.name, chunk, err, tt.want)
			}
		}
	}
	_, err = l.verify(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(good))), make([]byte, 10))
	if err == nil || !strings.Contains(err.Error(), "read at offset 1") {
		t.Errorf("a reader that fails: %v", err)
	}
}
