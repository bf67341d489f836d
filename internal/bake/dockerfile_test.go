package bake

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const sample = `# syntax=docker/dockerfile:1.9
ARG GO=1.26
ARG BASE=debian:12
ARG UNUSED=1

FROM scratch AS assets
ADD https://example.com/a.css /css/
ADD --checksum=sha256:0123456789012345678901234567890123456789012345678901234567890123 https://example.com/b.css /css/
ADD https://github.com/example/repo.git#v1 /repo
ADD https://github.com/example/repo.git#0123456789012345678901234567890123456789 /pinned
COPY web/static /css

FROM --platform=$BUILDPLATFORM golang:${GO} AS build
ARG VERSION
ARG http_proxy
# a comment
COPY go.mod go.sum ./
COPY --from=assets /css /css
COPY --from=docker.io/library/alpine:3 /etc/os-release /
RUN --mount=type=bind,source=internal,target=/x \
    --mount=type=cache,target=/root/.cache \
    --mount=from=busybox,target=/bb \
    # inside
    go build ./...

FROM nothing:1 AS aside
ARG ASIDE
COPY secret.txt /

FROM ${BASE} AS final
ENV DIR=conf
COPY ${DIR}/app.toml $UNKNOWN_OF_BASE/x /etc/
COPY --from=1 /app /app
RUN --network=none true
`

func TestParseDockerfile(t *testing.T) {
	d, err := ParseDockerfile([]byte(sample), DockerfileOptions{TargetPlatform: "linux/arm64", BuildPlatform: "linux/amd64", Args: map[string]string{"BUILDKIT_INLINE_CACHE": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	images := []string{}
	for _, i := range d.Images {
		images = append(images, fmt.Sprintf("%d %s %s %s %s", i.Line, i.Kind, i.Name, i.Reference, i.Platform))
	}
	sources := []string{}
	for _, s := range d.Sources {
		sources = append(sources, fmt.Sprintf("%d %s", s.Line, s.Path))
	}
	unpinned := []string{}
	for _, u := range d.Unpinned {
		unpinned = append(unpinned, fmt.Sprintf("%d %s", u.Line, u.Kind))
	}
	for what, pair := range map[string][2][]string{
		"images": {images, {
			"13 FROM golang:1.26 docker.io/library/golang:1.26 linux/amd64",
			"19 COPY alpine:3 docker.io/library/alpine:3 linux/arm64",
			"20 MOUNT busybox docker.io/library/busybox:latest linux/arm64",
			"30 FROM debian:12 docker.io/library/debian:12 linux/arm64",
		}},
		"sources":  {sources, {"11 web/static", "17 go.mod", "17 go.sum", "20 internal", "32 conf/app.toml", "32 ."}},
		"unpinned": {unpinned, {"7 add-http", "9 add-git", "20 run"}},
		"args":     {d.Args, {"BASE", "BUILDKIT_INLINE_CACHE", "BUILDPLATFORM", "GO", "VERSION"}},
		"syntax":   {{d.Syntax}, {"docker/dockerfile:1.9"}},
		"stages":   {{fmt.Sprint(d.Reachable)}, {"[0 1 3]"}},
	} {
		if !slices.Equal(pair[0], pair[1]) {
			t.Errorf("%s are\n%q, want\n%q", what, pair[0], pair[1])
		}
	}
	if !d.WholeContext[""] || !d.OnBuildUnknown {
		t.Error("a path that the base image decides is the whole context, and the base may bring ONBUILD")
	}
}

func TestDockerfileContexts(t *testing.T) {
	const file = `FROM debian:12 AS base
COPY . /
FROM base AS final
COPY --from=lib /x /y
RUN --mount=from=tools,source=bin,target=/t true
`
	d, err := ParseDockerfile([]byte(file), DockerfileOptions{Contexts: []string{"debian:12", "lib", "tools"}})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"debian:12", "lib", "tools"}; !slices.Equal(d.Contexts, want) || len(d.Images) != 0 {
		t.Errorf("contexts are %v, images %v", d.Contexts, d.Images)
	}
	if !d.WholeContext["debian:12"] || d.WholeContext["lib"] {
		t.Errorf("whole contexts are %v", d.WholeContext)
	}
	d, err = ParseDockerfile([]byte(file), DockerfileOptions{Contexts: []string{"base"}})
	if err != nil {
		t.Fatal(err)
	}
	if d.WholeContext[""] || !d.WholeContext["base"] {
		t.Errorf("a context in place of a stage takes its instructions away: whole contexts are %v", d.WholeContext)
	}
}

func TestDockerfileErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "Dockerfile",
		"ARG A":                          "no FROM",
		"FROM a\nRUM x\n":                "Dockerfile:2: unknown instruction: RUM",
		"ARG BASE\nFROM ${BASE}":         "Dockerfile:2: FROM ${BASE} names no image, because BASE has no value",
		"FROM a\nCOPY --from=5 a b":      "Dockerfile:2: there is no stage 5",
		"FROM a\nCOPY --from=$X a b":     "does not take variables",
		"FROM a AS x\nCOPY --from=x a b": "Dockerfile:2: stage x needs stage x",
		"FROM a AS x\nCOPY --from=y a b\nFROM x AS y":  "Dockerfile:2: stage x needs stage y, which needs it in turn",
		"FROM UPPER/Case:1":                            "Dockerfile:1: ",
		"FROM --platform=a/b/c/d/e x":                  "is not a platform",
		"FROM a\nRUN --mount=type=nope,target=/x true": "Dockerfile:2: ",
		"FROM a\nRUN <<EOT\nno end":                    "unterminated heredoc",
		"RUN true\nFROM a":                             "Dockerfile:1: ",
	} {
		_, err := ParseDockerfile([]byte(text), DockerfileOptions{})
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v, want %q", text, err, want)
		}
	}
	later := []byte("FROM a AS x\nCOPY --from=y a b\nFROM b AS y")
	if _, err := ParseDockerfile(later, DockerfileOptions{Stage: "x"}); err == nil || !strings.Contains(err.Error(), "Dockerfile:2: stage x cannot copy from stage y") {
		t.Errorf("a later stage: %v", err)
	}
	if _, err := ParseDockerfile(later, DockerfileOptions{}); err != nil {
		t.Errorf("a later stage of a stage that nothing needs: %v", err)
	}
	if _, err := ParseDockerfile([]byte("FROM a AS build"), DockerfileOptions{Stage: "biuld"}); err == nil || !strings.Contains(err.Error(), "did you mean build?") {
		t.Errorf("a missing stage: %v", err)
	}
}

