//go:build linux

package build

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"

	"os"

	"slipway/internal/pipeline"
)

// imageChanges are changes of the images that a project is built from.
var imageChanges = map[string]change{
	"base moved": {edit: func(p *project) { p.base("busybox:1", "two") }, want: built, because: "base image busybox:1 changed"},
	"base by another name": {with: func(p *project) { p.base("busybox:uno", "one") },
		edit: swap("Dockerfile", "BASE=busybox:1", "BASE=busybox:uno"), want: built, conservative: "an image is known by its name and digest, so that the list of inputs says which it is"},
	"base of unused stage moved": {with: func(p *project) {
		p.base("other:1", "one")
		p.replace("Dockerfile", "FROM busybox:1 AS unused", "FROM other:1 AS unused")
	},
		edit: func(p *project) { p.base("other:1", "two") }, want: reused},
	"image nobody uses moved": {with: func(p *project) { p.base("other:1", "one") }, edit: func(p *project) { p.base("other:1", "two") }, want: reused},
	"image of COPY moved": {with: then("COPY --from=other:1 /base.txt /x\n", func(p *project) { p.base("other:1", "one") }),
		edit: func(p *project) { p.base("other:1", "two") }, want: built, because: "base image other:1 changed"},
	"unread part of image of COPY moved": {with: then("COPY --from=other:1 /same /x\n", func(p *project) { p.other("one") }),
		edit: func(p *project) { p.other("two") }, want: built, conservative: "what COPY takes from an image is found out by loading it, which is the builder's work"},
	"image of a mount moved": {with: then("RUN --mount=from=other:1,target=/m cat /m/base.txt > /x\n", func(p *project) { p.base("other:1", "one") }),
		edit: func(p *project) { p.base("other:1", "two") }, want: built, because: "base image other:1 changed"},
	"base in an argument": {with: func(p *project) { p.base("other:1", "two") },
		edit: swap("docker-bake.hcl", `VERSION = "1"`, "VERSION = \"1\"\n    BASE = \"other:1\""), want: built},
	"base with steps of its own": {with: func(p *project) {
		p.baseImage("steps:1", newImage(native(), imageConfig{OnBuild: []string{"COPY notes /notes"}}, busybox(p.t)))
		p.replace("Dockerfile", "BASE=busybox:1", "BASE=steps:1")
	}, edit: put("notes/readme.txt", "other"), want: built, because: "file notes/readme.txt changed"},
}

// other pushes an image of a file that stays and one that does not.
func (p *project) other(text string) {
	p.baseImage("other:1", newImage(native(), imageConfig{}, files(map[string]string{"same": "same"}), files(map[string]string{"text": text})))
}

