package document_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Who changes openapi.yaml runs go generate ./api and commits what comes.
func TestGeneratedCodeIsUpToDate(t *testing.T) {
	config, err := os.ReadFile("oapi-codegen.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	const kept = "../internal/api/openapi.gen.go"
	made := filepath.Join(dir, "made.go")
	elsewhere := strings.Replace(string(config), kept, made, 1)
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(elsewhere), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "tool", "oapi-codegen", "-config", filepath.Join(dir, "config.yaml"), "openapi.yaml").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	have, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(made)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s is not what openapi.yaml gives: run go generate ./api", kept)
	}
}
