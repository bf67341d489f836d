package attest_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/util/purl"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway/internal/attest"
	"slipway/internal/oci"
)

func digest(c string) oci.Digest { return oci.Digest("sha256:" + strings.Repeat(c, 64)) }

// example is the build that docs/build-type.md shows.
func example() attest.Build {
	return attest.Build{
		Subjects:  []attest.Subject{{Name: "cool-app:latest", Digest: digest("a")}, {Name: "cool-app:7", Digest: digest("a")}},
		Source:    attest.Source{URI: "https://me:s3cret-token@git.example.com/cool-app.git", Ref: "refs/heads/main", Commit: strings.Repeat("1", 40)},
		Project:   "cool-app",
		Target:    "app",
		Platforms: []string{"linux/arm64", "linux/amd64"},
		Args:      map[string]string{"VERSION": "7", "HTTPS_PROXY": "http://me:s3cret-token@proxy:3128", "no_proxy": "localhost"},
		Files:     []string{"docker-bake.hcl", "Dockerfile"},
		Builder:   attest.Builder{ID: "https://registry.example.com", Version: map[string]string{"slipway": "0.3.0", "buildkit": "v0.34.2"}},
		Internal:  map[string]string{"sourceDateEpoch": "1767225600", "inputDigest": "sha256:" + strings.Repeat("c", 64)},
		Bases: []attest.Base{
			{Reference: "debian:12", Digest: digest("d"), Platform: "linux/amd64", Origin: attest.Mirror, Upstream: "docker.io"},
			{Reference: "cool-base", Digest: digest("b"), Platform: "linux/amd64", Origin: attest.Local},
		},
		Invocation: "https://registry.example.com/api/v1/projects/cool-app/runs/7",
		Started:    time.Date(2026, 1, 1, 12, 0, 0, 999, time.FixedZone("", 3600)),
		Finished:   time.Date(2026, 1, 1, 12, 1, 30, 0, time.FixedZone("", 3600)),
		Byproducts: []attest.Byproduct{
			{Name: "junit.xml", MediaType: "application/xml", Digest: digest("f")},
			{Name: "inputs", MediaType: attest.MediaTypeInputs, Digest: digest("e")},
		},
		Secrets: [][]byte{[]byte("s3cret-token\n"), []byte("main"), nil},
	}
}

func TestDocumentedExample(t *testing.T) {
	got, err := attest.Statement(example())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/build-type.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```json\n(.*?)```").FindSubmatch(doc)
	if block == nil || !bytes.Contains(doc, []byte(attest.BuildType)) {
		t.Fatal("docs/build-type.md has no example of its build type")
	}
	var want bytes.Buffer
	if err := json.Compact(&want, block[1]); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		var pretty bytes.Buffer
		_ = json.Indent(&pretty, got, "", "  ")
		t.Errorf("docs/build-type.md should show\n%s", pretty.String())
	}
}

