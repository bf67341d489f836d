//go:build linux

package build

import (
	"os"
	"path/filepath"
	"testing"

	"slipway/internal/pipeline"
)

// bad is a project that is broken, or after what it must not have.
type bad struct {
	files   map[string]string
	links   map[string]string
	request func(*project)
	kind    pipeline.Kind // default: KindProject
	says    []string      // where, and what
}

// target is a project of one target, with more in its block.
func target(lines string) map[string]string {
	return map[string]string{"Dockerfile": "FROM busybox:1\nCOPY f /\n", "f": "f", "docker-bake.hcl": "target \"default\" {\n" + lines + "\n}\n"}
}

func plain(dockerfile string) map[string]string {
	return map[string]string{"Dockerfile": dockerfile, "f": "f"}
}

var badProjects = map[string]bad{
	"nothing to build":         {files: map[string]string{"README": ""}, says: []string{"nothing to build"}},
	"bake syntax":              {files: target("args = {"), says: []string{"docker-bake.hcl:"}},
	"context outside":          {files: target(`context = "../.."`), says: []string{"docker-bake.hcl:2", "outside of the checkout"}},
	"context through a link":   {files: target(`context = "out"`), links: map[string]string{"out": "/etc"}, says: []string{"docker-bake.hcl:2", "symbolic link"}},
	"Dockerfile outside":       {files: target(`dockerfile = "/etc/passwd"`), says: []string{"docker-bake.hcl:2", "outside"}},
	"secret outside":           {files: target(`secret = ["id=s,src=/etc/shadow"]`), says: []string{"docker-bake.hcl:2", "secret s"}},
	"ssh outside":              {files: target(`ssh = ["default=/root/.ssh/id_rsa"]`), says: []string{"docker-bake.hcl:2", "outside"}},
	"output outside":           {files: target(`output = ["type=local,dest=/tmp/out"]`), says: []string{"docker-bake.hcl:2", "outside"}},
	"cache outside":            {files: target(`cache-to = ["type=local,dest=../cache"]`), says: []string{"docker-bake.hcl:2", "outside"}},
	"network of the host":      {files: target(`network = "host"`), says: []string{"docker-bake.hcl:2", "host"}},
	"target needs itself":      {files: target(`contexts = { a = "target:default" }`), says: []string{"docker-bake.hcl:2", "needs itself"}},
	"target that is not there": {files: target(`contexts = { a = "target:bsae" }`), says: []string{"docker-bake.hcl:2", "bsae"}},
	"tag of another registry":  {files: target(`tags = ["registry.example.com/app:1"]`), says: []string{"docker-bake.hcl:1", "registry.example.com", "build.rewrite-registries"}},
	"tag that is none":         {files: target(`tags = ["App:1"]`), says: []string{"docker-bake.hcl:", "App:1"}},
	"epoch that is no time":    {files: target(`args = { SOURCE_DATE_EPOCH = "yesterday" }`), says: []string{"docker-bake.hcl:1", "SOURCE_DATE_EPOCH"}},
	"include outside": {files: map[string]string{"Dockerfile": "FROM busybox:1\n", "compose.yaml": "include: [../../../etc/passwd]\nservices: { a: { build: . } }\n"},
		says: []string{"compose.yaml:1", "outside of the checkout"}},
	"targets in a ring": {files: map[string]string{"docker-bake.hcl": "target \"default\" {\n contexts = { b = \"target:b\" }\n}\ntarget \"b\" {\n contexts = { a = \"target:default\" }\n}\n"},
		says: []string{"docker-bake.hcl:", "in turn"}},

	"empty Dockerfile":         {files: plain(""), says: []string{"Dockerfile"}},
	"unknown instruction":      {files: plain("FROM busybox:1\nCOPPY f /\n"), says: []string{"Dockerfile:2", "COPPY"}},
	"no FROM":                  {files: plain("COPY f /\n"), says: []string{"Dockerfile"}},
	"image that nobody has":    {files: plain("FROM scratch\nCOPY f /\nFROM nobody/has:this\n"), says: []string{"Dockerfile:3", "nobody/has:this", "slipway import"}},
	"image of another's COPY":  {files: plain("FROM scratch\nCOPY --from=nobody:1 / /\n"), says: []string{"Dockerfile:2", "nobody:1"}},
	"frontend that nobody has": {files: plain("# syntax=nobody/frontend:1\nFROM busybox:1\n"), says: []string{"Dockerfile:1", "nobody/frontend:1"}},
	"stage that is not there":  {files: target(`target = "none"`), says: []string{"none"}},
	"file that is not there":   {files: plain("FROM busybox:1\nCOPY nothing /\n"), kind: pipeline.KindBuild, says: []string{"Dockerfile:2", "nothing"}},
	"file outside":             {files: plain("FROM busybox:1\nCOPY ../../../../../../../etc/passwd /stolen\n"), kind: pipeline.KindBuild, says: []string{"Dockerfile:2", "etc/passwd"}},
	"file through a link":      {files: plain("FROM busybox:1\nCOPY out/passwd /stolen\n"), links: map[string]string{"out": "/etc"}, kind: pipeline.KindBuild, says: []string{"Dockerfile:2", "passwd"}},
	"step that fails":          {files: plain("FROM busybox:1\nRUN echo the last words; exit 3\n"), kind: pipeline.KindBuild, says: []string{"Dockerfile:2", "exit code 3"}},
	"security for a step":      {files: plain("FROM busybox:1\nRUN --security=insecure true\n"), kind: pipeline.KindBuild, says: []string{"insecure"}},
	"network for a step":       {files: plain("FROM busybox:1\nRUN --network=host true\n"), kind: pipeline.KindBuild, says: []string{"host"}},
	"secret nobody gave": {files: map[string]string{"docker-bake.hcl": "target \"default\" {\n  secret = [\"id=token,env=TOKEN\"]\n}\n", "Dockerfile": "FROM busybox:1\nRUN --mount=type=secret,id=token true\n"},
		says: []string{"docker-bake.hcl:1", "secret token", "--secret id=token,env=TOKEN"}},
	"ssh nobody gave":          {files: target(`ssh = ["default"]`), says: []string{"docker-bake.hcl:1", "--ssh default"}},
	"ignore file that is none": {files: map[string]string{"Dockerfile": "FROM busybox:1\nCOPY f /\n", "f": "f", ".dockerignore": "[a-\n"}, says: []string{".dockerignore", "syntax error in pattern"}},
	"folder that is huge": {files: plain("FROM busybox:1\nCOPY . /\n"), request: func(p *project) {
		p.must(os.Truncate(p.path("f"), 17<<30)) // takes no space: it is all holes
	}, says: []string{"too large"}},
	"target nobody has": {files: target(""), request: func(p *project) { p.request.Targets = []string{"defaullt"} }, says: []string{"defaullt", "did you mean default?"}},
	"force of nothing":  {files: target(""), request: func(p *project) { p.request.ForceTargets = []string{"other"} }, says: []string{"--force", "other"}},
}

func TestBadProjects(t *testing.T) {
	builder(t)
	for name, test := range badProjects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newWorld(t, builder(t)).newProject("bad", test.files)
			for link, to := range test.links {
				p.must(os.Symlink(to, filepath.Join(p.dir, link)))
			}
			if test.request != nil {
				test.request(p)
			}
			if test.kind == "" {
				test.kind = pipeline.KindProject
			}
			p.mustFail(test.kind, test.says...)
		})
	}
}
