package report_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"slipway/internal/report"
)

// A module of two packages, of which each one's tests also run the other's
// code, so that -coverpkg reports blocks twice.
var module = map[string]string{
	"go.mod": "module example.com/m\n\ngo 1.24\n",
	"a.go": `package m

import "example.com/m/sub"

func Sign(n int) string {
	if n < 0 {
		s := "-"
		_ = s
		return s
	} else if n == 0 {
		return "0"
	}
	for i := range 3 {
		switch {
		case i == n:
			return sub.Twice("+")
		case i > 5:
			panic("never")
		}
	}
	return func() string { return "+" }()
}

type T struct{}

func (T) Unused() int { x := 1; x++; return x }
`,
	"a_test.go":       "package m\n\nimport \"testing\"\n\nfunc TestSign(t *testing.T) { Sign(1); Sign(-1) }\n",
	"sub/sub.go":      "package sub\n\nfunc Twice(s string) string {\n\tif s == \"\" {\n\t\treturn s\n\t}\n\treturn s + s\n}\n\nfunc None() {}\n",
	"sub/sub_test.go": "package sub\n\nimport \"testing\"\n\nfunc TestTwice(t *testing.T) { Twice(\"\") }\n",
}

// The test that builds the package runs in a Go toolchain, so there is one.
func TestGoProfileIsThatOfGoTool(t *testing.T) {
	dir := t.TempDir()
	for name, content := range module {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	gotool := func(args ...string) string {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOPROXY=off")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	total := regexp.MustCompile(`total:\s+\(statements\)\s+([0-9.]+)%`)
	for _, flags := range [][]string{{"-covermode=set"}, {"-covermode=count", "-coverpkg=./..."}, {"-covermode=atomic", "-coverpkg=./..."}} {
		gotool(append([]string{"test", "-coverprofile=c.out"}, append(flags, "./...")...)...)
		want := total.FindStringSubmatch(gotool("tool", "cover", "-func=c.out"))
		content, err := os.ReadFile(filepath.Join(dir, "c.out"))
		if err != nil || want == nil {
			t.Fatal(err, want)
		}
		c, err := report.Coverage("c.out", content)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%.1f", c.Percent); got != want[1] || len(c.Files) != 2 || c.Percent <= 0 || c.Percent >= 100 {
			t.Errorf("%v: %s%% of %d files, go tool cover says %s%%\n%s", flags, got, len(c.Files), want[1], content)
		}
		if strings.Contains(flags[len(flags)-1], "coverpkg") {
			if doubled := strings.Count(string(content), "sub.go:"); doubled <= 4 {
				t.Errorf("the profile has no block twice, so it tests nothing:\n%s", content)
			}
		}
	}
}
