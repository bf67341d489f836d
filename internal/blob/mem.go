package blob

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"slipway/internal/oci"
)

var _ Store = (*Mem)(nil)

// Mem is a store in memory, for tests of what stands on the contract.
type Mem struct {
	mu      sync.Mutex
	uploads map[State]memEntry
	blobs   map[Key]memEntry
}

type memEntry struct {
	bytes    []byte
	modified time.Time
}

// NewMem makes an empty store.
func NewMem() *Mem {
	return &Mem{uploads: map[State]memEntry{}, blobs: map[Key]memEntry{}}
}

// Append implements Store.
func (m *Mem) Append(_ context.Context, s State, offset int64, r io.Reader) (int64, State, error) {
	if s == "" {
		s = State(nonce())
		m.mu.Lock()
		m.uploads[s] = memEntry{}
		m.mu.Unlock()
	}
	more, readErr := io.ReadAll(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.uploads[s]
	if !ok {
		return 0, s, ErrNotFound
	}
	if int64(len(e.bytes)) < offset {
		return 0, s, fmt.Errorf("upload has %d bytes, expected at least %d: %w", len(e.bytes), offset, io.ErrUnexpectedEOF)
	}
	m.uploads[s] = memEntry{append(bytes.Clone(e.bytes[:offset]), more...), time.Now()}
	return int64(len(more)), s, readErr
}

// Sync implements Store.
func (m *Mem) Sync(_ context.Context, s State) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.uploads[s]; !ok && s != "" {
		return ErrNotFound
	}
	return nil
}

// Commit implements Store.
func (m *Mem) Commit(_ context.Context, s State, digest oci.Digest, size int64) (Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.uploads[s]
	delete(m.uploads, s)
	if !ok {
		return "", fmt.Errorf("commit %s: %w", digest, ErrNotFound)
	}
	if int64(len(e.bytes)) < size {
		return "", fmt.Errorf("commit %s: upload has %d bytes, expected %d: %w", digest, len(e.bytes), size, io.ErrUnexpectedEOF)
	}
	k := Key(digest.String() + "-" + string(s))
	m.blobs[k] = memEntry{e.bytes[:size], time.Now()}
	return k, nil
}

// Abort implements Store.
func (m *Mem) Abort(_ context.Context, s State) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.uploads, s)
	return nil
}

type memFile struct{ *bytes.Reader }

func (memFile) Close() error { return nil }

// OpenUpload implements Store.
func (m *Mem) OpenUpload(_ context.Context, s State) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.uploads[s]; ok {
		return memFile{bytes.NewReader(e.bytes)}, nil
	}
	return nil, ErrNotFound
}

// Open implements Store.
func (m *Mem) Open(_ context.Context, k Key) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.blobs[k]; ok {
		return memFile{bytes.NewReader(e.bytes)}, nil
	}
	return nil, ErrNotFound
}

// Delete implements Store.
func (m *Mem) Delete(_ context.Context, k Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.blobs, k)
	return nil
}

// Walk implements Store.
func (m *Mem) Walk(_ context.Context, fn func(Entry) error) error {
	m.mu.Lock()
	var all []Entry
	for s, e := range m.uploads {
		all = append(all, Entry{State: s, Size: int64(len(e.bytes)), Modified: e.modified})
	}
	for k, e := range m.blobs {
		digest, _, _ := strings.Cut(string(k), "-")
		all = append(all, Entry{Key: k, Digest: oci.Digest(digest), Size: int64(len(e.bytes)), Modified: e.modified})
	}
	m.mu.Unlock()
	for _, e := range all {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}
