package floor

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWrongDigestLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	digest := "sha256:" + strings.Repeat("ab", 32)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/v2/r/blobs/uploads/x?digest="+digest, strings.NewReader("other")))
	if w.Code != http.StatusBadRequest {
		t.Errorf("PUT: status %d, want 400", w.Code)
	}
	w = httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/r/blobs/"+digest, nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("GET: status %d, want 404", w.Code)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "uploads")); err != nil || len(left) > 0 {
		t.Errorf("uploads: %v, %v", left, err)
	}
}

func TestOnlyAnEmptyFolder(t *testing.T) {
	dir := t.TempDir()
	if _, err := New(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := New(dir); err == nil {
		t.Error("a folder in use was opened again, without its names")
	}
}
