package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	memory "github.com/google/go-containerregistry/pkg/registry"
)

// commandLine runs commands as a person does, against one registry.
type commandLine struct {
	t    *testing.T
	host string
	dir  string
}

func newCommandLine(t *testing.T, handler http.Handler) *commandLine {
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	dir := t.TempDir()
	for _, name := range []string{"HOME", "DOCKER_CONFIG", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"} {
		t.Setenv(name, dir)
	}
	t.Setenv("REGISTRY_AUTH_FILE", "")
	return &commandLine{t: t, host: strings.TrimPrefix(s.URL, "http://"), dir: dir}
}

func memoryRegistry() http.Handler {
	return memory.New(memory.WithReferrersSupport(true), memory.Logger(log.New(io.Discard, "", 0)))
}

// run executes one command line, in which HOST and DIR stand for the registry
// and a folder, and returns what it printed.
func (c *commandLine) run(line string) (code int, stdout, stderr string) {
	c.t.Helper()
	args := strings.Fields(strings.NewReplacer("HOST", c.host, "DIR", c.dir).Replace(line))
	outputs := [2]*os.File{}
	for i := range outputs {
		f, err := os.CreateTemp(c.t.TempDir(), "output")
		if err != nil {
			c.t.Fatal(err)
		}
		defer f.Close()
		outputs[i] = f
	}
	wasOut, wasErr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = outputs[0], outputs[1]
	code = run(context.Background(), args)
	os.Stdout, os.Stderr = wasOut, wasErr
	read := func(f *os.File) string {
		b, err := os.ReadFile(f.Name())
		if err != nil {
			c.t.Fatal(err)
		}
		return strings.ReplaceAll(string(b), c.host, "HOST")
	}
	return code, read(outputs[0]), read(outputs[1])
}

// ok runs a command that must succeed and returns its standard output.
func (c *commandLine) ok(line string) string {
	c.t.Helper()
	code, stdout, stderr := c.run(line)
	if code != 0 {
		c.t.Fatalf("slipway %s: exit code %d\n%s%s", line, code, stdout, stderr)
	}
	return stdout
}

// decode runs a command with -o json and reads what it prints.
func (c *commandLine) decode(line string, to any) {
	c.t.Helper()
	out := c.ok(line + " -o json -q")
	if err := json.Unmarshal([]byte(out), to); err != nil {
		c.t.Fatalf("slipway %s: %v in %s", line, err, out)
	}
	if strings.Contains(out, "null") {
		c.t.Errorf("slipway %s prints null: %s", line, out)
	}
}

