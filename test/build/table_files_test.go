//go:build linux

package build

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fileChanges are changes of what is in the folder.
var fileChanges = map[string]change{
	"nothing":                  {edit: func(*project) {}, want: reused, because: "the inputs are the same"},
	"content":                  {edit: put("src/main.sh", "echo other"), want: built, because: "file src/main.sh changed"},
	"content of same length":   {edit: put("src/main.sh", "echo MAIN"), want: built},
	"content not copied":       {edit: put("notes/readme.txt", "other"), want: reused},
	"line ends":                {with: put("src/main.sh", "a\nb\n"), edit: put("src/main.sh", "a\r\nb\r\n"), want: built},
	"file added":               {edit: put("src/more.sh", "more"), want: built, because: "file src/more.sh added"},
	"file added elsewhere":     {edit: put("more.txt", "more"), want: reused},
	"file removed":             {edit: func(p *project) { p.remove("src/lib/lib.sh") }, want: built, because: "file src/lib/lib.sh removed"},
	"file renamed":             {edit: func(p *project) { p.rename("src/main.sh", "src/start.sh") }, want: built},
	"folder renamed":           {edit: func(p *project) { p.rename("src/lib", "src/other") }, want: built},
	"file twice":               {edit: put("src/again.sh", "echo main"), want: built},
	"file with a strange name": {edit: put("src/ä \"b\"\t.txt", ""), want: built},
	"empty file to no file":    {with: put("src/empty", ""), edit: func(p *project) { p.remove("src/empty") }, want: built},

	"executable bit":   {edit: func(p *project) { p.chmod("src/main.sh", 0o755) }, want: built, because: "file src/main.sh has another mode"},
	"set-user-id bit":  {with: func(p *project) { p.chmod("src/main.sh", 0o755) }, edit: func(p *project) { p.chmod("src/main.sh", 0o755|os.ModeSetuid) }, want: built},
	"group write bit":  {edit: func(p *project) { p.chmod("src/main.sh", 0o664) }, want: built},
	"mode of a folder": {edit: func(p *project) { p.chmod("src/lib", 0o700) }, want: built},
	"mode not copied":  {edit: func(p *project) { p.chmod("notes/readme.txt", 0o755) }, want: reused},
	"owner":            {edit: func(p *project) { p.must(os.Lchown(p.path("src/main.sh"), 1234, 1234)) }, want: reused},
	"timestamp":        {edit: func(p *project) { p.must(os.Chtimes(p.path("src/main.sh"), time.Unix(99, 0), time.Unix(99, 0))) }, want: reused},
	"written again":    {edit: put("src/main.sh", "echo main"), want: reused},
	"size and time kept": {with: func(p *project) { p.write("src/big", strings.Repeat("a", 3<<20)); p.old("src/big") },
		edit: func(p *project) { p.write("src/big", strings.Repeat("a", 3<<20-1)+"b"); p.old("src/big") }, want: built},
	"extended attribute":            {edit: func(p *project) { p.xattr("src/main.sh") }, want: built, because: "file src/main.sh has other extended attributes"},
	"extended attribute not copied": {edit: func(p *project) { p.xattr("notes/readme.txt") }, want: reused},

	"symbolic link elsewhere": {with: func(p *project) { p.symlink("main.sh", "src/link") }, edit: func(p *project) { p.symlink("lib/lib.sh", "src/link") }, want: built, because: "file src/link links elsewhere"},
	"what a copied link points at": {with: func(p *project) { p.symlink("../notes/readme.txt", "src/link") },
		edit: put("notes/readme.txt", "other"), want: reused},
	"what a link named by COPY points at": {with: then("COPY link /linked\n", func(p *project) { p.symlink("notes/readme.txt", "link") }),
		edit: put("notes/readme.txt", "other"), want: built},
	"what a linked folder holds": {with: then("COPY linked/readme.txt /linked\n", func(p *project) { p.symlink("notes", "linked") }),
		edit: put("notes/readme.txt", "other"), want: built},
	"file becomes link": {with: put("src/copy.sh", "echo main"), edit: func(p *project) { p.symlink("main.sh", "src/copy.sh") }, want: built},
	"file becomes folder": {edit: func(p *project) { p.remove("src/main.sh"); p.mkdir("src/main.sh") }, want: built,
		because: "file src/main.sh is of another type"},
	"copy becomes hard link": {with: put("src/copy.sh", "echo main"),
		edit: func(p *project) {
			p.remove("src/copy.sh")
			p.must(os.Link(p.path("src/main.sh"), p.path("src/copy.sh")))
		}, want: reused},

	"empty folder added":           {edit: func(p *project) { p.mkdir("src/empty") }, want: built, because: "file src/empty added"},
	"empty folder removed":         {with: func(p *project) { p.mkdir("src/empty") }, edit: func(p *project) { p.remove("src/empty") }, want: built},
	"empty folder added elsewhere": {edit: func(p *project) { p.mkdir("empty") }, want: reused},

	"pattern matches more":     {edit: put("c.conf", "c"), want: built, because: "file c.conf added"},
	"pattern does not match":   {edit: put("c.config", "c"), want: reused},
	"pattern matches a folder": {edit: put("d.conf/inner", "d"), want: built},

	"ignore file of a copied file":    {edit: put(".dockerignore", "src/lib\n"), want: built, because: "file src/lib removed"},
	"ignore file of nothing copied":   {edit: put(".dockerignore", "notes\n"), want: reused},
	"ignore file says the same":       {with: put(".dockerignore", "notes\n"), edit: put(".dockerignore", "# all but\n*\n!src\n!row\n!*.conf\n!tools.txt\n"), want: reused},
	"ignored file":                    {with: put(".dockerignore", "src/lib\n"), edit: put("src/lib/lib.sh", "other"), want: reused},
	"ignored file but for":            {with: put(".dockerignore", "src/lib/*\n!src/lib/lib.sh\n"), edit: put("src/lib/lib.sh", "other"), want: built},
	"ignore file of the Dockerfile":   {with: put(".dockerignore", "src/lib\n"), edit: put("Dockerfile.dockerignore", "notes\n"), want: built, because: "file src/lib added"},
	"ignore file that does not count": {with: put("Dockerfile.dockerignore", "notes\n"), edit: put(".dockerignore", "src/lib\n"), want: reused},

	"git's own folder": {with: then("COPY . /all\n", put(".git/HEAD", "one")), edit: put(".git/HEAD", "two"), want: reused,
		deliberate: "a checkout of the same commit has another .git; BuildKit leaves it out of git contexts, and Slipway of all"},
	"git's own folder, kept": {with: then("COPY . /all\n", put(".git/HEAD", "one"), swap("docker-bake.hcl", "VERSION = \"1\"", "VERSION = \"1\"\nBUILDKIT_CONTEXT_KEEP_GIT_DIR = \"1\"")),
		edit: put(".git/HEAD", "two"), want: built},

	"project elsewhere": {edit: func(p *project) {
		to := filepath.Join(p.t.TempDir(), "elsewhere")
		p.must(os.CopyFS(to, os.DirFS(p.dir)))
		p.dir = to
	}, want: reused},
	"context elsewhere": {edit: func(p *project) {
		for _, name := range []string{"Dockerfile", "row", "src", "a.conf", "b.conf", "tools.txt", "unused.txt"} {
			p.rename(name, "moved/"+name)
		}
		field(`context = "moved"`)(p)
	}, want: reused},
	"archive that is added": {with: then("ADD pack.tar.gz /pack\n", put("pack.tar.gz", string(files(map[string]string{"x": "1"}).blob))),
		edit: put("pack.tar.gz", string(files(map[string]string{"x": "2"}).blob)), want: built},
}

// old gives a file a time long ago.
func (p *project) old(name string) {
	p.t.Helper()
	p.must(os.Chtimes(p.path(name), time.Unix(1e9, 0), time.Unix(1e9, 0)))
}

func (p *project) xattr(name string) {
	p.t.Helper()
	p.must(unix.Setxattr(p.path(name), "user.note", []byte("seen"), 0))
}
