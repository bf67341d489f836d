package buildkit

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"slipway/internal/pipeline"
	"slipway/internal/tree"
)

// sharedKey names what the builder keeps of the folders that it was sent, so
// that the next solve sends only what changed. Projects, trust levels and
// targets never share it.
//
// When the mode of a folder changes that the builder has, it sets the new one,
// and goes on to take its old checksum for the folder's: a COPY of it then gives
// the image of before. So the key also says what the folders' modes are. Under
// one key no folder ever changes, and a key is seldom new: most folders of a
// checkout have one mode, and only that and the exceptions are in it.
func sharedKey(t pipeline.Solve) string {
	h := sha256.New()
	write := func(name string, t *tree.Tree) {
		if t != nil {
			fmt.Fprintf(h, "%q\n", name)
			h.Write(folders(t.Entries()))
		}
	}
	write(localContext, t.Context)
	for _, name := range slices.Sorted(maps.Keys(t.Contexts)) {
		write("context:"+name, t.Contexts[name])
	}
	return strings.Join([]string{t.Project, t.Trust, t.Target, hex.EncodeToString(h.Sum(nil))}, "\x00")
}

// folders says what the modes and attributes of folders are: equal texts never
// say different things of one path.
func folders(entries []tree.Entry) []byte {
	count := map[uint32]int{}
	for i := range entries {
		if e := &entries[i]; e.Type == tree.Dir {
			count[e.Mode]++
		}
	}
	usual := uint32(0o755)
	if len(count) > 0 {
		usual = slices.MaxFunc(slices.Sorted(maps.Keys(count)), func(a, b uint32) int { return cmp.Compare(count[a], count[b]) })
	}
	var others []tree.Entry
	for i := range entries {
		if e := &entries[i]; e.Type == tree.Dir && (e.Mode != usual || len(e.Xattrs) > 0) {
			others = append(others, *e)
		}
	}
	return append(fmt.Appendf(nil, "%o\n", usual), tree.Encode(others)...)
}
