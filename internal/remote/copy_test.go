package remote

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
)

var ctx = context.Background()

func TestCopyKeepsBytes(t *testing.T) {
	everywhere(t, func(t *testing.T, _ kind, host string) {
		c := newClient(t)
		from, to := host+"/src/app:1", startMemory()(t)+"/dst/app"
		digest := pushIndex(t, c, from)

		got, err := c.Copy(ctx, from, to, CopyOptions{})
		must(t, err)
		if got.Digest != digest.String() || got.Destination != to+":1" {
			t.Errorf("copied %s as %s, want %s as %s:1", got.Destination, got.Digest, digest, to)
		}
		if got.Manifests != 5 || got.Blobs != 12 || got.Existing != 0 {
			t.Errorf("tally = %+v, want 5 manifests and 12 blobs", got.Tally)
		}
		if !bytes.Equal(raw(t, c, to+":1"), raw(t, c, from)) {
			t.Error("the manifest's bytes changed")
		}
		in, err := c.Inspect(ctx, to+":1", "")
		must(t, err)
		if len(in.Platforms) != 3 || slices.ContainsFunc(in.Platforms, func(p PlatformImage) bool { return p.Missing }) {
			t.Errorf("platforms = %+v", in.Platforms)
		}

		again, err := c.Copy(ctx, from, to+":1", CopyOptions{})
		must(t, err)
		if again.Bytes != 0 || again.Manifests != 0 {
			t.Errorf("the second copy transferred %+v", again.Tally)
		}
	})
}

func TestCopyMounts(t *testing.T) {
	everywhere(t, func(t *testing.T, k kind, host string) {
		c := newClient(t)
		pushImage(t, c, host+"/a/b:1", image(t, "linux/amd64"))
		got, err := c.Copy(ctx, host+"/a/b:1", host+"/c/d:2", CopyOptions{})
		must(t, err)
		if k.mounts && (got.Mounted != 4 || got.Bytes != 0) {
			t.Errorf("tally = %+v, want 4 mounted", got.Tally)
		}
		if !bytes.Equal(raw(t, c, host+"/a/b:1"), raw(t, c, host+"/c/d:2")) {
			t.Error("the copy differs")
		}
	})
}

