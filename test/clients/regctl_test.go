//go:build linux

package clients

import (
	"net/http"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"slipway/test/harness"
)

type regctl struct{ base harness.Command }

func newRegctl(t *testing.T, srv *harness.Server) regctl {
	t.Helper()
	return regctl{command(t, "regctl", "--host", "reg="+srv.Host()+",tls=disabled")}
}

func (r regctl) run(t *testing.T, args ...string) string {
	t.Helper()
	return r.base.With(args...).Run(t)
}

func (r regctl) push(t *testing.T, img v1.Image, ref string) string {
	t.Helper()
	layout := "ocidir://" + saveLayout(t, img, "it") + ":it"
	r.run(t, "image", "copy", layout, ref)
	return r.run(t, "image", "digest", layout)
}

func (r regctl) pull(t *testing.T, ref string) string {
	t.Helper()
	layout := "ocidir://" + filepath.Join(t.TempDir(), "layout") + ":it"
	r.run(t, "image", "copy", ref, layout)
	return r.run(t, "image", "digest", layout)
}

func TestRegctl(t *testing.T) {
	srv := harness.Start(t, harness.Options{})
	r := newRegctl(t, srv)
	ref := srv.Host() + "/team/app:1"
	pushed := r.push(t, newOCIImage(t, hello(t)), ref)
	equal(t, "push", pushed, srv.Digest("team/app", "1"))
	equal(t, "pull", pushed, r.pull(t, ref))

	t.Run("referrer", func(t *testing.T) {
		put := r.base.With("artifact", "put", "--artifact-type=application/vnd.example.sbom", "--subject", ref, "--format={{.Manifest.GetDescriptor.Digest}}")
		put.Stdin = []byte("{}")
		digest := put.Run(t)
		want(t, "artifact list", r.run(t, "artifact", "list", "--format={{jsonPretty .}}", ref), digest)
		r.run(t, "image", "copy", "--referrers", ref, srv.Host()+"/other/app:1")
		want(t, "a copy takes its referrers along", r.run(t, "artifact", "list", "--format={{jsonPretty .}}", srv.Host()+"/other/app:1"), digest)
		equal(t, "copy", pushed, srv.Digest("other/app", "1"))
	})
	t.Run("index", func(t *testing.T) {
		all := srv.Host() + "/team/app:all"
		r.run(t, "index", "create", "--ref", ref, all)
		equal(t, "index", srv.Digest("team/app", "all"), r.run(t, "image", "digest", all), r.pull(t, all))
	})
	t.Run("export", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "image.tar")
		r.run(t, "image", "export", ref, file)
		r.run(t, "image", "import", srv.Host()+"/imported/app:1", file)
		equal(t, "export and import", pushed, srv.Digest("imported/app", "1"))
	})
	t.Run("list", func(t *testing.T) {
		want(t, "repo ls", r.run(t, "repo", "ls", srv.Host()), "team/app", "other/app", "imported/app")
		want(t, "tag ls", r.run(t, "tag", "ls", srv.Host()+"/team/app"), "1", "all")
	})
	t.Run("delete", func(t *testing.T) {
		r.run(t, "tag", "delete", srv.Host()+"/imported/app:1")
		status(t, srv, "/v2/imported/app/manifests/1", http.StatusNotFound)
		status(t, srv, "/v2/imported/app/manifests/"+pushed, http.StatusOK) // it was a tag only
		r.run(t, "manifest", "delete", srv.Host()+"/imported/app@"+pushed)
		status(t, srv, "/v2/imported/app/manifests/"+pushed, http.StatusNotFound)
	})
}