func (c *commandLine) rootFS(name string) {
	f, err := os.Create(filepath.Join(c.dir, name))
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	tw := tar.NewWriter(f)
	content := strings.Repeat(name, 1000)
	if err := tw.WriteHeader(&tar.Header{Name: "etc/content", Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		c.t.Fatal(err)
	}
	if _, err := io.WriteString(tw, content); err != nil {
		c.t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		c.t.Fatal(err)
	}
}

func TestRegistryCommands(t *testing.T) {
	c := newCommandLine(t, memoryRegistry())
	c.rootFS("root.tar")

	imported := c.ok("import DIR/root.tar HOST/team/app:1 --platform linux/arm64 --cmd /bin/sh --cmd -l --env A=1 --label team=\x1b[31mred --user 7 --workdir /srv")
	ref, digest, ok := strings.Cut(strings.TrimSpace(imported), "@")
	if !ok || ref != "HOST/team/app:1" || !strings.HasPrefix(digest, "sha256:") {
		t.Fatalf("import printed %q", imported)
	}
	pinned := "HOST/team/app:1@" + digest + "\n"

	if got := c.ok("catalog HOST"); got != "team/app\n" {
		t.Errorf("catalog printed %q", got)
	}
	if got := c.ok("tag HOST/team/app:1 latest"); got != strings.Replace(pinned, ":1@", ":latest@", 1) {
		t.Errorf("tag printed %q", got)
	}
	if got := c.ok("tags HOST/team/app"); got != "1\nlatest\n" {
		t.Errorf("tags printed %q", got)
	}
	if got := c.ok("cp HOST/team/app:1 HOST/copy/app"); got != strings.Replace(pinned, "team", "copy", 1) {
		t.Errorf("cp printed %q", got)
	}
	if got := c.ok("cp --all-tags HOST/team/app HOST/all"); strings.Count(got, digest) != 2 {
		t.Errorf("cp --all-tags printed %q", got)
	}
	text := c.ok("inspect HOST/team/app:1")
	for _, want := range []string{digest, "linux/arm64", "/bin/sh -l", "/srv", "  A=1", "  team=[31mred", "Size:", "Layers:"} {
		if !strings.Contains(text, want) {
			t.Errorf("inspect lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Errorf("inspect prints control characters: %q", text)
	}
	if got := c.ok("history HOST/team/app:1"); !strings.Contains(got, "INSTRUCTION") || !strings.Contains(got, "slipway import") {
		t.Errorf("history printed %q", got)
	}
	for _, file := range []string{"layout", "archive.tar", "layout.tar --format oci"} {
		if got := c.ok("pull HOST/team/app:1 DIR/" + file); !strings.Contains(got, digest) {
			t.Errorf("pull printed %q", got)
		}
	}
	for _, file := range []string{"layout", "layout.tar"} {
		if got := c.ok("push DIR/" + file + " HOST/team/app:1"); got != pinned {
			t.Errorf("push printed %q", got)
		}
	}
	c.ok("push DIR/archive.tar HOST/from/archive:1")
	c.ok("import DIR/archive.tar HOST/from/archive:1")

	if got := c.ok("rm HOST/team/app:latest HOST/copy/app@" + digest); got != "deleted HOST/team/app:latest\ndeleted HOST/copy/app@"+digest+"\n" {
		t.Errorf("rm printed %q", got)
	}
	if got := c.ok("rm --repository HOST/all"); got != "deleted 1 manifests of HOST/all\n" {
		t.Errorf("rm --repository printed %q", got)
	}
}

func TestRegistryCommandsPrintJSON(t *testing.T) {
	c := newCommandLine(t, memoryRegistry())
	c.rootFS("root.tar")

	var catalog struct {
		Registry     string
		Repositories []string
	}
	c.decode("catalog HOST", &catalog)
	if catalog.Repositories == nil || catalog.Registry != "HOST" {
		t.Errorf("catalog = %+v", catalog)
	}

	var moved struct {
		Source, Destination, Digest, MediaType     string
		Manifests, Blobs, Bytes, Mounted, Existing *int64
	}
	c.decode("import DIR/root.tar HOST/a:1", &moved)
	if moved.Digest == "" || moved.Destination != "HOST/a:1" || *moved.Blobs != 2 || *moved.Bytes <= 0 {
		t.Errorf("import = %+v", moved)
	}
	digest := moved.Digest
	c.decode("cp HOST/a:1 HOST/a:2", &moved)
	if moved.Digest != digest || *moved.Existing != 1 || *moved.Bytes != 0 {
		t.Errorf("cp = %+v", moved)
	}
	var all []struct{ Digest string }
	c.decode("cp --all-tags HOST/a HOST/b", &all)
	if len(all) != 2 {
		t.Errorf("cp --all-tags = %+v", all)
	}
}

func TestInspectAndHistoryPrintJSON(t *testing.T) {
	c := newCommandLine(t, memoryRegistry())
	c.rootFS("root.tar")
	c.ok("import DIR/root.tar HOST/a:1")

	var in struct {
		Reference, Digest, MediaType string
		Size                         int64
		Platforms                    []struct{ Platform, Digest string }
		Image                        struct {
			Config map[string]any
			Layers []struct {
				Digest string
				Size   int64
			}
		}
		Referrers []any
	}
	c.decode("inspect HOST/a:1", &in)
	if len(in.Platforms) != 1 || len(in.Image.Layers) != 1 || in.Image.Layers[0].Size <= 0 || in.Size <= in.Image.Layers[0].Size || in.Referrers == nil {
		t.Errorf("inspect = %+v", in)
	}
	for _, field := range []string{"entrypoint", "cmd", "env", "user", "ports", "workdir", "volumes"} {
		if _, ok := in.Image.Config[field]; !ok {
			t.Errorf("config has no %s", field)
		}
	}
	var history struct {
		Platform string
		Steps    []struct {
			CreatedBy string
			Size      int64
		}
	}
	c.decode("history HOST/a:1", &history)
	if len(history.Steps) != 1 || history.Steps[0].Size != in.Image.Layers[0].Size {
		t.Errorf("history = %+v", history)
	}
	var tags struct{ Tags []string }
	c.decode("tags HOST/a", &tags)
	var pulled struct{ File, Format, Digest string }
	c.decode("pull HOST/a:1 DIR/x.tar", &pulled)
	if pulled.Format != "docker-archive" || pulled.Digest != in.Digest {
		t.Errorf("pull = %+v", pulled)
	}
	var deleted []struct{ Reference, Digest string }
	c.decode("rm HOST/a@"+in.Digest, &deleted)
	if len(deleted) != 1 || deleted[0].Digest != in.Digest {
		t.Errorf("rm = %+v", deleted)
	}
}

func TestRegistryCommandsFail(t *testing.T) {
	c := newCommandLine(t, memoryRegistry())
	c.rootFS("root.tar")
	c.ok("import DIR/root.tar HOST/a:1")
	for line, row := range map[string]struct {
		code int
		want string
	}{
		"inspect HOST/a:2":                                 {1, "slipway: inspect HOST/a:2: there is no such tag or manifest; list tags with 'slipway tags HOST/a'\n"},
		"tags HOST/none":                                   {1, "slipway: tags HOST/none: there is no such repository; list repositories with 'slipway catalog HOST'\n"},
		"push DIR/root.tar HOST/a:1":                       {1, "slipway import"},
		"pull HOST/a:1 DIR/x.tar --platform a/b":           {1, "there is no image for a/b"},
		"rm HOST/a:8 HOST/a:9":                             {1, "rm HOST/a:8: there is no such tag"},
		"rm HOST/a":                                        {2, "neither a tag nor a digest"},
		"rm":                                               {2, "requires at least 1 arg(s)"},
		"rm --repository --digest HOST/a":                  {2, "exclude each other"},
		"tag HOST/a:1 HOST/b:1":                            {2, "'slipway cp HOST/a:1 HOST/b:1'"},
		"cp HOST/a:1":                                      {2, "it is used as 'slipway cp SRC DST"},
		"cp HOST/a:1 HOST/b --jobs 0":                      {2, "--jobs must be at least 1"},
		"inspect HOST/a:1 -o yaml":                         {2, "--output is text or json"},
		"inspect HOST/a:1 --nope":                          {2, "run 'slipway inspect --help'"},
		"inspect HOST/A:1":                                 {2, "is not a reference"},
		"inspect HOST/a:1 --platform amd64":                {2, "is not a platform"},
		"catalog https://HOST":                             {2, "leave out the scheme"},
		"import DIR/root.tar HOST/a:1 --created yesterday": {2, "--created is a time"},
		"import DIR/root.tar HOST/a:1 --label x":           {2, "--label is NAME=VALUE"},
		"import DIR/root.tar HOST/a:1 --format zip":        {2, "is not a format"},
	} {
		code, stdout, stderr := c.run(line)
		if code != row.code || !strings.Contains(stderr, row.want) {
			t.Errorf("slipway %s: exit code %d, want %d\n%s, want %q", line, code, row.code, stderr, row.want)
		}
		if code == exitUsage && stdout != "" {
			t.Errorf("slipway %s printed %q", line, stdout)
		}
	}
	if _, _, stderr := c.run("rm HOST/a:8 HOST/a:9"); strings.Count(stderr, "slipway: rm HOST/a:") != 2 {
		t.Errorf("each failure must have its line: %q", stderr)
	}
}

// A registry that answers a DELETE by tag as docker-registry does.
func TestRmTellsThatTagsCannotBeDeleted(t *testing.T) {
	inner := memoryRegistry()
	c := newCommandLine(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete && !strings.Contains(r.URL.Path, "sha256:") {
			w.WriteHeader(http.StatusMethodNotAllowed)
			_, _ = io.WriteString(w, `{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}`)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	c.rootFS("root.tar")
	c.ok("import DIR/root.tar HOST/a:1")
	code, _, stderr := c.run("rm HOST/a:1")
	if code != exitFailure || !strings.Contains(stderr, "can delete only by digest, which removes every tag of sha256:") || !strings.Contains(stderr, "add --digest") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if out := c.ok("rm --digest HOST/a:1"); !strings.Contains(out, "deleted HOST/a:1 (sha256:") {
		t.Errorf("rm --digest printed %q", out)
	}
}

func TestProgressLines(t *testing.T) {
	c := newCommandLine(t, memoryRegistry())
	c.rootFS("root.tar")
	_, _, stderr := c.run("import DIR/root.tar HOST/a:1")
	if lines := strings.Split(strings.TrimSpace(stderr), "\n"); len(lines) != 2 || !strings.HasPrefix(lines[0], "sha256:") || !strings.HasSuffix(lines[0], "B copied") {
		t.Errorf("progress = %q", stderr)
	}
	_, _, stderr = c.run("import DIR/root.tar HOST/b:1 --quiet")
	if stderr != "" {
		t.Errorf("with --quiet: %q", stderr)
	}
}

func TestRegistryCommandsHaveExamples(t *testing.T) {
	for _, cmd := range registryCommands() {
		if !strings.Contains(cmd.Example, "slipway "+cmd.Name()) || cmd.Short == "" || !strings.Contains(cmd.Long, "-o json") {
			t.Errorf("%s: help without an example, a summary or its JSON", cmd.Name())
		}
	}
}

func TestHumanSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 12_345_678: "12.3 MB", 999_960: "1.0 MB", 5_000_000_000: "5.0 GB", 1 << 62: "4.6 EB"} {
		if got := humanSize(n); got != want {
			t.Errorf("humanSize(%d) = %q, want %q", n, got, want)
		}
	}
}
