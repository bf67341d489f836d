package trust

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// A block is trust's part of a file that is somebody else's. It stands between
// two comments, which TOML and YAML write alike, and the first of them has a
// checksum of what is between, by which a changed one is told.

func blockBegin(h Host, lines []string) string {
	return blockMark(h, "begin") + " " + checksum(lines)
}

func blockMark(h Host, which string) string {
	return fmt.Sprintf("# slipway trust %s: %s", h, which)
}

func checksum(lines []string) string {
	trimmed := make([]string, len(lines))
	for i, l := range lines {
		trimmed[i] = strings.TrimSpace(l)
	}
	sum := sha256.Sum256([]byte(strings.Join(trimmed, "\n")))
	return hex.EncodeToString(sum[:4])
}

// insertBlock puts lines into a text so that at many lines stand above them.
func insertBlock(text string, at int, indent string, h Host, lines []string) string {
	all := split(text)
	block := []string{indent + blockBegin(h, lines)}
	for _, l := range lines {
		block = append(block, indent+l)
	}
	block = append(block, indent+blockMark(h, "end"))
	return join(slices.Insert(all, min(at, len(all)), block...))
}

// cutBlock takes h's block out of a text. found says that there is one, whole
// that it is as insertBlock made it; otherwise the text is returned as it is.
func cutBlock(text string, h Host) (rest string, found, whole bool) {
	all := split(text)
	begin := slices.IndexFunc(all, func(l string) bool { return strings.HasPrefix(strings.TrimSpace(l), blockMark(h, "begin")+" ") })
	if begin < 0 {
		return text, false, false
	}
	length := slices.IndexFunc(all[begin:], func(l string) bool { return strings.TrimSpace(l) == blockMark(h, "end") })
	if length < 0 {
		return text, true, false
	}
	if strings.TrimSpace(all[begin]) != blockBegin(h, all[begin+1:begin+length]) {
		return text, true, false
	}
	return join(slices.Delete(all, begin, begin+length+1)), true, true
}

func split(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

func join(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// blockOf is h's block in a text, as it stands there.
func blockOf(text string, h Host) string {
	rest, _, whole := cutBlock(text, h)
	if !whole {
		return ""
	}
	all, without := split(text), split(rest)
	begin := 0
	for begin < len(without) && all[begin] == without[begin] {
		begin++
	}
	return join(all[begin : begin+len(all)-len(without)])
}

// edited is the plan for a file of somebody else's after an edit.
func edited(f File, after string) File {
	switch {
	case after == string(f.before) && f.before != nil:
		f.Action = Keep
	case strings.TrimSpace(after) == "":
		f.Action = Remove
	default:
		f.Action, f.after = Write, after
	}
	return f
}

// undoBlock plans to take h's block out of a file. clean, if not nil, takes
// out what the edit had to add outside of the block.
func (m *Machine) undoBlock(f File, h Host, clean func(string) string) ([]File, error) {
	var err error
	if f.before, err = m.read(f.Path); err != nil || f.before == nil {
		return nil, err
	}
	rest, found, whole := cutBlock(string(f.before), h)
	switch {
	case !found:
		return nil, nil
	case !whole:
		f.Action = Leave
		f.Why = fmt.Sprintf("somebody changed what stands between '%s' and '%s': take it out by hand", blockMark(h, "begin"), blockMark(h, "end"))
		return []File{f}, nil
	}
	if clean != nil {
		rest = clean(rest)
	}
	return []File{edited(f, rest)}, nil
}
