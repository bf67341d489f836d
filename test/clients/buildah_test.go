//go:build linux

package clients

import (
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"slipway/test/harness"
)

type buildah struct{ base harness.Command }

func newBuildah(t *testing.T) buildah {
	t.Helper()
	dir := t.TempDir()
	return buildah{command(t, "buildah", "--root", dir+"/root", "--runroot", dir+"/run", "--storage-driver=vfs")}
}

func (b buildah) run(t *testing.T, args ...string) string {
	t.Helper()
	return b.base.With(args...).Run(t)
}

func (b buildah) push(t *testing.T, img v1.Image, ref string) string {
	t.Helper()
	id := b.run(t, "pull", "--quiet", "docker-archive:"+saveArchive(t, img, ref))
	return b.pushLocal(t, id, ref)
}

func (b buildah) pushLocal(t *testing.T, image, ref string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "digest")
	b.run(t, "push", "--quiet", "--tls-verify=false", "--digestfile", file, image, "docker://"+ref)
	return readFile(t, file)
}

func (b buildah) pull(t *testing.T, ref string) string {
	t.Helper()
	b.run(t, "rmi", "--all", "--force")
	b.run(t, "pull", "--quiet", "--tls-verify=false", ref)
	return b.run(t, "inspect", "--type=image", "--format={{.FromImageDigest}}", ref)
}

func TestBuildah(t *testing.T) {
	srv := harness.Start(t, harness.Options{})
	b := newBuildah(t)
	ref := srv.Host() + "/team/app:1"

	// An image made step by step, from nothing.
	container := b.run(t, "from", "scratch")
	b.run(t, "copy", container, hello(t), "/hello")
	b.run(t, "config", "--entrypoint", `["/hello"]`, container)
	b.run(t, "commit", "--quiet", "--rm", container, ref)
	pushed := b.pushLocal(t, ref, ref)
	equal(t, "push", pushed, srv.Digest("team/app", "1"))
	equal(t, "pull by tag", pushed, b.pull(t, ref))

	t.Run("build", func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "Dockerfile"), "FROM "+ref+"\nCOPY note /note\n")
		writeFile(t, filepath.Join(dir, "note"), "v2")
		next := srv.Host() + "/team/app:2"
		b.run(t, "build", "--quiet", "--tls-verify=false", "--pull-always", "--isolation=chroot", "--tag", next, dir)
		digest := b.pushLocal(t, next, next)
		equal(t, "image built on a pulled one", digest, srv.Digest("team/app", "2"), b.pull(t, next))
	})
	t.Run("index", func(t *testing.T) {
		list := srv.Host() + "/team/app:all"
		file := filepath.Join(t.TempDir(), "digest")
		b.run(t, "manifest", "create", "all")
		b.run(t, "manifest", "add", "--tls-verify=false", "all", "docker://"+ref)
		b.run(t, "manifest", "add", "--tls-verify=false", "--arch=arm64", "all", "docker://"+srv.Host()+"/team/app:2")
		b.run(t, "manifest", "push", "--all", "--tls-verify=false", "--digestfile", file, "all", "docker://"+list)
		equal(t, "index", readFile(t, file), srv.Digest("team/app", "all"))
		b.pull(t, list) // chooses the child for this platform
	})
}
