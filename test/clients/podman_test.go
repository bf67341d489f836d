//go:build linux

package clients

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"slipway/test/harness"
)

type podman struct{ base harness.Command }

// newPodman has a store of its own. vfs needs nothing of the file system below,
// unlike overlay.
func newPodman(t *testing.T) podman {
	t.Helper()
	dir := t.TempDir()
	base := command(t, "podman",
		"--root", dir+"/root", "--runroot", dir+"/run", "--tmpdir", dir+"/tmp",
		"--storage-driver=vfs", "--events-backend=none", "--cgroup-manager=cgroupfs", "--runtime=runc")
	return podman{base}
}

func (p podman) run(t *testing.T, args ...string) string {
	t.Helper()
	return p.base.With(args...).Run(t)
}

func (p podman) push(t *testing.T, img v1.Image, ref string) string {
	t.Helper()
	file := t.TempDir() + "/digest"
	p.run(t, "load", "--quiet", "--input", saveArchive(t, img, ref))
	p.run(t, "push", "--quiet", "--tls-verify=false", "--digestfile", file, ref)
	return readFile(t, file)
}

func (p podman) pull(t *testing.T, ref string) string {
	t.Helper()
	p.run(t, "image", "rm", "--all", "--force")
	p.run(t, "pull", "--quiet", "--tls-verify=false", ref)
	return p.run(t, "image", "inspect", "--format", "{{.Digest}}", ref)
}

func TestPodman(t *testing.T) {
	srv := harness.Start(t, harness.Options{})
	p := newPodman(t)
	ref := srv.Host() + "/team/app:1"
	pushed := p.push(t, newImage(t, hello(t)), ref)
	equal(t, "push", pushed, srv.Digest("team/app", "1"))
	equal(t, "pull by tag", pushed, p.pull(t, ref))
	equal(t, "pull by digest", pushed, p.pull(t, srv.Host()+"/team/app@"+pushed))

	t.Run("run", func(t *testing.T) {
		harness.Isolated(t)
		out := p.run(t, "run", "--rm", "--network=none", "--tls-verify=false", ref)
		want(t, "podman run of a pulled image", out, greeting)
	})
	t.Run("index", func(t *testing.T) {
		list := srv.Host() + "/team/app:all"
		file := t.TempDir() + "/digest"
		p.run(t, "manifest", "create", list)
		p.run(t, "manifest", "add", "--tls-verify=false", list, ref)
		p.run(t, "manifest", "push", "--all", "--tls-verify=false", "--digestfile", file, list, "docker://"+list)
		equal(t, "index", readFile(t, file), srv.Digest("team/app", "all"))
		want(t, "podman manifest inspect", p.run(t, "manifest", "inspect", list), pushed)
	})
	t.Run("list", func(t *testing.T) {
		tags := p.run(t, "search", "--tls-verify=false", "--list-tags", "--format=json", srv.Host()+"/team/app")
		want(t, "search --list-tags", tags, `"1"`, `"all"`)
	})
	t.Run("compressed again", func(t *testing.T) {
		other := srv.Host() + "/team/zstd:1"
		file := t.TempDir() + "/digest"
		p.pull(t, ref)
		p.run(t, "push", "--quiet", "--tls-verify=false", "--format=oci", "--compression-format=zstd", "--digestfile", file, ref, other)
		equal(t, "zstd layers", readFile(t, file), srv.Digest("team/zstd", "1"), p.pull(t, other))
	})
}
