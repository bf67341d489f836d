package bake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway/test/harness"
)

func project(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		write(t, dir, name, content)
	}
	return dir
}

func TestRefusesWithThePlace(t *testing.T) {
	const dockerfile = "FROM scratch\n"
	hcl := func(lines ...string) map[string]string {
		return map[string]string{"Dockerfile": dockerfile, "docker-bake.hcl": "target \"default\" {\n" + strings.Join(lines, "\n") + "\n}\n"}
	}
	compose := func(text string) map[string]string {
		return map[string]string{"Dockerfile": dockerfile, "compose.yaml": text}
	}
	for name, test := range map[string]struct {
		files   map[string]string
		links   map[string]string
		targets []string
		request Request
		at      string
		says    string
	}{
		"nothing":             {files: map[string]string{"README": ""}, says: "nothing to build here"},
		"syntax":              {files: hcl("context = ["), at: "docker-bake.hcl:3"},
		"unknown variable":    {files: hcl("tags = [TAG]"), at: "docker-bake.hcl:2", says: "TAG"},
		"context outside":     {files: hcl("", "context = \"../other\""), at: "docker-bake.hcl:3", says: "target default: context ../other is outside of the checkout"},
		"absolute context":    {files: hcl("context = \"/etc\""), at: "docker-bake.hcl:2", says: "outside"},
		"cwd context":         {files: hcl("context = \"cwd://..\""), at: "docker-bake.hcl:2", says: "outside"},
		"context missing":     {files: hcl("context = \"no\""), at: "docker-bake.hcl:2", says: "does not exist"},
		"context is a file":   {files: hcl("context = \"Dockerfile\""), says: "not a folder"},
		"context is a link":   {files: hcl("context = \"out\""), links: map[string]string{"out": "/etc"}, at: "docker-bake.hcl:2", says: "symbolic link"},
		"relative link":       {files: hcl("context = \"out/x\""), links: map[string]string{"out": "../.."}, at: "docker-bake.hcl:2"},
		"stdin":               {files: hcl("context = \"-\""), says: "standard input"},
		"dockerfile outside":  {files: hcl("dockerfile = \"../../etc/passwd\""), at: "docker-bake.hcl:2", says: "outside"},
		"dockerfile link":     {files: hcl("dockerfile = \"link\""), links: map[string]string{"link": "/etc/passwd"}, at: "docker-bake.hcl:2", says: "symbolic link"},
		"dockerfile missing":  {files: hcl("dockerfile = \"no\""), at: "docker-bake.hcl:2", says: "does not exist"},
		"named context":       {files: hcl("contexts = { lib = \"../lib\" }"), at: "docker-bake.hcl:2", says: "context lib ../lib is outside"},
		"oci layout":          {files: hcl("contexts = { lib = \"oci-layout://../lib:tag\" }"), at: "docker-bake.hcl:2", says: "outside"},
		"secret outside":      {files: hcl("secret = [\"id=s,src=/etc/shadow\"]"), at: "docker-bake.hcl:2", says: "secret s"},
		"secret missing":      {files: hcl("secret = [\"id=s,src=token\"]"), at: "docker-bake.hcl:2", says: "does not exist"},
		"secret link":         {files: hcl("secret = [\"id=s,src=token\"]"), links: map[string]string{"token": "/etc/shadow"}, says: "symbolic link"},
		"ssh outside":         {files: hcl("ssh = [\"default=/root/.ssh/id\"]"), at: "docker-bake.hcl:2", says: "outside"},
		"output outside":      {files: hcl("output = [\"type=local,dest=/tmp/x\"]"), at: "docker-bake.hcl:2", says: "outside"},
		"cache outside":       {files: hcl("cache-to = [\"type=local,dest=../cache\"]"), at: "docker-bake.hcl:2", says: "outside"},
		"cache read outside":  {files: hcl("cache-from = [\"type=local,src=/var/lib\"]"), at: "docker-bake.hcl:2", says: "outside"},
		"network":             {files: hcl("network = \"host\""), at: "docker-bake.hcl:2", says: "host"},
		"entitlement":         {files: hcl("entitlements = [\"security.insecure\"]"), at: "docker-bake.hcl:2", says: "security.insecure"},
		"platform":            {files: hcl("platforms = [\"a/b/c/d/e\"]"), at: "docker-bake.hcl:2"},
		"cycle":               {files: map[string]string{"docker-bake.hcl": "target \"a\" {\n contexts = { b = \"target:b\" }\n}\ntarget \"b\" {\n contexts = { a = \"target:a\" }\n}\n"}, targets: []string{"a"}, says: "which needs it in turn"},
		"itself":              {files: hcl("contexts = { a = \"target:default\" }"), at: "docker-bake.hcl:2", says: "needs itself"},
		"missing link":        {files: map[string]string{"docker-bake.hcl": "target \"base\" {}\ntarget \"default\" {\n contexts = { b = \"target:bsae\" }\n}\n"}, at: "docker-bake.hcl:3", says: "did you mean base?"},
		"missing in group":    {files: map[string]string{"docker-bake.hcl": "group \"default\" {\n targets = [\"ap\"]\n}\ntarget \"app\" {}\n"}, at: "docker-bake.hcl:2", says: "did you mean app?"},
		"missing target":      {files: hcl(), targets: []string{"defaullt"}, says: "did you mean default?"},
		"missing parent":      {files: hcl("inherits = [\"nobody\"]"), at: "docker-bake.hcl:2", says: "nobody"},
		"file outside":        {files: hcl(), request: Request{Files: []string{"../x.hcl"}}, at: "../x.hcl", says: "outside"},
		"bad set":             {files: hcl(), request: Request{Set: []string{"default.nothing=1"}}, says: "nothing"},
		"compose include":     {files: compose("services:\n  a: { build: . }\ninclude:\n  - ../../etc/passwd\n"), at: "compose.yaml:4", says: "../../etc/passwd is outside of the checkout"},
		"absolute include":    {files: compose("include: [/etc/passwd]\nservices: { a: { build: . } }\n"), at: "compose.yaml:1", says: "outside"},
		"remote include":      {files: compose("include: ['https://example.com/x.git']\n"), at: "compose.yaml:1", says: "address"},
		"compose extends":     {files: compose("services:\n  a:\n    build: .\n    extends:\n      file: ../../x.yaml\n      service: b\n"), at: "compose.yaml:5", says: "outside"},
		"compose env file":    {files: compose("services:\n  a:\n    build: .\n    env_file: /etc/environment\n"), at: "compose.yaml:4", says: "outside"},
		"linked include":      {files: compose("include: [inc.yaml]\n"), links: map[string]string{"inc.yaml": "/etc/passwd"}, at: "compose.yaml:1"},
		"compose syntax":      {files: compose("services:\n  a: [\n"), at: "compose.yaml"},
		"compose unknown":     {files: compose("services:\n  a:\n    build: { contxt: . }\n"), at: "compose.yaml", says: "contxt"},
		"compose context":     {files: compose("services:\n  a:\n    build: ../a\n"), at: "compose.yaml:3", says: "outside"},
		"compose secret":      {files: compose("services:\n  a:\n    build:\n      context: .\n      secrets: [s]\nsecrets: { s: { file: ./none } }\n"), at: "compose.yaml:5", says: "does not exist"},
		"settings key":        {files: map[string]string{"Dockerfile": dockerfile, "slipway.yaml": "keep: 3\nkeeep: 4\n"}, at: "slipway.yaml:2", says: `the key "keeep" is unknown`},
		"settings gate":       {files: map[string]string{"Dockerfile": dockerfile, "slipway.yaml": "gates:\n  test: [default]\n"}, at: "slipway.yaml:2", says: `no target or group "test"`},
		"settings link":       {files: map[string]string{"Dockerfile": dockerfile}, links: map[string]string{"slipway.yaml": "/etc/passwd"}, at: "slipway.yaml"},
		"endless":             {files: hcl("tags = flatten([for i in range(1000) : [for j in range(1000) : [for k in range(1000) : k < 0 ? \"x\" : \"\"]]])"), request: Request{Timeout: 3 * time.Second}, at: "docker-bake.hcl", says: "expand without end"},
		"doubling":            {files: map[string]string{"docker-bake.hcl": doubling(40)}, request: Request{Timeout: time.Minute}, at: "docker-bake.hcl", says: "expand without end"},
		"giant file":          {files: map[string]string{"docker-bake.hcl": strings.Repeat("#\n", MaxFile)}, at: "docker-bake.hcl", says: "more than"},
		"policy":              {files: hcl("policy = [{ filename = \"p.rego\" }]"), at: "docker-bake.hcl"},
		"only a running file": {files: map[string]string{"compose.yaml": "services: { db: { image: postgres } }\n"}, at: "compose.yaml", says: "no target"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := project(t, test.files)
			for link, to := range test.links {
				if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
					t.Fatal(err)
				}
			}
			test.request.Dir, test.request.Targets = dir, test.targets
			p, err := Read(t.Context(), test.request)
			var e *Error
			if !errors.As(err, &e) {
				b, _ := json.Marshal(p)
				t.Fatalf("error is %v, project %s", err, b)
			}
			if !strings.HasPrefix(e.Position.String(), test.at) || !strings.Contains(e.Message, test.says) {
				t.Errorf("error is %q, want it at %q to say %q", e, test.at, test.says)
			}
			if strings.Contains(e.Message, dir) {
				t.Errorf("error %q names a folder of this machine", e)
			}
		})
	}
}