func TestCanonical(t *testing.T) {
	canonical := func(text string) []byte {
		t.Helper()
		d, err := ParseDockerfile([]byte(text), DockerfileOptions{Stage: "final"})
		if err != nil {
			t.Fatal(err)
		}
		return d.Canonical
	}
	const file = "ARG A=1\nFROM a AS one\nRUN x \\\n  y\nFROM one AS final\nCOPY --from=0 a b\nRUN <<EOT\n# kept\n\nz\nEOT\n"
	base := canonical(file)
	for name, text := range map[string]string{
		"comments":      strings.Replace(file, "FROM a", "# a comment\n\nFROM a", 1),
		"within RUN":    strings.Replace(file, "x \\\n", "x \\\n  # a comment\n", 1),
		"another stage": strings.Replace(strings.Replace(file, "FROM a AS one", "FROM zzz AS zero\nCOPY s t\nFROM a AS one", 1), "--from=0", "--from=1", 1),
		"a later stage": file + "FROM other\nRUN more\n",
		"line ends":     file + "\n\n\n",
	} {
		if got := canonical(text); !bytes.Equal(got, base) {
			t.Errorf("%s change it:\n%s\n%s", name, got, base)
		}
	}
	for name, text := range map[string]string{
		"heredoc":      strings.Replace(file, "# kept\n", "", 1),
		"blank line":   strings.Replace(file, "\n\nz", "\nz", 1),
		"command":      strings.Replace(file, "RUN x", "RUN w", 1),
		"indentation":  strings.Replace(file, "\n  y", "\n   y", 1),
		"meta":         strings.Replace(file, "ARG A=1", "ARG A=2", 1),
		"escape":       "# escape=`\n" + strings.Replace(file, "\\", "`", 1),
		"check":        "# check=error=true\n" + file,
		"other source": strings.Replace(file, "COPY --from=0", "COPY", 1),
		"heredoc kind": strings.Replace(file, "<<EOT", "<<\"EOT\"", 1),
	} {
		if bytes.Equal(canonical(text), base) {
			t.Errorf("%s does not change it", name)
		}
	}
}

func TestExpansionIsBounded(t *testing.T) {
	text := "FROM scratch\nENV A=0123456789\n" + strings.Repeat("ENV A=$A$A$A$A\n", 40) + "COPY $A /\n"
	d, err := ParseDockerfile([]byte(text), DockerfileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !d.WholeContext[""] {
		t.Error("a value beyond the bound is unknown")
	}
}

func TestIgnoreFiles(t *testing.T) {
	if got := IgnoreFile("app/Dockerfile.x", "app"); !slices.Equal(got, []string{"app/Dockerfile.x.dockerignore", "app/.dockerignore"}) {
		t.Errorf("candidates are %v", got)
	}
	if patterns, err := ParseIgnore(".dockerignore", []byte("# no\n*.o\n!keep.o\n\n/dir/\n")); err != nil || !slices.Equal(patterns, []string{"*.o", "!keep.o", "dir"}) {
		t.Errorf("patterns are %q, %v", patterns, err)
	}
	if _, err := ParseIgnore(".dockerignore", []byte("[a\n")); err == nil {
		t.Error("a broken pattern is taken")
	}
}

func FuzzParseDockerfile(f *testing.F) {
	f.Add([]byte(sample), "final")
	f.Add([]byte("FROM a AS x\nONBUILD COPY --from=x a b\nFROM x\nRUN <<E\nE\n"), "")
	f.Fuzz(func(t *testing.T, content []byte, stage string) {
		o := DockerfileOptions{Stage: stage, Args: map[string]string{"VERSION": "1"}}
		d, err := ParseDockerfile(content, o)
		var e *Error
		if err != nil {
			if !errors.As(err, &e) {
				t.Fatalf("error %v has no place", err)
			}
			return
		}
		again, err := ParseDockerfile(content, o)
		if err != nil || !bytes.Equal(d.Canonical, again.Canonical) || len(d.Reachable) == 0 {
			t.Fatalf("the second time it is different: %v", err)
		}
	})
}

func TestUncanonical(t *testing.T) {
	for line, want := range map[string]string{
		"7:RUN a:b ":            "RUN a:b",
		"5:stage 1:0 ":          "stage 0",
		"9:RUN 3:abc ":          "RUN 3:abc",
		"40:RUN <<EOT":          "RUN <<EOT", // goes on in the next line
		"# of another frontend": "# of another frontend",
		"-1:x ":                 "-1:x ",
		"":                      "",
	} {
		if got := Uncanonical(line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}
