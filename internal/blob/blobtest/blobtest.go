// Package blobtest is the contract of blob.Store as tests. Every
// implementation runs it.
package blobtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"slipway/internal/blob"
	"slipway/internal/oci"
)

// Run checks a store. open returns a new, empty one.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, blob.Store)
	}{
		{"append in pieces, then commit", pieces},
		{"append replaces what is beyond the offset", replaces},
		{"append beyond the end is refused", beyond},
		{"what was read before an error is kept", keepsPart},
		{"an upload can be read", readUpload},
		{"commit cuts to the size given", cuts},
		{"commit of too few bytes ends the upload", tooFew},
		{"commits of one digest get different keys", uniqueKeys},
		{"a blob is as young as its commit", modified},
		{"abort", abort},
		{"delete", remove},
		{"an open blob survives its deletion", openWhileDeleted},
		{"files seek", seeks},
		{"what is not there", absent},
		{"walk finds everything", walk},
		{"walk ends at an error", walkEnds},
		{"many at once", concurrent},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

var ctx = context.Background()

func appendTo(t *testing.T, s blob.Store, state blob.State, offset int64, b []byte) blob.State {
	t.Helper()
	n, next, err := s.Append(ctx, state, offset, bytes.NewReader(b))
	if err != nil || n != int64(len(b)) {
		t.Fatalf("Append of %d bytes at %d: %d, %v", len(b), offset, n, err)
	}
	if next == "" {
		t.Fatal("Append returned the zero state")
	}
	return next
}

func commit(t *testing.T, s blob.Store, b []byte) blob.Key {
	t.Helper()
	state := appendTo(t, s, "", 0, b)
	if err := s.Sync(ctx, state); err != nil {
		t.Fatal(err)
	}
	k, err := s.Commit(ctx, state, oci.FromBytes(oci.SHA256, b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func read(t *testing.T, f blob.File, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wantBlob(t *testing.T, s blob.Store, k blob.Key, want []byte) {
	t.Helper()
	f, err := s.Open(ctx, k)
	if got := read(t, f, err); !bytes.Equal(got, want) {
		t.Errorf("blob has %d bytes, want %d, or they differ", len(got), len(want))
	}
}

func wantUpload(t *testing.T, s blob.Store, state blob.State, want string) {
	t.Helper()
	f, err := s.OpenUpload(ctx, state)
	if got := read(t, f, err); string(got) != want {
		t.Errorf("upload holds %q, want %q", got, want)
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

func pieces(t *testing.T, s blob.Store) {
	content := randomBytes(1<<20 + 7)
	var state blob.State
	offset := 0
	for _, n := range []int{1, 0, 4095, 256 << 10, 1<<20 + 7 - 1 - 4095 - 256<<10} {
		state = appendTo(t, s, state, int64(offset), content[offset:offset+n])
		offset += n
		if err := s.Sync(ctx, state); err != nil {
			t.Fatal(err)
		}
	}
	k, err := s.Commit(ctx, state, oci.FromBytes(oci.SHA256, content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	wantBlob(t, s, k, content)
	if _, err := s.OpenUpload(ctx, state); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("the upload after its commit: %v, want ErrNotFound", err)
	}
}

func replaces(t *testing.T, s blob.Store) {
	state := appendTo(t, s, "", 0, []byte("0123456789"))
	state = appendTo(t, s, state, 4, []byte("x"))
	wantUpload(t, s, state, "0123x")
	state = appendTo(t, s, state, 0, nil)
	wantUpload(t, s, state, "")
}

func beyond(t *testing.T, s blob.Store) {
	state := appendTo(t, s, "", 0, []byte("0123"))
	if _, _, err := s.Append(ctx, state, 5, bytes.NewReader([]byte("x"))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Append with a gap: %v, want io.ErrUnexpectedEOF", err)
	}
	wantUpload(t, s, state, "0123")
}

func keepsPart(t *testing.T, s blob.Store) {
	lost := errors.New("connection lost")
	state := appendTo(t, s, "", 0, []byte("begin "))
	n, state, err := s.Append(ctx, state, 6, io.MultiReader(bytes.NewReader([]byte("part")), iotest.ErrReader(lost)))
	if !errors.Is(err, lost) || n != 4 {
		t.Fatalf("Append: %d, %v; want 4 and the reader's own error", n, err)
	}
	wantUpload(t, s, state, "begin part")
	state = appendTo(t, s, state, 10, []byte(" end"))
	wantUpload(t, s, state, "begin part end")

	// The first bytes of an upload too.
	n, state, err = s.Append(ctx, "", 0, io.MultiReader(bytes.NewReader([]byte("p")), iotest.ErrReader(lost)))
	if !errors.Is(err, lost) || n != 1 {
		t.Fatalf("first Append: %d, %v; want 1 and the reader's own error", n, err)
	}
	wantUpload(t, s, state, "p")
}

func readUpload(t *testing.T, s blob.Store) {
	state := appendTo(t, s, "", 0, []byte("abc"))
	wantUpload(t, s, state, "abc")
	state = appendTo(t, s, state, 3, []byte("def")) // reading leaves it as it is
	wantUpload(t, s, state, "abcdef")
}

func cuts(t *testing.T, s blob.Store) {
	state := appendTo(t, s, "", 0, []byte("0123456789"))
	k, err := s.Commit(ctx, state, oci.FromBytes(oci.SHA256, []byte("0123")), 4)
	if err != nil {
		t.Fatal(err)
	}
	wantBlob(t, s, k, []byte("0123"))
}

func tooFew(t *testing.T, s blob.Store) {
	state := appendTo(t, s, "", 0, []byte("0123"))
	if _, err := s.Commit(ctx, state, oci.FromBytes(oci.SHA256, []byte("01234")), 5); err == nil {
		t.Error("Commit of 5 bytes of 4 succeeded")
	}
	if _, err := s.OpenUpload(ctx, state); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("the upload after a failed commit: %v, want ErrNotFound", err)
	}
	if list := entries(t, s); len(list) != 0 {
		t.Errorf("left behind: %v", list)
	}
}

func uniqueKeys(t *testing.T, s blob.Store) {
	content := []byte("the same")
	first, second := commit(t, s, content), commit(t, s, content)
	if first == second {
		t.Fatalf("two commits returned the key %s", first)
	}
	if err := s.Delete(ctx, first); err != nil {
		t.Fatal(err)
	}
	wantBlob(t, s, second, content)
	if third := commit(t, s, content); third == first || third == second {
		t.Errorf("key %s was returned twice", third)
	}
}

// Collection frees old bytes that no row names. Between a commit and its row
// there is a moment in which a blob looks like that, however long ago the
// upload got its last byte.
func modified(t *testing.T, s blob.Store) {
	state := appendTo(t, s, "", 0, []byte("x"))
	if aged, ok := s.(interface {
		Age(blob.State, time.Duration)
	}); ok {
		aged.Age(state, 24*time.Hour)
	}
	before := time.Now().Add(-10 * time.Second) // file systems have coarse clocks
	if _, err := s.Commit(ctx, state, oci.FromBytes(oci.SHA256, []byte("x")), 1); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries(t, s) {
		if e.Modified.Before(before) {
			t.Errorf("a blob committed just now was modified at %s", e.Modified)
		}
	}
}

func abort(t *testing.T, s blob.Store) {
	state := appendTo(t, s, "", 0, []byte("x"))
	for range 2 {
		if err := s.Abort(ctx, state); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Abort(ctx, ""); err != nil {
		t.Errorf("Abort of an upload without bytes: %v", err)
	}
	if _, _, err := s.Append(ctx, state, 1, bytes.NewReader([]byte("y"))); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Append after Abort: %v, want ErrNotFound", err)
	}
	if list := entries(t, s); len(list) != 0 {
		t.Errorf("left behind: %v", list)
	}
}

func remove(t *testing.T, s blob.Store) {
	k := commit(t, s, []byte("x"))
	for range 2 {
		if err := s.Delete(ctx, k); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Open(ctx, k); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Open after Delete: %v, want ErrNotFound", err)
	}
}

func openWhileDeleted(t *testing.T, s blob.Store) {
	content := randomBytes(100_000)
	k := commit(t, s, content)
	f, err := s.Open(ctx, k)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, k); err != nil {
		t.Fatal(err)
	}
	if got := read(t, f, nil); !bytes.Equal(got, content) {
		t.Error("the open blob reads differently after its deletion")
	}
}

func seeks(t *testing.T, s blob.Store) {
	f, err := s.Open(ctx, commit(t, s, []byte("0123456789")))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.Seek(-3, io.SeekEnd); n != 7 || err != nil {
		t.Fatalf("Seek: %d, %v", n, err)
	}
	if got := read(t, f, nil); string(got) != "789" {
		t.Errorf("after Seek: %q", got)
	}
}

func absent(t *testing.T, s blob.Store) {
	k := commit(t, s, []byte("x"))
	if err := s.Delete(ctx, k); err != nil {
		t.Fatal(err)
	}
	state := appendTo(t, s, "", 0, []byte("x"))
	if err := s.Abort(ctx, state); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(ctx, state); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Sync: %v, want ErrNotFound", err)
	}
	if err := s.Sync(ctx, ""); err != nil {
		t.Errorf("Sync of an upload without bytes: %v", err)
	}
	if _, err := s.Commit(ctx, state, oci.FromBytes(oci.SHA256, []byte("x")), 1); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Commit: %v, want ErrNotFound", err)
	}
}

func entries(t *testing.T, s blob.Store) (list []blob.Entry) {
	t.Helper()
	if err := s.Walk(ctx, func(e blob.Entry) error { list = append(list, e); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

func walk(t *testing.T, s blob.Store) {
	k256 := commit(t, s, []byte("sha256"))
	state := appendTo(t, s, "", 0, []byte("sha512"))
	d512 := oci.FromBytes(oci.SHA512, []byte("sha512"))
	k512, err := s.Commit(ctx, state, d512, 6)
	if err != nil {
		t.Fatal(err)
	}
	open := appendTo(t, s, "", 0, []byte("an upload"))
	want := map[blob.Entry]bool{
		{Key: k256, Digest: oci.FromBytes(oci.SHA256, []byte("sha256")), Size: 6}: true,
		{Key: k512, Digest: d512, Size: 6}:                                        true,
		{State: open, Size: 9}:                                                    true,
	}
	for _, e := range entries(t, s) {
		if time.Since(e.Modified).Abs() > time.Minute {
			t.Errorf("%v was modified at %s", e, e.Modified)
		}
		e.Modified = time.Time{}
		if !want[e] {
			t.Errorf("unexpected entry %+v", e)
		}
		delete(want, e)
	}
	for e := range want {
		t.Errorf("Walk did not find %+v", e)
	}
}

func walkEnds(t *testing.T, s blob.Store) {
	commit(t, s, []byte("a"))
	commit(t, s, []byte("b"))
	enough := errors.New("enough")
	calls := 0
	if err := s.Walk(ctx, func(blob.Entry) error { calls++; return enough }); !errors.Is(err, enough) || calls != 1 {
		t.Errorf("Walk: %v after %d calls, want the function's error after one", err, calls)
	}
}

func concurrent(t *testing.T, s blob.Store) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 5 {
				content := bytes.Repeat(fmt.Appendf(nil, "%d", i), 1000*j+1)
				k := commit(t, s, content)
				wantBlob(t, s, k, content)
				if err := s.Delete(ctx, k); err != nil {
					t.Error(err)
				}
				if err := s.Walk(ctx, func(blob.Entry) error { return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