// doubling is a bake file whose last variable has 2^n characters.
func doubling(n int) string {
	var b strings.Builder
	b.WriteString("variable \"v0\" { default = \"x\" }\n")
	for i := range n {
		fmt.Fprintf(&b, "variable \"v%d\" { default = \"${v%d}${v%d}\" }\n", i+1, i, i)
	}
	fmt.Fprintf(&b, "target \"default\" { args = { A = v%d } }\n", n)
	return b.String()
}

func TestWarnings(t *testing.T) {
	dir := project(t, map[string]string{"Dockerfile": "FROM scratch", "docker-bake.hcl": `target "default" {
  contxt   = "."
  cache-to = ["type=registry,ref=a/b"]
  output   = ["type=local,dest=out", "type=image"]
}
`})
	p, err := Read(t.Context(), Request{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"docker-bake.hcl:2: target default: there is no field \"contxt\", did you mean context?",
		"docker-bake.hcl:3: target default: cache-to of type registry is left out: Slipway keeps its own build cache",
		"docker-bake.hcl:4: target default: the output of type local is left out: Slipway publishes images only",
	}
	if !slices.Equal(p.Warnings, want) {
		t.Errorf("warnings are %q", p.Warnings)
	}
	if outputs := p.Targets["default"].Outputs; len(outputs) != 1 || outputs[0].Type != "image" {
		t.Errorf("outputs are %+v", outputs)
	}
}

func TestEnvironmentStaysOutside(t *testing.T) {
	t.Setenv("SECRET", "leaked")
	for name, files := range map[string]map[string]string{
		"bake":    {"Dockerfile": "FROM scratch", "docker-bake.hcl": "variable \"SECRET\" { default = \"none\" }\ntarget \"default\" { args = { S = SECRET } }\n"},
		"compose": {"Dockerfile": "FROM scratch", "compose.yaml": "services: { default: { build: { context: ., args: { S: \"${SECRET:-none}\", SECRET: } } } }\n"},
	} {
		t.Run(name, func(t *testing.T) {
			req := Request{Dir: project(t, files), Set: []string{"default.args.SECRET"}}
			if name == "bake" {
				req.Set = nil
			}
			p, err := Read(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Targets["default"].Args["S"]; got != "none" {
				t.Errorf("the variable is %q", got)
			}
			if b, _ := json.Marshal(p); strings.Contains(string(b), "leaked") {
				t.Errorf("the environment is in %s", b)
			}
		})
	}
}

// Every isolation, the last resort included, refuses the same and reads the same.
func TestIsolations(t *testing.T) {
	outside := t.TempDir()
	write(t, outside, "compose.yaml", "services: { stolen: { build: ., image: secret-name } }\n")
	for _, mode := range append(isolations(), "user") {
		t.Run(string(mode), func(t *testing.T) {
			dir := fixture(t, "compose")
			files := []string{"compose.yaml"}
			a, err := askOnce(t.Context(), Task{Version: TaskVersion, Request: Request{Files: files}, Root: dir, Mode: mode}, start)
			var notStarted startError
			if errors.As(err, &notStarted) {
				harness.Missing(t, "a machine that allows this isolation: %v", err)
			}
			if err != nil || a.Error != nil || a.NotIsolated != "" || len(a.Project.Targets) != 4 {
				t.Fatalf("answer is %+v, %v", a, err)
			}
			dir = project(t, map[string]string{"compose.yaml": "include: [link.yaml]\nservices: { mine: { build: . } }\n"})
			if err := os.Symlink(filepath.Join(outside, "compose.yaml"), filepath.Join(dir, "link.yaml")); err != nil {
				t.Fatal(err)
			}
			a, err = askOnce(t.Context(), Task{Version: TaskVersion, Request: Request{Files: files}, Root: dir, Mode: mode}, start)
			if err != nil || a.Error == nil || a.Project != nil {
				t.Fatalf("a link that leaves is followed: %+v, %v", a, err)
			}
		})
	}
}

func TestGatesTestsAndServices(t *testing.T) {
	dir := project(t, map[string]string{
		"Dockerfile": "FROM scratch",
		"docker-bake.hcl": `
group "default" { targets = ["app", "docs"] }
group "checks" { targets = ["unit", "race"] }
target "app" { contexts = { base = "target:base" } }
target "base" {}
target "docs" {}
target "unit" { contexts = { base = "target:base" } }
target "race" {}
target "other" {}
`,
		"slipway.yaml": `
repository: cool-app
max-age: 7d12h
compression: zstd
gates:
  checks: app
test:
  checks:
    min-coverage: 80%
    services:
      db:
        image: docker.io/library/postgres:15
        environment: [POSTGRES_PASSWORD=x]
        healthcheck: { test: pg_isready, interval: 1s, retries: 30 }
  race: { reports: race.txt }
`,
	})
	p, err := Read(t.Context(), Request{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"base", "app", "docs"}; !slices.Equal(p.Selected, want) {
		t.Errorf("selected %v, want %v", p.Selected, want)
	}
	if !p.Targets["base"].Linked || p.Targets["app"].Linked {
		t.Error("base is linked, and app is not")
	}
	if len(p.Gates) != 1 || !slices.Equal(p.Gates[0].Tests, []string{"race", "unit"}) || !slices.Equal(p.Gates[0].Holds, []string{"app"}) {
		t.Errorf("gates are %+v", p.Gates)
	}
	if p.Targets["other"] != nil || p.Targets["unit"] == nil {
		t.Errorf("targets are %v", p.Targets)
	}
	if p.Settings.MaxAge != 180*time.Hour || p.Settings.Keep != DefaultKeep || p.Settings.Repository != "cool-app" {
		t.Errorf("settings are %+v", p.Settings)
	}
	unit, race := p.Targets["unit"].Test, p.Targets["race"].Test
	if unit == nil || unit.MinCoverage != 80 || unit.Services["db"].Environment["POSTGRES_PASSWORD"] != "x" ||
		!slices.Equal(unit.Services["db"].Healthcheck.Test, []string{"CMD-SHELL", "pg_isready"}) {
		t.Errorf("the test of unit is %+v", unit)
	}
	if race == nil || !slices.Equal(race.Reports, []string{"race.txt"}) || race.Services != nil {
		t.Errorf("the test of race is %+v", race)
	}

	p, err = Read(t.Context(), Request{Dir: fixture(t, "compose"), Targets: []string{"test.unit"}})
	if err != nil {
		t.Fatal(err)
	}
	test := p.Targets["test_unit"].Test
	if test == nil || test.Services["db"] == nil || test.Services["db"].Environment["POSTGRES_PASSWORD"] != "from-dot-env" ||
		test.Services["db"].Healthcheck.Interval != time.Second || test.Services["db"].Healthcheck.Retries != 30 {
		t.Errorf("the compose test is %+v", test)
	}
}

func TestDetection(t *testing.T) {
	const run = "services: { db: { image: postgres } }\n"
	const build = "services: { default: { build: . } }\n"
	const hcl = "target \"default\" {}\n"
	for name, test := range map[string]struct {
		files []string
		kind  Kind
		read  []string
	}{
		"dockerfile":        {[]string{"Dockerfile"}, KindDockerfile, []string{"Dockerfile"}},
		"lower case":        {[]string{"dockerfile"}, KindDockerfile, []string{"dockerfile"}},
		"compose":           {[]string{"Dockerfile", "compose.yml:" + build}, KindCompose, []string{"compose.yml"}},
		"compose that runs": {[]string{"Dockerfile", "compose.yaml:" + run}, KindDockerfile, []string{"Dockerfile"}},
		"bake":              {[]string{"Dockerfile", "docker-bake.hcl:" + hcl}, KindBake, []string{"docker-bake.hcl"}},
		"bake and compose":  {[]string{"Dockerfile", "compose.yaml:" + build, "docker-bake.hcl:" + hcl}, KindBake, []string{"compose.yaml", "docker-bake.hcl"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			for _, f := range test.files {
				name, content, _ := strings.Cut(f, ":")
				files[name] = content
			}
			p, err := Read(t.Context(), Request{Dir: project(t, files)})
			if err != nil {
				t.Fatal(err)
			}
			if p.Kind != test.kind || !slices.Equal(p.Files, test.read) {
				t.Errorf("it is %s of %v", p.Kind, p.Files)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ctx, Request{Dir: fixture(t, "json")}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte("keep: 3\ntest: {a: {services: {db: {image: x, depends_on: db}}}}\nmax-age: 1d2h\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, content []byte) {
		p, err := parseSettings(content)
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("error %v has no place", err)
		}
		if err == nil && (p.Keep == 0 || p.MaxAge < 0) {
			t.Errorf("settings are %+v", p.Settings)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	for _, name := range []string{"json", "hcl", "compose", "plain"} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "projects", name))); err != nil {
				b.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Join(dir, "keys"), 0o755); err != nil {
				b.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "keys", "id"), nil, 0o600); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := Read(b.Context(), Request{Dir: dir}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