// optionChanges are changes of the bake file, and of how a build is run.
var optionChanges = map[string]change{
	"order of keys": {with: swap("docker-bake.hcl", "  args = {\n", "  labels = { a = \"1\" }\n  args = {\n    A = \"1\"\n"),
		edit: put("docker-bake.hcl", "target \"app\" {\n  tags = [\"app:1\"]\n  args = {\n    VERSION = \"1\"\n    A = \"1\"\n  }\n  labels = { a = \"1\" }\n}\ngroup \"default\" {\n  targets = [\"app\"]\n}\n"), want: reused},
	"form of the bake file": {edit: func(p *project) { p.write("docker-bake.hcl", "# formatted\n\n"+bakefile+"\n\n") }, want: reused},
	"bake file in JSON": {edit: func(p *project) {
		p.remove("docker-bake.hcl")
		p.write("docker-bake.json", `{"target":{"app":{"args":{"VERSION":"1"},"tags":["app:1"]}},"group":{"default":{"targets":["app"]}}}`)
	}, want: reused},
	"override file":          {edit: put("docker-bake.override.hcl", "target \"app\" {\n  args = { VERSION = \"3\" }\n}\n"), want: built, because: "argument VERSION"},
	"override by --set":      {edit: func(p *project) { p.request.Set = []string{"app.args.VERSION=5"} }, want: built, because: "argument VERSION"},
	"argument from a parent": {edit: put("docker-bake.hcl", "target \"parent\" {\n  args = { VERSION = \"1\" }\n}\ntarget \"app\" {\n  inherits = [\"parent\"]\n  tags = [\"app:1\"]\n}\ngroup \"default\" {\n  targets = [\"app\"]\n}\n"), want: reused},
	"target renamed": {edit: put("docker-bake.hcl", "target \"service\" {\n  args = { VERSION = \"1\" }\n}\ngroup \"default\" {\n  targets = [\"service\"]\n}\n"),
		all: map[string]pipeline.Verdict{"service " + nativeName: reused}},
	"tags":                   {edit: swap("docker-bake.hcl", `"app:1"`, `"app:2", "app:latest"`), want: reused},
	"description":            {edit: field(`description = "an app"`), want: reused},
	"label of the target":    {edit: field(`labels = { "org.example" = "1" }`), want: built, because: "label org.example added"},
	"annotation":             {edit: field(`annotations = ["org.example=1"]`), want: built, because: "annotation org.example added"},
	"compression":            {edit: put("slipway.yaml", "compression: zstd\n"), want: built, because: "output option compression"},
	"how many tags are kept": {edit: put("slipway.yaml", "keep: 3\n"), want: reused},
	"epoch":                  {edit: swap("docker-bake.hcl", `VERSION = "1"`, "VERSION = \"1\"\n    SOURCE_DATE_EPOCH = \"1000000000\""), want: built, because: "output option epoch added"},
	"network":                {with: then("RUN echo ran > /ran\n"), edit: field(`network = "none"`), want: built, because: "network changed"},
	"shm size":               {with: then("RUN echo ran > /ran\n"), edit: field(`shm-size = "128m"`), want: built, because: "shm-size"},
	"limits":                 {with: then("RUN echo ran > /ran\n"), edit: field(`ulimits = ["nofile=512:512"]`), want: built, because: "ulimit"},
	"extra host":             {with: then("RUN echo ran > /ran\n"), edit: field(`extra-hosts = { "db.test" = "192.0.2.7" }`), want: built, because: "host db.test=192.0.2.7 added"},
	"no cache":               {edit: field(`no-cache = true`), want: built, because: "no-cache is set"},
	"no cache for a stage":   {edit: field(`no-cache-filter = ["app"]`), want: built, because: "no-cache is set"},

	"value of a secret": {with: both(secret("one"), field(`secret = ["id=token,src=token.txt"]`), then(secretStep)), edit: secret("two"), want: reused},
	"id of a secret": {with: both(secret("one"), field(`secret = ["id=token,src=token.txt"]`), then(secretStep)),
		edit: both(swap("docker-bake.hcl", "id=token", "id=key"), swap("Dockerfile", "id=token", "id=key")), want: built, because: "secret key added"},
	"secret nobody mounts": {with: secret("one"), edit: field(`secret = ["id=token,src=token.txt"]`), want: built, because: "secret token added",
		conservative: "the ids of all secrets of a target are inputs, whether a step mounts them or not"},
	"ssh nobody mounts": {with: func(p *project) { p.request.SSH = map[string][]string{"default": {sshKey(p)}} }, edit: field(`ssh = ["default"]`), want: built, because: "ssh default added",
		conservative: "as for secrets"},
	"cache of a step": {with: then("RUN --mount=type=cache,target=/cache echo 1 >> /cache/n; echo done > /x\n"), edit: func(*project) {}, want: reused},

	"platform added": {with: both(scratch, field(`platforms = ["linux/amd64"]`)), edit: swap("docker-bake.hcl", `["linux/amd64"]`, `["linux/amd64", "linux/arm64"]`),
		all: map[string]pipeline.Verdict{"app linux/amd64": reused, "app linux/arm64": built}},
	"platform removed": {with: both(scratch, field(`platforms = ["linux/amd64", "linux/arm64"]`)), edit: swap("docker-bake.hcl", `["linux/amd64", "linux/arm64"]`, `["linux/arm64"]`),
		all: map[string]pipeline.Verdict{"app linux/arm64": reused}},
	"platform changed": {with: both(scratch, field(`platforms = ["linux/amd64"]`)), edit: swap("docker-bake.hcl", `["linux/amd64"]`, `["linux/arm64"]`),
		all: map[string]pipeline.Verdict{"app linux/arm64": built}},
}

