package tree

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func entry(r *rapid.T, path string) Entry {
	e := Entry{Path: path, Mode: rapid.Uint32Range(0, 0o7777).Draw(r, "mode"), Type: Type(rapid.IntRange(1, int(BlockDevice)).Draw(r, "type"))}
	switch e.Type {
	case File:
		e.Size, e.Digest = rapid.Int64Min(0).Draw(r, "size"), digestOf(sum(rapid.String().Draw(r, "content")))
	case Symlink, CharDevice, BlockDevice:
		e.Link = string(rapid.SliceOf(rapid.Byte()).Draw(r, "link"))
	}
	if rapid.Bool().Draw(r, "attributes") {
		e.Xattrs = rapid.MapOfN(rapid.StringOf(rapid.RuneFrom([]rune("a.=\"\t\\ü"))), rapid.SliceOf(rapid.Byte()), 1, 3).Draw(r, "xattrs")
	}
	return e
}

func TestEncodeRoundTrip(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		list := []Entry{}
		for _, path := range rapid.SliceOfDistinct(rapid.SliceOfN(rapid.Byte(), 1, 8), func(b []byte) string { return string(b) }).Draw(r, "paths") {
			if p := clean(string(path)); p != "" && p == string(path) && !strings.Contains(p, "\x00") {
				list = append(list, entry(r, p))
			}
		}
		slices.SortFunc(list, func(a, b Entry) int { return compare(a.Path, b.Path) })
		got, err := Decode(Encode(list))
		if err != nil {
			r.Fatalf("%v in\n%s", err, Encode(list))
		}
		if !reflect.DeepEqual(got, list) {
			r.Fatalf("got  %#v\nwant %#v", got, list)
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	sha := digestOf(sum("")).Encoded()
	for name, document := range map[string]string{
		"nothing":             "",
		"other version":       "slipway tree 2\n",
		"cut off":             header + "dir\t755\ta",
		"unknown type":        header + "door\t755\ta\n",
		"mode not octal":      header + "dir\t799\ta\n",
		"mode with zero":      header + "dir\t0755\ta\n",
		"mode too large":      header + "dir\t10000\ta\n",
		"absolute":            header + "dir\t755\t/a\n",
		"parent":              header + "dir\t755\t../a\n",
		"unclean":             header + "dir\t755\ta/\n",
		"empty path":          header + "dir\t755\t\"\"\n",
		"needless quotes":     header + "dir\t755\t\"a\"\n",
		"duplicate":           header + "dir\t755\ta\ndir\t755\ta\n",
		"out of order":        header + "dir\t755\tb\ndir\t755\ta\n",
		"size with sign":      header + "file\t644\ta\t+0\t" + sha + "\n",
		"negative size":       header + "file\t644\ta\t-1\t" + sha + "\n",
		"short digest":        header + "file\t644\ta\t0\t" + sha[2:] + "\n",
		"upper-case digest":   header + "file\t644\ta\t0\t" + strings.ToUpper(sha) + "\n",
		"attributes unsorted": header + "dir\t755\ta\tuser.b=\tuser.a=\n",
		"attribute twice":     header + "dir\t755\ta\tuser.a=\tuser.a=\n",
		"too many fields":     header + "dir\t755\ta\tx\n",
	} {
		if e, err := Decode([]byte(document)); !errors.Is(err, ErrDocument) {
			t.Errorf("%s: got %v, %v", name, e, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(header + "dir\t755\ta\tuser.a=AA==\nfile\t644\ta/b\t0\t" + digestOf(sum("")).Encoded() + "\nsymlink\t777\t\"\\n\"\tx\n"))
	f.Fuzz(func(t *testing.T, document []byte) {
		entries, err := Decode(document)
		if err == nil && !bytes.Equal(Encode(entries), document) {
			t.Errorf("two documents for one list:\n%q\n%q", document, Encode(entries))
		}
	})
}

func FuzzCacheFile(f *testing.F) {
	f.Add(pack(map[string]record{"f": {digest: marked, xattrs: map[string][]byte{"a": nil}}}))
	f.Fuzz(func(_ *testing.T, b []byte) {
		NewCache().decode(append([]byte(cacheHeader), b...))
		unpack(b)
	})
}
