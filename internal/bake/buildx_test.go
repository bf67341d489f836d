package bake

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"slipway/test/harness"

	"github.com/containerd/platforms"
	"github.com/docker/cli/opts"
)

// printed is a target as `docker buildx bake --print` writes it.
type printed struct {
	Description      string             `json:"description"`
	Context          string             `json:"context"`
	Contexts         map[string]string  `json:"contexts"`
	Dockerfile       string             `json:"dockerfile"`
	DockerfileInline string             `json:"dockerfile-inline"`
	Args             map[string]*string `json:"args"`
	Labels           map[string]*string `json:"labels"`
	Annotations      []string           `json:"annotations"`
	Tags             []string           `json:"tags"`
	Target           string             `json:"target"`
	Platforms        []string           `json:"platforms"`
	Secret           []struct {
		ID  string `json:"id"`
		Src string `json:"src"`
		Env string `json:"env"`
	} `json:"secret"`
	SSH           []SSH               `json:"ssh"`
	CacheFrom     []map[string]string `json:"cache-from"`
	CacheTo       []map[string]string `json:"cache-to"`
	Output        []map[string]string `json:"output"`
	Attest        []map[string]any    `json:"attest"`
	NoCache       bool                `json:"no-cache"`
	NoCacheFilter []string            `json:"no-cache-filter"`
	Pull          bool                `json:"pull"`
	Network       string              `json:"network"`
	ShmSize       string              `json:"shm-size"`
	Ulimits       []string            `json:"ulimits"`
	ExtraHosts    map[string]*string  `json:"extra-hosts"`
}

// target is what Slipway should make of it.
func (p printed) target(t *testing.T, name string) *Target {
	t.Helper()
	unescape := func(s string) string {
		return strings.NewReplacer("$${", "${", "%%{", "%{").Replace(s)
	}
	texts := func(from map[string]*string) map[string]string {
		to := map[string]string{}
		for key, v := range from {
			if v != nil { // it has no value, and buildx leaves it out when it builds
				to[key] = unescape(*v)
			}
		}
		return to
	}
	want := &Target{
		Name: name, Description: p.Description, DockerfileInline: unescape(p.DockerfileInline), Stage: p.Target,
		Args: texts(p.Args), Labels: texts(p.Labels), ExtraHosts: texts(p.ExtraHosts),
		Annotations: p.Annotations, Tags: p.Tags, SSH: p.SSH, Ulimits: p.Ulimits,
		NoCache: p.NoCache, NoCacheFilter: p.NoCacheFilter, Pull: p.Pull, Network: p.Network,
		Context: Context{ContextLocal, path.Clean(p.Context)},
	}
	if want.DockerfileInline == "" {
		want.Dockerfile = path.Join(p.Context, p.Dockerfile)
	}
	for name, text := range p.Contexts {
		c := Context{ContextLocal, path.Clean(text)}
		switch {
		case strings.HasPrefix(text, "target:"):
			c = Context{ContextTarget, strings.TrimPrefix(text, "target:")}
			want.Needs = append(want.Needs, c.Value)
		case strings.HasPrefix(text, "docker-image://"):
			c = Context{ContextImage, strings.TrimPrefix(text, "docker-image://")}
		case strings.Contains(text, ".git"):
			c = Context{ContextGit, text}
		case strings.HasPrefix(text, "https://"):
			c = Context{ContextHTTP, text}
		}
		if want.Contexts == nil {
			want.Contexts = map[string]Context{}
		}
		want.Contexts[name] = c
	}
	slices.Sort(want.Needs)
	for _, text := range p.Platforms {
		parsed, err := platforms.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		want.Platforms = append(want.Platforms, platforms.FormatAll(platforms.Normalize(parsed)))
	}
	for _, s := range p.Secret {
		src := s.Src
		if src != "" {
			src = path.Clean(src)
		}
		want.Secrets = append(want.Secrets, Secret{s.ID, src, s.Env})
	}
	options := func(list []map[string]string) (to []Options) {
		for _, attributes := range list {
			o := Options{Type: attributes["type"], Attrs: map[string]string{}}
			for key, v := range attributes {
				if key != "type" {
					o.Attrs[key] = v
				}
			}
			to = append(to, o)
		}
		return to
	}
	want.CacheFrom, want.CacheTo, want.Outputs = options(p.CacheFrom), options(p.CacheTo), options(p.Output)
	for _, a := range p.Attest {
		if want.Attest == nil {
			want.Attest = map[string]string{}
		}
		kind, rest := fmt.Sprint(a["type"]), []string{}
		delete(a, "type")
		for key, v := range a {
			rest = append(rest, fmt.Sprint(key, "=", v))
		}
		slices.Sort(rest)
		want.Attest[kind] = strings.Join(rest, ",")
	}
	if p.ShmSize != "" {
		var size opts.MemBytes
		if err := size.Set(p.ShmSize); err != nil {
			t.Fatal(err)
		}
		want.ShmSize = size.Value()
	}
	return want
}

// buildx is the program that hack/tools.sh installs.
func buildx(t *testing.T) string {
	t.Helper()
	return harness.Tool(t, "buildx")
}