func TestCopyByDigestHasNoTag(t *testing.T) {
	everywhere(t, func(t *testing.T, _ kind, host string) {
		c := newClient(t)
		d := pushImage(t, c, host+"/a:1", image(t, "linux/amd64"))
		got, err := c.Copy(ctx, host+"/a@"+d.String(), host+"/b", CopyOptions{})
		must(t, err)
		if want := host + "/b@" + d.String(); got.Destination != want {
			t.Errorf("destination = %s, want %s", got.Destination, want)
		}
		if tags, err := c.Tags(ctx, host+"/b"); err == nil && len(tags) > 0 {
			t.Errorf("tags = %v, want none", tags)
		}
		other := "sha256:" + strings.Repeat("0", 64)
		if _, err := c.Copy(ctx, host+"/a:1", host+"/b@"+other, CopyOptions{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("a copy to another digest gives %v", err)
		}
	})
}

func TestCopyReferrers(t *testing.T) {
	everywhere(t, func(t *testing.T, _ kind, host string) {
		c := newClient(t)
		from := host + "/src"
		root := pushIndex(t, c, from+":1")
		sig := pushReferrer(t, c, from, root, "signature")
		pushReferrer(t, c, from, root, "another")
		pushReferrer(t, c, from, sig, "signature of the signature")
		in, err := c.Inspect(ctx, from+":1", "linux/arm64")
		must(t, err)
		child := digest(t, in.Digest)
		pushReferrer(t, c, from, child, "sbom")

		for _, dst := range kinds {
			to := dst.start(t) + "/dst"
			t.Run(dst.name, func(t *testing.T) {
				if _, err := c.Copy(ctx, from+":1", to, CopyOptions{}); err != nil { // the root is there already
					t.Fatal(err)
				}
				got, err := c.Copy(ctx, from+":1", to, CopyOptions{Referrers: true})
				must(t, err)
				if got.Referrers != 4 {
					t.Errorf("copied %d referrers, want 4", got.Referrers)
				}
				for subject, want := range map[string]int{root.String(): 2, sig.String(): 1, child.String(): 1} {
					in, err := c.Inspect(ctx, to+"@"+subject, "")
					must(t, err)
					if len(in.Referrers) != want {
						t.Errorf("%s has %d referrers, want %d", subject, len(in.Referrers), want)
					} else if in.Referrers[0].ArtifactType != "application/vnd.example.signature" && dst.name != "memory" { // which reports the configuration's type
						t.Errorf("artifact type = %q", in.Referrers[0].ArtifactType)
					}
				}
			})
		}
	})
}

func TestCopyPlatform(t *testing.T) {
	everywhere(t, func(t *testing.T, _ kind, host string) {
		c := newClient(t)
		pushIndex(t, c, host+"/src:1")
		for _, platform := range []string{"linux/arm64", "linux/arm/v7"} {
			got, err := c.Copy(ctx, host+"/src:1", host+"/dst:1", CopyOptions{Platform: platform})
			must(t, err)
			in, err := c.Inspect(ctx, host+"/dst:1", "")
			must(t, err)
			if in.Digest != got.Digest || in.Image == nil || in.Image.Platform != platform {
				t.Errorf("the copy is %+v, want %s", in.Image, platform)
			}
		}
		_, err := c.Copy(ctx, host+"/src:1", host+"/dst:1", CopyOptions{Platform: "linux/s390x"})
		if err == nil || !strings.Contains(err.Error(), "linux/amd64, linux/arm/v7, linux/arm64") {
			t.Errorf("error = %v, want the platforms that exist", err)
		}
	})
}

func TestCopyAll(t *testing.T) {
	everywhere(t, func(t *testing.T, _ kind, host string) {
		c := newClient(t)
		pushIndex(t, c, host+"/src:idx")
		pushImage(t, c, host+"/src:a", image(t, "linux/amd64"))
		d := pushImage(t, c, host+"/src:b", image(t, "linux/amd64"))
		pushReferrer(t, c, host+"/src", d, "sig")
		to := startMemory( /* no referrers */ )(t) + "/dst"
		done, err := c.CopyAll(ctx, host+"/src", to, CopyOptions{Referrers: true})
		must(t, err)
		if len(done) != 3 {
			t.Errorf("copied %d tags, want 3", len(done))
		}
		tags, err := c.Tags(ctx, to)
		must(t, err)
		for _, want := range []string{"a", "b", "idx", referrersTag(d)} {
			if !slices.Contains(tags, want) {
				t.Errorf("tag %s is not there: %v", want, tags)
			}
		}
		if _, err := c.CopyAll(ctx, host+"/src:a", to, CopyOptions{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("a tag where a repository is wanted gives %v", err)
		}
	})
}

func TestCopyIsCancelled(t *testing.T) {
	c := newClient(t)
	host := startMemory()(t)
	pushIndex(t, c, host+"/src:1")
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Copy(cancelled, host+"/src:1", host+"/dst", CopyOptions{}); !errors.Is(err, context.Canceled) || !strings.HasSuffix(err.Error(), ": interrupted") {
		t.Errorf("error = %v", err)
	}
}

// A blob that the source lost is the source's failure, not the destination's.
func TestCopyNamesTheRegistryThatFailed(t *testing.T) {
	c := newClient(t)
	good := startMemory()(t)
	pushImage(t, c, good+"/a:1", image(t, "linux/amd64"))
	inner := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: good})
	lossy := fake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		inner.ServeHTTP(w, r)
	})
	_, err := c.Copy(ctx, lossy+"/a:1", startMemory()(t)+"/b:1", CopyOptions{})
	if err == nil || !strings.Contains(err.Error(), lossy+" has the manifest but not the blob sha256:") {
		t.Errorf("error = %v", err)
	}
}

func TestCopyOfASparseIndex(t *testing.T) {
	c := newClient(t)
	host := startMemory()(t)
	pushIndex(t, c, host+"/a:1")
	in, err := c.Inspect(ctx, host+"/a:1", "linux/arm64")
	must(t, err)
	_, err = c.Delete(ctx, host+"/a@"+in.Digest, false)
	must(t, err)
	_, err = c.Copy(ctx, host+"/a:1", host+"/b:1", CopyOptions{})
	if err == nil || !strings.Contains(err.Error(), "the index lists "+in.Digest+" (linux/arm64), which is not there; --platform") {
		t.Errorf("error = %v", err)
	}
	_, err = c.Copy(ctx, host+"/a:1", host+"/b:1", CopyOptions{Platform: "linux/amd64"})
	must(t, err)
	in, err = c.Inspect(ctx, host+"/a:1", "")
	must(t, err)
	if len(in.Platforms) != 3 || in.Platforms[0].Missing || !in.Platforms[1].Missing {
		t.Errorf("platforms = %+v, want the second to be missing", in.Platforms)
	}
}
