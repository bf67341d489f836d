package internal_test

import (
	"errors"
	"go/build"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// allowed is what each package of Slipway may import of Slipway. Imports run
// downward only; a package that is not here has yet to find its place.
var allowed = map[string][]string{
	"api":          {},
	"internal/oci": {},
	"internal/db":  {},

	"internal/blob":   {"internal/oci"},
	"internal/auth":   {"internal/db", "internal/oci"},
	"internal/audit":  {"internal/db", "internal/oci"},
	"internal/events": {"internal/audit", "internal/db", "internal/oci"},
	"internal/meta":   {"internal/blob", "internal/db", "internal/events", "internal/oci"},

	"internal/auth/policy":  {"internal/auth", "internal/db", "internal/oci"},
	"internal/auth/account": {"internal/auth", "internal/db", "internal/oci"},
	"internal/auth/token":   {"internal/auth", "internal/auth/account", "internal/auth/login", "internal/auth/policy", "internal/oci"},
	"internal/auth/login":   {"internal/auth", "internal/auth/account", "internal/oci"},

	"internal/auth/workload": {"internal/auth", "internal/oci"},
	"internal/auth/oidc":     {"internal/audit", "internal/auth", "internal/auth/account", "internal/db"},

	"internal/registry": {"internal/blob", "internal/db", "internal/events", "internal/meta", "internal/oci"},
	"internal/mirror":   {"internal/db", "internal/meta", "internal/oci", "internal/registry"},
	"internal/gc":       {"internal/blob", "internal/db", "internal/events", "internal/meta", "internal/oci"},

	"internal/httpapi": {"internal/auth", "internal/meta", "internal/oci", "internal/registry"},
	"internal/rest":    {"api", "internal/audit", "internal/auth", "internal/auth/account", "internal/auth/policy", "internal/db", "internal/gc", "internal/meta", "internal/oci", "internal/pipeline", "internal/registry"},
	"internal/edge":    {},
	"internal/trust":   {},

	"internal/bake":        {"internal/oci"},
	"internal/bake/reader": {"internal/bake"}, // a program of its own
	"internal/tree":        {"internal/oci"},
	"internal/git":         {},

	"internal/report": {},
	"internal/attest": {"internal/oci"},
	"internal/mask":   {},

	"internal/pipeline":       {"internal/attest", "internal/bake", "internal/db", "internal/events", "internal/mask", "internal/oci", "internal/report", "internal/tree"},
	"internal/source":         {"internal/git", "internal/pipeline"},
	"internal/pipeline/local": {"internal/db", "internal/meta", "internal/mirror", "internal/oci", "internal/pipeline", "internal/registry"},
	"internal/buildkit":       {"internal/bake", "internal/oci", "internal/pipeline", "internal/tree"},

	"internal/remote": {"internal/oci"},
	"internal/bench":  {"internal/oci"},

	"internal/buildkit/shim":   {},
	"internal/buildkit/daemon": {"internal/buildkit/shim"},
	"internal/buildkit/child":  {"internal/buildkit", "internal/buildkit/daemon"},

	"internal/edge/certs":      {},
	"internal/edge/certs/acme": {"internal/edge/certs"},

	// For tests only: no package above may name them.
	"internal/auth/oidc/oidctest":    {},
	"internal/blob/blobtest":         {"internal/blob", "internal/oci"},
	"internal/registry/registrytest": {"internal/blob", "internal/db", "internal/meta", "internal/oci", "internal/registry"},
}

const module = "slipway/"

func TestImportsRunDownward(t *testing.T) {
	for name, imports := range imports(t) {
		if strings.HasPrefix(name, "cmd/") || strings.HasPrefix(name, "test/") {
			continue // they may know everything, see below
		}
		may, known := allowed[name]
		if !known {
			t.Errorf("package %s is not in the table: add it with what it may import", name)
		}
		for _, imported := range imports {
			if known && !slices.Contains(may, imported) {
				t.Errorf("package %s must not import %s", name, imported)
			}
		}
	}
}

func TestNothingImportsCommands(t *testing.T) {
	for name, imports := range imports(t) {
		for _, imported := range imports {
			if strings.HasPrefix(imported, "cmd/") {
				t.Errorf("package %s imports %s", name, imported)
			}
			if strings.HasPrefix(imported, "test/") && !strings.HasPrefix(name, "test/") {
				t.Errorf("package %s imports %s", name, imported)
			}
		}
	}
}

// imports lists what each package of the module imports of the module, tests
// not counted. It reads the files by itself, so that go test sees when its
// cached result is out of date.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	const root = ".."
	list := map[string][]string{}
	for _, top := range []string{"api", "cmd", "internal", "test"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			if d.Name() == "testdata" {
				return fs.SkipDir
			}
			p, err := build.ImportDir(path, 0)
			var none *build.NoGoError
			if errors.As(err, &none) || (err == nil && len(p.GoFiles) == 0) {
				return nil
			}
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			name = filepath.ToSlash(name)
			list[name] = []string{}
			for _, imported := range p.Imports {
				if of, ours := strings.CutPrefix(imported, module); ours {
					list[name] = append(list[name], of)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(list["internal/registry"]) == 0 {
		t.Fatalf("found only %v", list)
	}
	return list
}