// required follows the specifications: in-toto statement v1, SLSA provenance v1
// (with what it adds for Build L1 and above), ResourceDescriptor.
func required(t *testing.T, content []byte) {
	t.Helper()
	var s map[string]any
	if err := json.Unmarshal(content, &s); err != nil {
		t.Fatal(err)
	}
	at := func(path string) any {
		var v any = s
		for name := range strings.SplitSeq(path, ".") {
			m, _ := v.(map[string]any)
			v = m[name]
		}
		return v
	}
	for path, want := range map[string]string{"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1"} {
		if at(path) != want {
			t.Errorf("%s is %v", path, at(path))
		}
	}
	for _, path := range []string{"predicate.buildDefinition.buildType", "predicate.runDetails.builder.id"} {
		if v, _ := at(path).(string); !regexp.MustCompile(`^[a-z]+:.`).MatchString(v) {
			t.Errorf("%s is %v, not a URI", path, at(path))
		}
	}
	if v, _ := at("predicate.buildDefinition.externalParameters").(map[string]any); len(v) == 0 {
		t.Error("externalParameters is missing")
	}
	for _, path := range []string{"subject", "predicate.buildDefinition.resolvedDependencies", "predicate.runDetails.byproducts"} {
		list, _ := at(path).([]any)
		if path == "subject" && len(list) == 0 {
			t.Error("no subject")
		}
		for _, r := range list {
			r := r.(map[string]any)
			if r["uri"] == nil && r["digest"] == nil && r["content"] == nil || path == "subject" && r["digest"] == nil {
				t.Errorf("%s: %v lacks what identifies it", path, r)
			}
			sets, _ := r["digest"].(map[string]any)
			for algorithm, value := range sets {
				if !regexp.MustCompile(`^(sha256|sha512|gitCommit)$`).MatchString(algorithm) || !regexp.MustCompile(`^[0-9a-f]{40,128}$`).MatchString(value.(string)) {
					t.Errorf("%s: digest %s %v", path, algorithm, value)
				}
			}
		}
	}
	for _, path := range []string{"predicate.runDetails.metadata.startedOn", "predicate.runDetails.metadata.finishedOn"} {
		if v, ok := at(path).(string); ok {
			if _, err := time.Parse("2006-01-02T15:04:05Z", v); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestStatementHasWhatTheSpecificationRequires(t *testing.T) {
	least := attest.Build{
		Subjects: example().Subjects[:1], Source: attest.Source{URI: "file:///src"}, Project: "p", Target: "t",
		Platforms: []string{"linux/amd64"}, Builder: attest.Builder{ID: "urn:x:y"},
	}
	for _, b := range []attest.Build{example(), least} {
		content, err := attest.Statement(b)
		if err != nil {
			t.Fatal(err)
		}
		required(t, content)
	}
}

func TestStatementDependsOnNoOrder(t *testing.T) {
	want, err := attest.Statement(example())
	if err != nil {
		t.Fatal(err)
	}
	b := example()
	slices.Reverse(b.Subjects)
	slices.Reverse(b.Platforms)
	slices.Reverse(b.Bases)
	slices.Reverse(b.Byproducts)
	slices.Reverse(b.Files)
	b.Bases = append(b.Bases, b.Bases[0])
	b.Started = b.Started.UTC()
	before := example()
	slices.Reverse(before.Platforms)
	for range 20 {
		if got, err := attest.Statement(b); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%v: %s\nwant %s", err, got, want)
		}
	}
	if !reflect.DeepEqual(b.Platforms, before.Platforms) {
		t.Error("the caller's list was changed")
	}
}

func TestStatementShowsNoSecret(t *testing.T) {
	content, err := attest.Statement(example())
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"s3cret", "proxy", "PROXY", "3128", "me:"} {
		if bytes.Contains(content, []byte(word)) {
			t.Errorf("%q is in %s", word, content)
		}
	}
}

func TestStatementRefuses(t *testing.T) {
	cases := []struct {
		want   string
		change func(b *attest.Build)
	}{
		{"subject is missing", func(b *attest.Build) { b.Subjects = nil }},
		{`subject "x"`, func(b *attest.Build) { b.Subjects[0] = attest.Subject{Name: "x", Digest: "sha256:1"} }},
		{"source's URI", func(b *attest.Build) { b.Source.URI = "" }},
		{"source's URI", func(b *attest.Build) { b.Source.URI = "https://me:s3cret-token@%zz" }},
		{"commit", func(b *attest.Build) { b.Source.Commit = "main" }},
		{"project is missing", func(b *attest.Build) { b.Project = "" }},
		{"target is missing", func(b *attest.Build) { b.Target = "" }},
		{"platforms are missing", func(b *attest.Build) { b.Platforms = nil }},
		{"builder's id", func(b *attest.Build) { b.Builder.ID = "" }},
		{"builder's id", func(b *attest.Build) { b.Builder.ID = "slipway" }},
		{"builder's id", func(b *attest.Build) { b.Builder.ID = "https://u:s3cret-token@h" }},
		{`base image "debian:12"`, func(b *attest.Build) { b.Bases[0].Digest = "" }},
		{"origin", func(b *attest.Build) { b.Bases[0].Origin = "" }},
		{"upstream", func(b *attest.Build) { b.Bases[0].Upstream = "" }},
		{"not an image's name", func(b *attest.Build) { b.Bases[0].Reference = "a b" }},
		{`byproduct "inputs"`, func(b *attest.Build) { b.Byproducts[1].Digest = "" }},
		{"before it started", func(b *attest.Build) { b.Finished = b.Started.Add(-time.Hour) }},
		{"argument TOKEN holds", func(b *attest.Build) { b.Args["TOKEN"] = "x s3cret-token" }},
		{"value of a secret", func(b *attest.Build) { b.Internal["note"] = "s3cret-token" }},
		{"value of a secret", func(b *attest.Build) {
			b.Secrets, b.Files = [][]byte{[]byte("quoted\"<&\nsecret")}, []string{"quoted\"<&\nsecret"}
		}},
	}
	for _, c := range cases {
		b := example()
		c.change(&b)
		content, err := attest.Statement(b)
		if err == nil || content != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}

func TestSourceAddresses(t *testing.T) {
	for uri, want := range map[string]string{
		"https://git.example.com/a.git":                "https://git.example.com/a.git",
		"https://tok3n-only@git.example.com/a":         "https://git.example.com/a",
		"git+https://x-access:tok3n-only@h/a#main:sub": "git+https://h/a#main:sub",
		"https://h/a?private_token=tok3n-only":         "https://h/a",
		"ssh://git@h/a":                                "ssh://git@h/a",
		"ssh://git:tok3n-only@h/a":                     "ssh://h/a",
		"git@github.com:org/a.git":                     "ssh://git@github.com/org/a.git",
		"file:///src/a":                                "file:///src/a",
	} {
		b := example()
		b.Source.URI = uri
		content, err := attest.Statement(b)
		if err != nil || !bytes.Contains(content, []byte(`"source":{"uri":"`+want+`"`)) || bytes.Contains(content, []byte("tok3n")) {
			t.Errorf("%s: %v\n%s\nwant %s", uri, err, content, want)
		}
	}
}

// BuildKit names the same image in the same way, but for the tag, which it
// leaves out beside a digest.
func TestPackageURLIsBuildKits(t *testing.T) {
	for _, name := range []string{"debian", "docker.io/library/debian", "team/app", "docker.io/team/app", "ghcr.io/a/b/c", "localhost:5000/team/app", "registry.example.com/x_y/z.w"} {
		for _, tag := range []string{"", ":12", ":1.0_x-y"} {
			b := example()
			b.Bases = []attest.Base{{Reference: name + tag, Digest: digest("d"), Platform: "linux/arm64", Origin: attest.Local}}
			content, err := attest.Statement(b)
			if err != nil {
				t.Fatal(err)
			}
			want, err := purl.RefToPURL("docker", name+"@"+digest("d").String(), &v1.Platform{OS: "linux", Architecture: "arm64"})
			if err != nil {
				t.Fatal(err)
			}
			if tag != "" {
				want = strings.Replace(want, "?", "@"+tag[1:]+"?", 1)
			}
			if !bytes.Contains(content, []byte(`"uri":"`+want+`"`)) {
				t.Errorf("%s%s: want %s in %s", name, tag, want, content)
			}
		}
	}
}
