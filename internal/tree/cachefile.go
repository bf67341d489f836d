package tree

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// The file of a cache: a header, then for each root its name, the second of
// its last use, and its records as one block with a checksum. Numbers are
// varints, strings have their length in front. Blocks are decoded when their
// root is asked for, so that a command pays for its own project only.
const cacheHeader = "slipway tree cache 1\n"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errCorrupt = errors.New("corrupt")

// OpenCache reads the cache that Save wrote to a file. A file that is missing
// or damaged is an empty cache; it is replaced by Save. An error says that the
// file is there and cannot be read.
func OpenCache(path string) (*Cache, error) {
	c := NewCache()
	c.path = path
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the cache of file hashes: %w", err)
	}
	c.decode(b)
	return c, nil
}

// Save writes the cache to its file, if it has one and there is something new.
// The file is replaced as a whole: of two programs that save at once, one
// wins. It is not synced to disk: after a power cut it may be damaged, which
// OpenCache sees.
func (c *Cache) Save() error {
	if c == nil || c.path == "" {
		return nil
	}
	c.mu.Lock()
	if !c.dirty {
		c.mu.Unlock()
		return nil
	}
	b := c.encode()
	c.dirty = false
	c.mu.Unlock()
	if err := replaceFile(c.path, b); err != nil {
		c.mu.Lock()
		c.dirty = true
		c.mu.Unlock()
		return fmt.Errorf("save the cache of file hashes: %w", err)
	}
	return nil
}

func replaceFile(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

func (c *Cache) encode() []byte {
	b := []byte(cacheHeader)
	for _, root := range slices.Sorted(maps.Keys(c.roots)) {
		r := c.roots[root]
		block := r.packed
		if block == nil {
			block = pack(r.records)
		}
		b = appendString(b, root)
		b = binary.AppendVarint(b, r.used.Unix())
		b = appendString(b, string(block))
	}
	return b
}

func (c *Cache) decode(b []byte) {
	if len(b) < len(cacheHeader) || string(b[:len(cacheHeader)]) != cacheHeader {
		return
	}
	r := reader{b: b[len(cacheHeader):]}
	for len(r.b) > 0 {
		root, used, block := r.string(), r.varint(), r.bytes()
		if r.err != nil {
			return
		}
		c.roots[root] = &rootRecords{used: time.Unix(used, 0), packed: block}
	}
}

// len is the number of records, near enough for a limit if they are packed.
func (r *rootRecords) len() int {
	if r.packed != nil {
		return len(r.packed) / 64
	}
	return len(r.records)
}

func (r *rootRecords) unpack() {
	if r.packed != nil {
		r.records, r.packed = unpack(r.packed), nil
	}
}

func pack(records map[string]record) []byte {
	b := make([]byte, 4, 16+96*len(records))
	b = binary.AppendUvarint(b, uint64(len(records)))
	for path, rec := range records {
		b = appendString(b, path)
		b = binary.AppendUvarint(b, rec.stamp.dev)
		b = binary.AppendUvarint(b, rec.stamp.ino)
		b = binary.AppendVarint(b, rec.stamp.size)
		b = binary.AppendVarint(b, rec.stamp.mtime)
		b = binary.AppendVarint(b, rec.stamp.ctime)
		sum, _ := hex.DecodeString(rec.digest.Encoded()) // we made it
		b = append(b, sum...)
		b = binary.AppendUvarint(b, uint64(len(rec.xattrs)))
		for name, value := range rec.xattrs {
			b = appendString(appendString(b, name), string(value))
		}
	}
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

// unpack returns nothing if the block is damaged.
func unpack(b []byte) map[string]record {
	if len(b) < 4 || binary.BigEndian.Uint32(b) != crc32.Checksum(b[4:], castagnoli) {
		return nil
	}
	r := reader{b: b[4:]}
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		return nil
	}
	records := make(map[string]record, n)
	for range n {
		path := r.string()
		rec := record{stamp: stamp{dev: r.uvarint(), ino: r.uvarint(), size: r.varint(), mtime: r.varint(), ctime: r.varint()}}
		rec.digest = digestOf(r.take(32))
		for range r.uvarint() {
			if rec.xattrs == nil {
				rec.xattrs = map[string][]byte{}
			}
			name := r.string()
			rec.xattrs[name] = r.bytes()
			if r.err != nil {
				break
			}
		}
		if r.err != nil {
			return nil
		}
		records[path] = rec
	}
	return records
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader takes values off b until one is wrong; then everything is zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n uint64) []byte {
	if r.err == nil && n > uint64(len(r.b)) {
		r.err = errCorrupt
	}
	if r.err != nil {
		return nil
	}
	taken := r.b[:n:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) bytes() []byte  { return r.take(r.uvarint()) }
func (r *reader) string() string { return string(r.bytes()) }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	return advance(r, v, n)
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	return advance(r, v, n)
}

func advance[T int64 | uint64](r *reader, v T, n int) T {
	if r.err == nil && n <= 0 {
		r.err = errCorrupt
	}
	if r.err != nil {
		return 0
	}
	r.b = r.b[n:]
	return v
}
