//go:build linux

package clients

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"slipway/test/harness"
)

type skopeo struct{ base harness.Command }

func newSkopeo(t *testing.T) skopeo {
	t.Helper()
	return skopeo{command(t, "skopeo", "--insecure-policy")}
}

func (s skopeo) run(t *testing.T, args ...string) string {
	t.Helper()
	return s.base.With(args...).Run(t)
}

func (s skopeo) push(t *testing.T, img v1.Image, ref string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "digest")
	s.run(t, "copy", "--dest-tls-verify=false", "--digestfile", file, "docker-archive:"+saveArchive(t, img, ref), "docker://"+ref)
	return readFile(t, file)
}

func (s skopeo) pull(t *testing.T, ref string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "image")
	s.run(t, "copy", "--all", "--src-tls-verify=false", "docker://"+ref, "dir:"+dir)
	manifest, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(manifest)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func TestSkopeo(t *testing.T) {
	srv := harness.Start(t, harness.Options{})
	s := newSkopeo(t)
	program := hello(t)
	ref := srv.Host() + "/team/app:1"
	pushed := s.push(t, newImage(t, program), ref)
	equal(t, "push", pushed, srv.Digest("team/app", "1"))
	equal(t, "pull by tag", pushed, s.pull(t, ref))
	equal(t, "inspect", pushed, s.run(t, "inspect", "--tls-verify=false", "--format={{.Digest}}", "docker://"+ref))

	const dest = "--dest-tls-verify=false"
	t.Run("copy", func(t *testing.T) {
		s.run(t, "copy", "--src-tls-verify=false", dest, "docker://"+ref, "docker://"+srv.Host()+"/team/copy:1")
		equal(t, "copy", pushed, srv.Digest("team/copy", "1"))
	})
	t.Run("index", func(t *testing.T) {
		o := newOras(t)
		o.push(t, newOCIImage(t, program), srv.Host()+"/team/app:amd64")
		o.push(t, newOCIImage(t, program), srv.Host()+"/team/app:arm64")
		o.run(t, "manifest", "index", "create", "--plain-http", srv.Host()+"/team/app:all", "amd64", "arm64")
		s.run(t, "copy", "--all", "--preserve-digests", "--src-tls-verify=false", dest, "docker://"+srv.Host()+"/team/app:all", "docker://"+srv.Host()+"/other/app:all")
		equal(t, "copy of an index", srv.Digest("team/app", "all"), srv.Digest("other/app", "all"), s.pull(t, srv.Host()+"/other/app:all"))
	})
	t.Run("sync", func(t *testing.T) {
		dir := t.TempDir()
		s.run(t, "sync", "--all", "--scoped", "--src=docker", "--dest=dir", "--src-tls-verify=false", srv.Host()+"/team/app", dir)
		s.run(t, "copy", dest, "dir:"+filepath.Join(dir, srv.Host(), "team/app:1"), "docker://"+srv.Host()+"/synced/app:1")
		equal(t, "sync", pushed, srv.Digest("synced/app", "1"))
	})
	t.Run("list", func(t *testing.T) {
		want(t, "list-tags", s.run(t, "list-tags", "--tls-verify=false", "docker://"+srv.Host()+"/team/app"), `"1"`, `"all"`)
	})
	t.Run("delete", func(t *testing.T) {
		s.run(t, "delete", "--tls-verify=false", "docker://"+srv.Host()+"/team/copy:1")
		status(t, srv, "/v2/team/copy/manifests/1", http.StatusNotFound)
		status(t, srv, "/v2/team/copy/manifests/"+pushed, http.StatusNotFound)
		equal(t, "other repositories keep it", pushed, srv.Digest("team/app", "1"))
	})
}
