package tree

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"slipway/internal/oci"
)

// header names the document and its version. An input digest that covers the
// document so covers how it was made.
const header = "slipway tree 1\n"

// Encode writes entries as a document: equal lists give equal bytes. After the
// header there is a line for each entry, of fields between tabs:
//
//	type  mode (octal)  path  size  sha256 (hex)      for a file
//	type  mode          path  link                    for a symlink, a device
//	type  mode          path                          for a folder, a fifo
//
// and then for each extended attribute, in order, its name, "=", and its value
// in base64. A text that is empty, has characters below 0x20, quotes or
// backslashes or is not UTF-8, and a name with "=", is quoted as in Go, with
// ASCII characters only.
func Encode(entries []Entry) []byte {
	b := make([]byte, 0, len(header)+128*len(entries))
	b = append(b, header...)
	for i := range entries {
		e := &entries[i]
		b = append(b, e.Type.String()...)
		b = append(b, '\t')
		b = strconv.AppendUint(b, uint64(e.Mode), 8)
		b = appendText(append(b, '\t'), e.Path)
		switch e.Type {
		case File:
			b = strconv.AppendInt(append(b, '\t'), e.Size, 10)
			b = append(append(b, '\t'), e.Digest.Encoded()...)
		case Symlink, CharDevice, BlockDevice:
			b = appendText(append(b, '\t'), e.Link)
		}
		b = appendXattrs(b, e.Xattrs)
		b = append(b, '\n')
	}
	return b
}

func appendText(b []byte, s string) []byte {
	if plain(s) {
		return append(b, s...)
	}
	return strconv.AppendQuoteToASCII(b, s)
}

func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == '"' || s[i] == '\\' || s[i] == 0x7f {
			return false
		}
	}
	return s != "" && utf8.ValidString(s)
}

func appendXattrs(b []byte, xattrs map[string][]byte) []byte {
	if len(xattrs) == 0 {
		return b
	}
	for _, name := range slices.Sorted(maps.Keys(xattrs)) {
		if b = append(b, '\t'); strings.Contains(name, "=") {
			b = strconv.AppendQuoteToASCII(b, name)
		} else {
			b = appendText(b, name)
		}
		b = base64.StdEncoding.AppendEncode(append(b, '='), xattrs[name])
	}
	return b
}

// ErrDocument says that bytes are not what Encode writes.
var ErrDocument = errors.New("not a list of entries")

// Decode reads what Encode wrote, and nothing else: paths must be relative and
// clean, in the order of a tree and without a duplicate, and there must be no
// other way to write the same list. It wraps ErrDocument otherwise.
func Decode(document []byte) ([]Entry, error) {
	rest, ok := bytes.CutPrefix(document, []byte(header))
	if !ok {
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrDocument, header)
	}
	entries := make([]Entry, 0, bytes.Count(rest, []byte("\n")))
	last := ""
	for number := 2; len(rest) > 0; number++ {
		line, more, ok := bytes.Cut(rest, []byte("\n"))
		if !ok {
			return nil, fmt.Errorf("%w: line %d is cut off", ErrDocument, number)
		}
		e, err := decodeLine(string(line))
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrDocument, number, err)
		}
		if last != "" && compare(last, e.Path) >= 0 {
			return nil, fmt.Errorf("%w: line %d: %q does not come after %q", ErrDocument, number, e.Path, last)
		}
		last, rest = e.Path, more
		entries = append(entries, e)
	}
	if !bytes.Equal(Encode(entries), document) {
		return nil, fmt.Errorf("%w: a value is written in an unusual way", ErrDocument)
	}
	return entries, nil
}

func decodeLine(line string) (Entry, error) {
	fields := strings.Split(line, "\t")
	if len(fields) < 3 {
		return Entry{}, errors.New("too few fields")
	}
	var e Entry
	e.Type = Type(max(0, slices.Index(typeNames[:], fields[0])))
	mode, err := strconv.ParseUint(fields[1], 8, 32)
	if e.Type == 0 || err != nil || mode > 0o7777 {
		return Entry{}, fmt.Errorf("no such type and mode: %q, %q", fields[0], fields[1])
	}
	e.Mode = uint32(mode)
	if e.Path, err = decodeText(fields[2]); err != nil || e.Path == "" || strings.Contains(e.Path, "\x00") || clean(e.Path) != e.Path {
		return Entry{}, fmt.Errorf("no clean relative path: %s", fields[2])
	}
	fields = fields[3:]
	switch e.Type {
	case File:
		if len(fields) < 2 {
			return Entry{}, errors.New("a file needs size and sha256")
		}
		e.Size, err = strconv.ParseInt(fields[0], 10, 64)
		if err != nil || e.Size < 0 {
			return Entry{}, fmt.Errorf("no size: %q", fields[0])
		}
		if e.Digest, err = oci.ParseDigest("sha256:" + fields[1]); err != nil {
			return Entry{}, err
		}
		fields = fields[2:]
	case Symlink, CharDevice, BlockDevice:
		if len(fields) < 1 {
			return Entry{}, fmt.Errorf("a %s needs one more field", e.Type)
		}
		if e.Link, err = decodeText(fields[0]); err != nil {
			return Entry{}, err
		}
		fields = fields[1:]
	}
	return e, decodeXattrs(&e, fields)
}

func decodeXattrs(e *Entry, fields []string) error {
	for _, field := range fields {
		quoted, _ := strconv.QuotedPrefix(field)
		name, encoded, ok := strings.Cut(field[len(quoted):], "=")
		if !ok {
			return fmt.Errorf("no attribute: %q", field)
		}
		name, err := decodeText(quoted + name)
		if err != nil {
			return err
		}
		value, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
		if e.Xattrs == nil {
			e.Xattrs = map[string][]byte{}
		}
		e.Xattrs[name] = value
	}
	return nil
}

func decodeText(s string) (string, error) {
	if !strings.HasPrefix(s, `"`) {
		return s, nil
	}
	text, err := strconv.Unquote(s)
	if err != nil {
		return "", fmt.Errorf("bad quotes: %s", s)
	}
	return text, nil
}