// contextChanges are changes of what a target is built on, besides its folder.
var contextChanges = map[string]change{
	"file of a named context":       {with: named, edit: put("docs/guide.txt", "other"), want: built, because: "file docs:guide.txt changed"},
	"other file of a named context": {with: named, edit: put("docs/draft.txt", "other"), want: reused},
	"named context elsewhere":       {with: named, edit: both(func(p *project) { p.rename("docs", "manual") }, swap("docker-bake.hcl", `docs = "docs"`, `docs = "manual"`)), want: reused},
	"named context nobody reads":    {edit: both(put("docs/guide.txt", "guide"), field(`contexts = { docs = "docs" }`)), want: reused},
	"image as a named context": {with: both(func(p *project) { p.base("other:1", "one") }, field(`contexts = { "busybox:1" = "docker-image://other:1" }`)),
		edit: func(p *project) { p.base("other:1", "two") }, want: built, because: "base image busybox:1 changed"},
	"mounted file":                {with: then("RUN --mount=type=bind,source=notes,target=/n cat /n/readme.txt > /x\n"), edit: put("notes/readme.txt", "other"), want: built},
	"file beside the mounted":     {with: then("RUN --mount=type=bind,source=notes,target=/n cat /n/readme.txt > /x\n"), edit: put("more.txt", "other"), want: reused},
	"file in the mounted context": {with: then("RUN --mount=type=bind,target=/c cat /c/src/main.sh > /x\n"), edit: put("notes/readme.txt", "other"), want: built},

	"input of the target below":    {with: below, edit: put("base/packages", "more"), all: map[string]pipeline.Verdict{"base " + nativeName: built, "app " + nativeName: built}, because: "base image below changed"},
	"argument of the target below": {with: below, edit: swap("docker-bake.hcl", `P = "1"`, `P = "2"`), all: map[string]pipeline.Verdict{"base " + nativeName: built, "app " + nativeName: built}},
	"nothing of the target below":  {with: below, edit: put("base/notes", "more"), all: map[string]pipeline.Verdict{"base " + nativeName: reused, "app " + nativeName: reused}},
	"input above the target below": {with: below, edit: put("src/main.sh", "more"), all: map[string]pipeline.Verdict{"base " + nativeName: reused, "app " + nativeName: built}},
}

const (
	secretStep = "RUN --mount=type=secret,id=token test -n \"$(cat /run/secrets/token /run/secrets/key 2>/dev/null)\" && echo used > /x\n"
)

func secret(value string) func(*project) { return put("token.txt", value) }

// scratch is an image that needs no program to be built.
func scratch(p *project) { p.write("Dockerfile", "FROM scratch\nCOPY row src /\n") }

func named(p *project) {
	p.write("docs/guide.txt", "guide")
	p.write("docs/draft.txt", "draft")
	p.add("Dockerfile", "COPY --from=docs guide.txt /guide\n")
	field(`contexts = { docs = "docs" }`)(p)
}

func below(p *project) {
	p.write("base/packages", "curl")
	p.write("base/Dockerfile", "FROM busybox:1\nARG P\nCOPY packages /\nRUN echo $P > /p\n")
	p.add("docker-bake.hcl", "target \"base\" {\n  context = \"base\"\n  args = { P = \"1\" }\n}\n")
	field(`contexts = { below = "target:base" }`)(p)
	p.replace("Dockerfile", "BASE=busybox:1", "BASE=below")
	p.replace("docker-bake.hcl", `targets = ["app"]`, `targets = ["base", "app"]`)
}

// sshKey writes a key outside of the project.
func sshKey(p *project) string {
	p.t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	p.must(err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	p.must(err)
	path := filepath.Join(p.t.TempDir(), "key")
	p.must(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return path
}
