//go:build linux

package clients

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"slipway/test/harness"
)

type crane struct{ base harness.Command }

func newCrane(t *testing.T) crane {
	t.Helper()
	return crane{command(t, "crane", "--insecure")}
}

func (c crane) run(t *testing.T, args ...string) string {
	t.Helper()
	return c.base.With(args...).Run(t)
}

// index makes an index of images and tags it.
func (c crane) index(t *testing.T, ref string, images ...string) {
	t.Helper()
	args := []string{"index", "append", "--tag", ref}
	for _, image := range images {
		args = append(args, "--manifest", image)
	}
	c.run(t, args...)
}

func (c crane) push(t *testing.T, img v1.Image, ref string) string {
	t.Helper()
	out := c.run(t, "push", saveArchive(t, img, ref), ref)
	return out[strings.LastIndex(out, "@")+1:]
}

func (c crane) pull(t *testing.T, ref string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	c.run(t, "pull", "--format=oci", ref, dir)
	return layoutDigest(t, dir)
}

// layoutDigest returns the digest of the image that a client saved in an OCI
// layout: the only one there, or the one that is named.
func layoutDigest(t *testing.T, dir string) string {
	t.Helper()
	var index v1.IndexManifest
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(dir, "index.json"))), &index); err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range index.Manifests {
		if len(index.Manifests) == 1 || m.Annotations["org.opencontainers.image.ref.name"] != "" {
			found = append(found, m.Digest.String())
		}
	}
	if len(found) != 1 {
		t.Fatalf("the layout holds %d named images, want 1", len(found))
	}
	return found[0]
}

func TestCrane(t *testing.T) {
	srv := harness.Start(t, harness.Options{})
	c := newCrane(t)
	ref := srv.Host() + "/team/app:1"
	pushed := c.push(t, newImage(t, hello(t)), ref)
	equal(t, "push", pushed, srv.Digest("team/app", "1"))
	equal(t, "pull by tag", pushed, c.pull(t, ref))
	equal(t, "digest", pushed, c.run(t, "digest", ref))
	c.run(t, "validate", "--remote", ref)

	t.Run("copy", func(t *testing.T) {
		c.run(t, "copy", ref, srv.Host()+"/other/app:1")
		equal(t, "copy", pushed, srv.Digest("other/app", "1"))
	})
	t.Run("tag", func(t *testing.T) {
		c.run(t, "tag", ref, "latest")
		equal(t, "tag", pushed, srv.Digest("team/app", "latest"))
	})
	t.Run("append", func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "note"), "more")
		harness.Run(t, harness.Tool(t, "tar"), "-C", dir, "-cf", filepath.Join(dir, "layer.tar"), "note")
		c.run(t, "append", "--base", ref, "--new_layer", filepath.Join(dir, "layer.tar"), "--new_tag", srv.Host()+"/team/app:2")
		c.run(t, "validate", "--remote", srv.Host()+"/team/app:2")
	})
	t.Run("index", func(t *testing.T) {
		all := srv.Host() + "/team/app:all"
		c.index(t, all, ref, srv.Host()+"/team/app:2")
		c.run(t, "validate", "--remote", all)
		equal(t, "pull of an index", srv.Digest("team/app", "all"), c.pull(t, all))
	})
	t.Run("list", func(t *testing.T) {
		if got := strings.Fields(c.run(t, "ls", srv.Host()+"/team/app")); strings.Join(got, " ") != "1 2 all latest" {
			t.Errorf("tags: %q", got)
		}
		if got := strings.Fields(c.run(t, "catalog", srv.Host())); strings.Join(got, " ") != "other/app team/app" {
			t.Errorf("catalog: %q", got)
		}
	})
	t.Run("delete", func(t *testing.T) {
		c.run(t, "delete", srv.Host()+"/other/app:1") // a tag: the manifest stays
		status(t, srv, "/v2/other/app/manifests/1", http.StatusNotFound)
		status(t, srv, "/v2/other/app/manifests/"+pushed, http.StatusOK)
		c.run(t, "delete", srv.Host()+"/other/app@"+pushed)
		status(t, srv, "/v2/other/app/manifests/"+pushed, http.StatusNotFound)
	})
}