func TestReadsWhatBuildxPrints(t *testing.T) {
	program := buildx(t)
	agent := filepath.Join(t.TempDir(), "agent")
	listener, err := net.Listen("unix", agent)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()

	vars := map[string]string{"BUILD_NUMBER": "44", "GIT_SHA": "0123456789abcdef", "GIT_BRANCH": "main", "GIT_TAG": ""}
	for _, test := range []struct {
		project string
		targets []string
		files   []string
		set     []string
		vars    map[string]string
	}{
		{project: "hcl"},
		{project: "hcl", vars: vars},
		{project: "hcl", targets: []string{"all"}, vars: vars},
		{project: "hcl", targets: []string{"app"}},
		{project: "hcl", targets: []string{"tools-*"}},
		{project: "hcl", targets: []string{"base", "lint"}, set: []string{"base.args.NEW=1", "*.platform=linux/s390x", "base.tags=one", "base.tags+=two"}},
		{project: "hcl", targets: []string{"app"}, set: []string{"app.no-cache=false", "app.secrets=id=other,env=OTHER", "*.labels.by=hand", "app.context=app", "app.dockerfile=Dockerfile"}},
		{project: "hcl", targets: []string{"app"}, set: []string{"app.cache-from=", "app.output=type=registry", "app.contexts.docs="}},
		{project: "json"},
		{project: "json", targets: []string{"web"}, vars: map[string]string{"TAG": "v2"}},
		{project: "override"},
		{project: "override", files: []string{"docker-bake.hcl"}},
		{project: "compose"},
		{project: "compose", vars: map[string]string{"BUILD_NUMBER": "44", "ORIGIN": "here"}},
		{project: "compose", targets: []string{"test.unit", "proxy"}},
		{project: "compose", targets: []string{"api"}, set: []string{"api.args.SET=1"}},
		{project: "mixed"},
		{project: "mixed", files: []string{"compose.yaml"}},
	} {
		name := strings.Join(append(append([]string{test.project}, test.targets...), test.set...), " ")
		t.Run(name, func(t *testing.T) {
			dir := fixture(t, test.project)
			args := []string{"bake", "--print"}
			for _, f := range test.files {
				args = append(args, "-f", f)
			}
			for _, s := range test.set {
				args = append(args, "--set", s)
			}
			cmd := exec.Command(program, append(args, test.targets...)...)
			cmd.Dir = dir
			cmd.Env = []string{"HOME=" + t.TempDir(), "SSH_AUTH_SOCK=" + agent}
			for name, v := range test.vars {
				cmd.Env = append(cmd.Env, name+"="+v)
			}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			output, err := cmd.Output()
			if err != nil {
				t.Fatalf("buildx: %v\n%s", err, stderr.Bytes())
			}
			var want struct {
				Group  map[string]struct{ Targets []string }
				Target map[string]printed
			}
			if err := json.Unmarshal(output, &want); err != nil {
				t.Fatal(err)
			}
			if len(want.Target) == 0 {
				t.Fatal("buildx prints no target")
			}

			got, err := Read(t.Context(), Request{Dir: dir, Files: test.files, Targets: slices.Clone(test.targets), Set: test.set, Vars: test.vars})
			if err != nil {
				t.Fatal(err)
			}
			names := slices.Clone(got.Selected)
			slices.Sort(names)
			wanted := []string{}
			for name := range want.Target {
				wanted = append(wanted, name)
			}
			slices.Sort(wanted)
			if !slices.Equal(names, wanted) {
				t.Fatalf("selected %v, buildx prints %v", names, wanted)
			}
			for name, p := range want.Target {
				compare(t, got.Targets[name], p.target(t, name))
			}
		})
	}
}

// compare compares what buildx knows of a target, field by field.
func compare(t *testing.T, got, want *Target) {
	t.Helper()
	ours := *got
	ours.Position, ours.Fields, ours.Test = Position{}, nil, nil
	if ours.Linked { // as buildx, which exports nothing of it
		ours.Linked = false
	}
	for i := range want.Outputs {
		if len(want.Outputs[i].Attrs) == 0 {
			want.Outputs[i].Attrs = nil
		}
	}
	for i := range ours.Outputs {
		if len(ours.Outputs[i].Attrs) == 0 {
			ours.Outputs[i].Attrs = nil
		}
	}
	g, w := reflect.ValueOf(ours), reflect.ValueOf(*want)
	for i := range g.NumField() {
		field := g.Type().Field(i).Name
		a, b := g.Field(i), w.Field(i)
		if (a.Kind() == reflect.Slice || a.Kind() == reflect.Map) && a.Len() == 0 && b.Len() == 0 {
			continue
		}
		if field == "Ulimits" {
			// buildx prints them as written: N is N:N.
			for _, limit := range want.Ulimits {
				name, n, _ := strings.Cut(limit, "=")
				if !strings.Contains(n, ":") && !slices.Contains(ours.Ulimits, name+"="+n+":"+n) || strings.Contains(n, ":") && !slices.Contains(ours.Ulimits, limit) {
					t.Errorf("%s: Ulimits are %q, buildx prints %q", got.Name, ours.Ulimits, want.Ulimits)
				}
			}
			continue
		}
		if !reflect.DeepEqual(a.Interface(), b.Interface()) {
			t.Errorf("%s: %s is %#v, buildx prints %#v", got.Name, field, a.Interface(), b.Interface())
		}
	}
}

// fixture copies a project, and gives it a key of its own.
func fixture(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "projects", name))); err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "keys/id", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	return dir
}

// write makes a file of a project.
func write(t *testing.T, dir, name, content string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
