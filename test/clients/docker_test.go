//go:build linux

package clients

import (
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"slipway/test/harness"
)

type docker struct{ engine *harness.Engine }

// newDocker starts an engine that needs no network: it reaches the server over
// loopback, which Docker lets be plain HTTP without any configuration.
func newDocker(t *testing.T) docker {
	t.Helper()
	return docker{harness.StartEngine(t, "--bridge=none", "--iptables=false", "--ip6tables=false")}
}

func (d docker) run(t *testing.T, args ...string) string {
	t.Helper()
	return d.engine.Docker(args...).Run(t)
}

func (d docker) push(t *testing.T, img v1.Image, ref string) string {
	t.Helper()
	d.run(t, "load", "--quiet", "--input", saveArchive(t, img, ref))
	d.run(t, "push", ref)
	return d.digest(t, ref)
}

func (d docker) pull(t *testing.T, ref string) string {
	t.Helper()
	// What the engine still has it would not fetch.
	_, _ = d.engine.Docker("image", "rm", "--force", ref).Output()
	d.run(t, "image", "prune", "--all", "--force")
	d.run(t, "pull", ref)
	return d.digest(t, ref)
}

func (d docker) digest(t *testing.T, ref string) string {
	t.Helper()
	repo := ref[:strings.LastIndex(ref, ":")]
	for _, line := range strings.Fields(d.run(t, "image", "inspect", "--format", `{{join .RepoDigests "\n"}}`, ref)) {
		if digest, ok := strings.CutPrefix(line, repo+"@"); ok {
			return digest
		}
	}
	t.Fatalf("docker knows no digest of %s", ref)
	return ""
}

func TestDocker(t *testing.T) {
	srv := harness.Start(t, harness.Options{})
	d := newDocker(t)
	ref := srv.Host() + "/team/app:1"
	pushed := d.push(t, newImage(t, hello(t)), ref)
	equal(t, "push", pushed, srv.Digest("team/app", "1"))
	equal(t, "pull by tag", pushed, d.pull(t, ref))

	t.Run("run", func(t *testing.T) {
		out := d.run(t, "run", "--rm", "--network=none", srv.Host()+"/team/app@"+pushed)
		want(t, "docker run of a pulled image", out, greeting)
	})
	t.Run("mount", func(t *testing.T) {
		// The engine knows where it got the layers and asks to mount them.
		other := srv.Host() + "/team/copy:1"
		d.run(t, "tag", ref, other)
		want(t, "docker push to a second repository", d.run(t, "push", other), "Mounted from team/app")
		equal(t, "copy", pushed, srv.Digest("team/copy", "1"))
	})
	t.Run("build", func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "Dockerfile"), "FROM "+ref+"\nCOPY note /note\n")
		writeFile(t, filepath.Join(dir, "note"), "v2")
		next := srv.Host() + "/team/app:2"
		d.run(t, "build", "--tag", next, "--pull", dir)
		d.run(t, "push", next)
		equal(t, "image built on a pulled one", d.digest(t, next), srv.Digest("team/app", "2"), d.pull(t, next))
	})
	t.Run("index", func(t *testing.T) {
		list := srv.Host() + "/team/app:all"
		d.run(t, "manifest", "create", "--insecure", list, ref, srv.Host()+"/team/app:2")
		d.run(t, "manifest", "annotate", "--arch", "arm64", list, srv.Host()+"/team/app:2")
		digest := d.run(t, "manifest", "push", "--insecure", list)
		equal(t, "manifest list", digest, srv.Digest("team/app", "all"))
		equal(t, "pull through the list", digest, d.pull(t, list))
	})
	t.Run("again", func(t *testing.T) {
		d.pull(t, ref)
		want(t, "a second push of the same image", d.run(t, "push", ref), "Layer already exists")
	})
	t.Run("restart", func(t *testing.T) {
		srv.Restart()
		equal(t, "after a restart", pushed, d.pull(t, ref))
	})
}
