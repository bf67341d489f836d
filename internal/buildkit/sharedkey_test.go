package buildkit

import (
	"os"
	"path/filepath"
	"testing"

	"slipway/internal/pipeline"
	"slipway/internal/tree"
)

// TestSharedKey has a folder that changes, and says when the builder may go on
// from what it was sent before.
func TestSharedKey(t *testing.T) {
	for name, test := range map[string]struct {
		change func(t *testing.T, dir string) error
		same   bool
	}{
		"nothing": {func(*testing.T, string) error { return nil }, true},
		"file": {func(_ *testing.T, dir string) error {
			return os.WriteFile(filepath.Join(dir, "a", "f"), []byte("2"), 0o600)
		}, true},
		"folder added":     {func(_ *testing.T, dir string) error { return os.Mkdir(filepath.Join(dir, "d"), 0o755) }, true},
		"folder removed":   {func(_ *testing.T, dir string) error { return os.Remove(filepath.Join(dir, "c")) }, true},
		"mode of a folder": {func(_ *testing.T, dir string) error { return os.Chmod(filepath.Join(dir, "a"), 0o700) }, false},
		"mode of all folders": {func(_ *testing.T, dir string) error {
			for _, name := range []string{"a", "b", "c"} {
				if err := os.Chmod(filepath.Join(dir, name), 0o775); err != nil {
					return err
				}
			}
			return nil
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"a", "b", "c"} {
				if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			key := func(project string) string {
				read, err := tree.Load(t.Context(), dir, tree.Options{})
				if err != nil {
					t.Fatal(err)
				}
				return sharedKey(pipeline.Solve{Project: project, Context: read})
			}
			before := key("app")
			if key("other") == before {
				t.Error("another project has the same key")
			}
			if err := test.change(t, dir); err != nil {
				t.Fatal(err)
			}
			if same := key("app") == before; same != test.same {
				t.Errorf("the key is the same: %t, want %t", same, test.same)
			}
		})
	}
}
