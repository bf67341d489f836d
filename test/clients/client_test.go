//go:build linux

package clients

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"slipway/test/harness"
)

// client is what every program here can do, for the matrix.
type client interface {
	// push sends img to ref, host:port/repository:tag, and returns the digest
	// that the client itself gives for what it sent.
	push(t *testing.T, img v1.Image, ref string) string
	// pull fetches ref and returns the digest of what arrived.
	pull(t *testing.T, ref string) string
}

// command prepares a client program with an empty home: no credentials and no
// configuration of the machine's user.
func command(t *testing.T, name string, args ...string) harness.Command {
	t.Helper()
	home := t.TempDir()
	// podman and buildah want a file where DOCKER_CONFIG points.
	if err := os.Mkdir(filepath.Join(home, ".docker"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(home, ".docker", "config.json"), "{}\n")
	return harness.Command{
		Path: harness.Tool(t, name),
		Args: args,
		Dir:  home,
		Env: []string{
			"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin",
			"HOME=" + home,
			"XDG_RUNTIME_DIR=" + home,
			"DOCKER_CONFIG=" + filepath.Join(home, ".docker"),
			"TMPDIR=" + os.TempDir(),
		},
	}
}

// equal ends the test unless all digests are one.
func equal(t *testing.T, what string, digests ...string) {
	t.Helper()
	for _, d := range digests {
		if !strings.HasPrefix(d, "sha256:") || d != digests[0] {
			t.Fatalf("%s: the digests differ: %q", what, digests)
		}
	}
}

// want ends the test unless text has each of the words.
func want(t *testing.T, what, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Fatalf("%s: no %q in:\n%s", what, w, text)
		}
	}
}

// status ends the test unless a GET of path answers code.
func status(t *testing.T, srv *harness.Server, path string, code int) {
	t.Helper()
	if got := srv.Status(path); got != code {
		t.Fatalf("GET %s: status %d, want %d", path, got, code)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
