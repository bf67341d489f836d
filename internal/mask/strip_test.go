package mask_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"slipway/internal/mask"
)

var stripped = map[string]string{
	"": "", "plain\ttext\n": "plain\ttext\n", "naïve ✓ 日本 🚀": "naïve ✓ 日本 🚀",
	"\x1b[31mred\x1b[0m": "red", "\x1b[38;5;196mred\x1b[m": "red", "\x1b[2K\x1b[1Gline": "line", "\x1b[?25l\x1b[!p\x1b[1 q": "",
	"\x1b]0;title\x07after": "after", "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\": "link", "\x1bP1$r\x1b\\x": "x", "\x1b_apc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\y": "y",
	"\x1b(B\x1b)0\x1b#8x": "x", "\x1bcx\x1b7\x1b8\x1b=": "x", "\x1b": "", "\x1b[": "", "\x1b]0;tit": "",
	"\x9b31mred": "red", "\u009b31mred": "red", "\x9d0;t\x9cx": "x", "\u009d0;t\u009cx": "x", "\u0085x\u0084": "x",
	"\x1b]0;✓ naïve\x07x": "x", // 9C within a character of a title is no end
	"a\rb":                "a\nb", "a\r\nb": "a\nb", "a\r\r\nb": "a\n\nb", "a\n\rb": "a\n\nb", "\r": "\n", "50%\r100%\r\n": "50%\n100%\n", "a\rÄ": "a\nÄ",
	"a\bb\x00\x07\x0b\x0c\x0e\x7fc": "abc", "\x1b[3\n1mx": "\n1mx", "\x1b]0;open\nnext": "\nnext", "\x1b[3\x181mx": "1mx",
	"\x1b\x1b[31mx": "x", "\x1b]0;a\x1b[31mx": "x", "\x1b[31\x1b[32mx": "x", "\x1b[3Äx": "Äx", "\x1bÄ": "Ä",
	"\xff": "\ufffd", "\xe2\x82x": "\ufffdx", "\xe2\x82\xacx": "€x", "\xe0\x9b31mx": "\ufffdx", "\xc2": "", "\xc2x": "\ufffdx", "\xc2\x1b[mx": "\ufffdx", "\xa0": "\ufffd", "\xc0\x9b31mx": "\ufffdx",
}

func TestStripControl(t *testing.T) {
	for in, want := range stripped {
		if got := string(mask.StripControl(nil, []byte(in))); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	if got := string(mask.StripControl([]byte("before "), []byte("\x1b[mafter"))); got != "before after" {
		t.Errorf("appended: %q", got)
	}
}

func checkStripped(t rapid.TB, in, out []byte) {
	if !utf8.Valid(out) {
		t.Errorf("%q became %q, not UTF-8", in, out)
	}
	for _, r := range string(out) {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			t.Errorf("%q became %q, which has %U", in, out, r)
		}
	}
	if again := mask.StripControl(nil, out); !bytes.Equal(again, out) {
		t.Errorf("%q became %q and then %q", in, out, again)
	}
}

func TestStripWhateverTheChunks(t *testing.T) {
	parts := []string{"\x1b", "[", "]", "P", "\\", "\x07", "\x9b", "\x9c", "\xc2", "\xe2", "\x82", "\xac", "\xf0", "31", "m", "a", "\r", "\n", "\t", "\x18", "\xff", " "}
	rapid.Check(t, func(t *rapid.T) {
		in := []byte(strings.Join(rapid.SliceOf(rapid.SampledFrom(parts)).Draw(t, "in"), ""))
		want := mask.StripControl(nil, in)
		checkStripped(t, in, want)
		var out bytes.Buffer
		w := mask.Strip(&out)
		for _, chunk := range chunks(t, in) {
			_, _ = w.Write(chunk)
		}
		if !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%q: %q in chunks, %q in one", in, out.Bytes(), want)
		}
	})
}

func FuzzStripControl(f *testing.F) {
	for in := range stripped {
		f.Add([]byte(in), uint8(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		want := mask.StripControl(nil, in)
		checkStripped(t, in, want)
		var s mask.Stripper
		var got []byte
		for chunk := range slices.Chunk(in, int(size)+1) {
			got = s.Append(got, chunk)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%q: %q in chunks, %q in one", in, got, want)
		}
	})
}
