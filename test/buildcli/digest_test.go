//go:build linux

package buildcli

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"slipway/test/harness"
)

// Equal inputs and deterministic steps give one digest: on two clean stores with
// two builders of their own, whatever the times of the files.
func TestTwoStoresGiveOneDigest(t *testing.T) {
	sources := files{
		"Dockerfile":   "FROM busybox\nCOPY . /src\nRUN cat /src/a > /all && mkdir -p /d/e && touch /d/e/f\n",
		"a":            "one\n",
		"empty/":       "",
		"slipway.yaml": "compression: zstd\n",
	}
	moved := regexp.MustCompile(`same:latest -> (sha256:[0-9a-f]{64})`)
	var digests []string
	for range 2 {
		s := start(t)
		harness.ImportBase(t, s.Host())
		dir := folder(t, "same", sources)
		old := time.Now().Add(-time.Duration(len(digests)+1) * 1000 * time.Hour)
		if err := os.Chtimes(filepath.Join(dir, "a"), old, old); err != nil {
			t.Fatal(err)
		}
		r := slipway(t, "build", dir, "--data", s.Data())
		found := moved.FindStringSubmatch(r.stderr)
		if r.code != 0 || found == nil {
			t.Fatalf("exit code %d: %s", r.code, r.stderr)
		}
		digests = append(digests, found[1])
	}
	if digests[0] != digests[1] {
		t.Errorf("digests are %s and %s", digests[0], digests[1])
	}
}

// Two projects with files of the same name, size and times never get each
// other's content; nor does one whose file changed without them.
func TestFilesThatLookTheSame(t *testing.T) {
	s := start(t)
	harness.ImportBase(t, s.Host())
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	build := func(project, dir, content string) {
		t.Helper()
		change(t, dir, files{"a": content})
		if err := os.Chtimes(filepath.Join(dir, "a"), at, at); err != nil {
			t.Fatal(err)
		}
		// The step prints what the builder has, and fails if it is anything else.
		change(t, dir, files{"Dockerfile": "FROM busybox\nCOPY a /a\nARG WANT\nRUN test \"$(cat /a)\" = \"$WANT\"\n"})
		r := slipway(t, "build", dir, "--data", s.Data(), "--project", project, "--set", "default.args.WANT="+content)
		if r.code != 0 {
			t.Errorf("%s with %s: exit code %d: %s", project, content, r.code, r.stderr)
		}
	}
	one, two := folder(t, "one", files{}), folder(t, "two", files{})
	build("one", one, "aaaa")
	build("two", two, "bbbb")
	build("one", one, "cccc")
	build("two", one, "dddd") // another folder under the same name
	build("one", one, "aaaa")
}
