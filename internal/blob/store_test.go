package blob_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway/internal/blob"
	"slipway/internal/blob/blobtest"
	"slipway/internal/oci"
)

func TestMem(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store { return blob.NewMem() })
}

// agedFS can pretend that an upload got its last byte long ago.
type agedFS struct {
	*blob.FS
	t    *testing.T
	root string
}

func (s agedFS) Age(state blob.State, d time.Duration) {
	at := time.Now().Add(-d)
	if err := os.Chtimes(filepath.Join(s.root, "uploads", string(state)), at, at); err != nil {
		s.t.Fatal(err)
	}
}

func TestFS(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store {
		root := t.TempDir()
		return agedFS{openFS(t, root), t, root}
	})
}

func openFS(t *testing.T, root string) *blob.FS {
	t.Helper()
	s, err := blob.OpenFS(root)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var hostile = []string{
	"", ".", "..", "/", "../secret", "../../etc/passwd", "/etc/passwd", "sha256/../../secret", "a\x00b",
	"0123456789abcdef0123/../..", "0123456789abcdef0123\x00", "0123456789abcdef012", "zz23456789abcdef0123",
}

func TestFSRefusesHostileNames(t *testing.T) {
	ctx := context.Background()
	root := t.TempDir()
	secret := filepath.Join(root, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openFS(t, filepath.Join(root, "data"))
	hexed := strings.Repeat("ab", 32)
	keys := append([]string{
		"sha256/ab/" + hexed,
		"sha256/ab/" + hexed + "-",
		"sha256/ab/" + hexed + "-../../../../../secret",
		"sha256/cd/" + hexed + "-0123456789abcdef0123",
		"sha256//" + hexed + "-0123456789abcdef0123",
		"sha256/ab/" + strings.ToUpper(hexed) + "-0123456789abcdef0123",
		"md5/ab/" + hexed[:32] + "-0123456789abcdef0123",
		"../secret/" + hexed + "-0123456789abcdef0123",
	}, hostile...)
	for _, k := range keys {
		if _, err := s.Open(ctx, blob.Key(k)); err == nil || errors.Is(err, blob.ErrNotFound) {
			t.Errorf("Open(%q): %v, want a refusal", k, err)
		}
		if err := s.Delete(ctx, blob.Key(k)); err == nil {
			t.Errorf("Delete(%q) was not refused", k)
		}
	}
	for _, name := range hostile {
		state := blob.State(name)
		if name == "" {
			continue // the upload without bytes
		}
		if _, _, err := s.Append(ctx, state, 0, strings.NewReader("x")); err == nil {
			t.Errorf("Append(%q) was not refused", name)
		}
		if err := s.Sync(ctx, state); err == nil {
			t.Errorf("Sync(%q) was not refused", name)
		}
		if _, err := s.Commit(ctx, state, oci.FromBytes(oci.SHA256, nil), 0); err == nil {
			t.Errorf("Commit(%q) was not refused", name)
		}
		if err := s.Abort(ctx, state); err == nil {
			t.Errorf("Abort(%q) was not refused", name)
		}
		if _, err := s.OpenUpload(ctx, state); err == nil {
			t.Errorf("OpenUpload(%q) was not refused", name)
		}
	}
	if b, err := os.ReadFile(secret); err != nil || string(b) != "secret" {
		t.Errorf("a file outside of the store: %q, %v", b, err)
	}
}

func TestFSWalkLeavesForeignFilesAlone(t *testing.T) {
	root := t.TempDir()
	s := openFS(t, root)
	hexed := strings.Repeat("ab", 32)
	for _, name := range []string{
		"uploads/README", "uploads/folder/0123456789abcdef0123.txt", "uploads/.nfs0001",
		"blobs/README", "blobs/sha256/notes", "blobs/sha256/ab/" + hexed, "blobs/sha256/ab/" + hexed + "-copy",
		"blobs/sha256/cd/" + hexed + "-0123456789abcdef0123", "blobs/md5/ab/" + hexed + "-0123456789abcdef0123",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("a person's"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(root, "uploads/README"), filepath.Join(root, "uploads/0123456789abcdef0123")); err != nil {
		t.Fatal(err)
	}
	if err := s.Walk(context.Background(), func(e blob.Entry) error { t.Errorf("Walk found %+v", e); return nil }); err != nil {
		t.Fatal(err)
	}
}

// A restart finds what was there, and an upload goes on.
func TestFSOutlivesTheProcess(t *testing.T) {
	ctx := context.Background()
	root := t.TempDir()
	_, state, err := openFS(t, root).Append(ctx, "", 0, strings.NewReader("first "))
	if err != nil {
		t.Fatal(err)
	}
	s := openFS(t, root)
	if _, state, err = s.Append(ctx, state, 6, strings.NewReader("second")); err != nil {
		t.Fatal(err)
	}
	k, err := s.Commit(ctx, state, oci.FromBytes(oci.SHA256, []byte("first second")), 12)
	if err != nil {
		t.Fatal(err)
	}
	f, err := openFS(t, root).Open(ctx, k)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, ok := f.(*os.File); !ok {
		t.Errorf("Open returned a %T; only of an *os.File can the kernel send by itself", f)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(f); err != nil || b.String() != "first second" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

func TestFSSpace(t *testing.T) {
	free, total, err := openFS(t, t.TempDir()).Space()
	if err != nil || total == 0 || free > total {
		t.Errorf("Space: %d of %d bytes, %v", free, total, err)
	}
}
