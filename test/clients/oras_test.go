//go:build linux

package clients

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"slipway/test/harness"
)

type oras struct{ base harness.Command }

func newOras(t *testing.T) oras {
	t.Helper()
	return oras{command(t, "oras")}
}

func (o oras) run(t *testing.T, args ...string) string {
	t.Helper()
	return o.base.With(args...).Run(t)
}

func (o oras) push(t *testing.T, img v1.Image, ref string) string {
	t.Helper()
	o.run(t, "cp", "--no-tty", "--from-oci-layout", "--to-plain-http", saveLayout(t, img, "it")+":it", ref)
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func (o oras) pull(t *testing.T, ref string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	o.run(t, "cp", "--no-tty", "--from-plain-http", "--to-oci-layout", ref, dir+":it")
	return layoutDigest(t, dir)
}

func TestOras(t *testing.T) {
	srv := harness.Start(t, harness.Options{})
	o := newOras(t)
	ref := srv.Host() + "/team/app:1"
	pushed := o.push(t, newOCIImage(t, hello(t)), ref)
	equal(t, "push", pushed, srv.Digest("team/app", "1"), o.run(t, "resolve", "--plain-http", ref))
	equal(t, "pull", pushed, o.pull(t, ref))

	t.Run("artifact", func(t *testing.T) {
		writeFile(t, filepath.Join(o.base.Dir, "chart.txt"), "a chart")
		artifact := srv.Host() + "/team/chart:1"
		digest := o.run(t, "push", "--no-tty", "--plain-http", "--artifact-type=application/vnd.example.chart",
			"--format=go-template={{.digest}}", artifact, "chart.txt:text/plain")
		equal(t, "artifact", digest, srv.Digest("team/chart", "1"))
		out := t.TempDir()
		o.run(t, "pull", "--no-tty", "--plain-http", "--output", out, artifact)
		want(t, "the artifact's file", readFile(t, filepath.Join(out, "chart.txt")), "a chart")
	})
	t.Run("referrer", func(t *testing.T) {
		writeFile(t, filepath.Join(o.base.Dir, "sbom.json"), "{}")
		const kind = "application/vnd.example.sbom"
		digest := o.run(t, "attach", "--no-tty", "--plain-http", "--artifact-type="+kind,
			"--format=go-template={{.digest}}", ref, "sbom.json:application/json")
		want(t, "discover", o.run(t, "discover", "--plain-http", "--format=json", ref), digest, kind)
		want(t, "discover by type", o.run(t, "discover", "--plain-http", "--format=json", "--artifact-type="+kind, ref), digest)
		status(t, srv, "/v2/team/app/manifests/sha256-"+pushed[len("sha256:"):], http.StatusNotFound) // no fallback tag

		o.run(t, "cp", "--no-tty", "--recursive", "--from-plain-http", "--to-plain-http", ref, srv.Host()+"/other/app:1")
		equal(t, "copy", pushed, srv.Digest("other/app", "1"))
		want(t, "a copy takes its referrers along", o.run(t, "discover", "--plain-http", "--format=json", srv.Host()+"/other/app:1"), digest)

		o.run(t, "manifest", "delete", "--plain-http", "--force", srv.Host()+"/other/app@"+digest)
		status(t, srv, "/v2/other/app/manifests/"+digest, http.StatusNotFound)
	})
	t.Run("index", func(t *testing.T) {
		o.run(t, "manifest", "index", "create", "--plain-http", srv.Host()+"/team/app:all", pushed)
		equal(t, "index", srv.Digest("team/app", "all"), o.pull(t, srv.Host()+"/team/app:all"))
	})
	t.Run("blob", func(t *testing.T) {
		const text = "a blob without a manifest"
		path := filepath.Join(t.TempDir(), "blob")
		writeFile(t, path, text)
		sum := sha256.Sum256([]byte(text))
		digest := "sha256:" + hex.EncodeToString(sum[:])
		o.run(t, "blob", "push", "--no-tty", "--plain-http", srv.Host()+"/team/blobs@"+digest, path)
		o.run(t, "blob", "fetch", "--no-tty", "--plain-http", "--output", path+".back", srv.Host()+"/team/blobs@"+digest)
		want(t, "blob", readFile(t, path+".back"), text)
		o.run(t, "blob", "delete", "--plain-http", "--force", srv.Host()+"/team/blobs@"+digest)
		status(t, srv, "/v2/team/blobs/blobs/"+digest, http.StatusNotFound)
	})
	t.Run("list", func(t *testing.T) {
		want(t, "repo ls", o.run(t, "repo", "ls", "--plain-http", srv.Host()), "team/app", "team/chart", "other/app")
		want(t, "repo tags", o.run(t, "repo", "tags", "--plain-http", srv.Host()+"/team/app"), "1", "all")
	})
}
