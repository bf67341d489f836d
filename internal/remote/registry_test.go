package remote

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func digest(t *testing.T, text string) v1.Hash {
	t.Helper()
	d, err := v1.NewHash(text)
	must(t, err)
	return d
}

func TestListings(t *testing.T) {
	everywhere(t, func(t *testing.T, _ kind, host string) {
		c := newClient(t)
		repos, err := c.Catalog(ctx, host)
		must(t, err)
		if repos == nil || len(repos) != 0 {
			t.Errorf("catalog of an empty registry = %#v", repos)
		}
		img := image(t, "linux/amd64")
		for _, to := range []string{"/a:1", "/a:2", "/b/c:latest"} {
			pushImage(t, c, host+to, img)
		}
		repos, err = c.Catalog(ctx, host)
		must(t, err)
		slices.Sort(repos)
		if !slices.Equal(repos, []string{"a", "b/c"}) {
			t.Errorf("catalog = %v", repos)
		}
		tags, err := c.Tags(ctx, host+"/a")
		must(t, err)
		slices.Sort(tags)
		if !slices.Equal(tags, []string{"1", "2"}) {
			t.Errorf("tags = %v", tags)
		}
		_, err = c.Tags(ctx, host+"/none")
		if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "'slipway catalog "+host+"'") {
			t.Errorf("tags of nothing: %v", err)
		}
	})
}

func TestInspect(t *testing.T) {
	everywhere(t, func(t *testing.T, _ kind, host string) {
		c := newClient(t)
		img := image(t, "linux/arm64")
		d := pushImage(t, c, host+"/a:1", img)
		in, err := c.Inspect(ctx, host+"/a:1", "")
		must(t, err)
		m, err := img.Manifest()
		must(t, err)
		size, err := img.Size()
		must(t, err)
		size += m.Config.Size
		for _, l := range m.Layers {
			size += l.Size
		}
		if in.Digest != d.String() || in.Size != size || in.Image == nil || in.Image.Platform != "linux/arm64" || len(in.Image.Layers) != 3 {
			t.Errorf("inspection = %+v", in)
		}
		cfg := in.Image.Config
		if !slices.Equal(cfg.Entrypoint, []string{"/app"}) || cfg.User != "1000" || !slices.Equal(cfg.Ports, []string{"80/tcp"}) || cfg.Workdir != "/srv" {
			t.Errorf("config = %+v", cfg)
		}
		if in.Referrers == nil || cfg.Volumes == nil {
			t.Error("an empty list is nil")
		}
		if _, err := c.Inspect(ctx, host+"/a:2", ""); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "'slipway tags "+host+"/a'") {
			t.Errorf("inspect of a missing tag: %v", err)
		}
		if _, err := c.Inspect(ctx, host+"/a:1", "linux/amd64"); err == nil || !strings.Contains(err.Error(), "it has linux/arm64") {
			t.Errorf("inspect of a missing platform: %v", err)
		}
	})
}

func TestInspectIndexCountsSharedBlobsOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, _ kind, host string) {
		c := newClient(t)
		pushIndex(t, c, host+"/a:1")
		in, err := c.Inspect(ctx, host+"/a:1", "")
		must(t, err)
		var sum int64
		for _, p := range in.Platforms {
			sum += p.Size
		}
		if in.Image != nil || len(in.Platforms) != 3 || in.Size <= sum {
			t.Errorf("inspection = %+v; the whole must be larger than its %d bytes of images", in, sum)
		}
	})
}

func TestHistory(t *testing.T) {
	everywhere(t, func(t *testing.T, _ kind, host string) {
		c := newClient(t)
		pushIndex(t, c, host+"/a:1")
		h, err := c.History(ctx, host+"/a:1", "linux/arm/v7")
		must(t, err)
		var made []string
		for _, s := range h.Steps {
			made = append(made, s.CreatedBy)
			if s.Empty == (s.Size > 0) {
				t.Errorf("step %+v: only steps with a layer have a size", s)
			}
		}
		// The third layer has no entry in the history.
		if !slices.Equal(made, []string{"", "RUN two", "ADD one", "FROM scratch"}) || h.Platform != "linux/arm/v7" {
			t.Errorf("history = %+v", h)
		}
	})
}

func TestRetag(t *testing.T) {
	everywhere(t, func(t *testing.T, _ kind, host string) {
		c := newClient(t)
		d := pushIndex(t, c, host+"/a/b:1")
		for _, to := range []string{"latest", host + "/a/b:2"} {
			got, err := c.Retag(ctx, host+"/a/b:1", to)
			must(t, err)
			if got.Digest != d.String() || !bytes.Equal(raw(t, c, got.Reference), raw(t, c, host+"/a/b:1")) {
				t.Errorf("tagged %+v, want %s", got, d)
			}
		}
		for to, want := range map[string]string{
			host + "/other:2":           "slipway cp",
			"not a tag":                 "is not a tag",
			host + "/a/b@" + d.String(): "is not a tag",
		} {
			if _, err := c.Retag(ctx, host+"/a/b:1", to); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("tag %q: %v, want %q", to, err, want)
			}
		}
	})
}

func TestDelete(t *testing.T) {
	everywhere(t, func(t *testing.T, k kind, host string) {
		c := newClient(t)
		d := pushImage(t, c, host+"/a:1", image(t, "linux/amd64"))
		pushImage(t, c, host+"/a:keep", image(t, "linux/amd64"))
		_, err := c.Retag(ctx, host+"/a:1", "same")
		must(t, err)

		_, err = c.Delete(ctx, host+"/a:1", false)
		if k.deletesTags {
			must(t, err)
			if _, err := c.Inspect(ctx, host+"/a:same", ""); err != nil {
				t.Errorf("the other tag is gone as well: %v", err)
			}
		} else if !errors.Is(err, ErrByDigestOnly) || !strings.Contains(err.Error(), "every tag of "+d.String()) || !strings.Contains(err.Error(), "--digest") {
			t.Errorf("deleting a tag: %v", err)
		}
		if _, err := c.Delete(ctx, host+"/a:none", false); !errors.Is(err, ErrNotFound) {
			t.Errorf("deleting a missing tag: %v", err)
		}
		if _, err := c.Delete(ctx, host+"/a", false); !errors.Is(err, ErrInvalid) {
			t.Errorf("deleting no tag in particular: %v", err)
		}

		got, err := c.Delete(ctx, host+"/a:same", true)
		must(t, err)
		if got.Digest != d.String() {
			t.Errorf("deleted %+v, want %s", got, d)
		}
		if _, err := c.Inspect(ctx, host+"/a@"+d.String(), ""); !errors.Is(err, ErrNotFound) {
			t.Errorf("the deleted manifest: %v", err)
		}
		if _, err := c.Inspect(ctx, host+"/a:keep", ""); err != nil {
			t.Errorf("another image is gone: %v", err)
		}
		keep := digestOf(raw(t, c, host+"/a:keep"))
		_, err = c.Delete(ctx, host+"/a@"+keep.String(), false)
		must(t, err)
		if _, err := c.Inspect(ctx, host+"/a@"+keep.String(), ""); !errors.Is(err, ErrNotFound) {
			t.Errorf("the manifest deleted by digest: %v", err)
		}
	})
}

func TestDeleteRepositoryElsewhere(t *testing.T) {
	everywhere(t, func(t *testing.T, _ kind, host string) {
		c := newClient(t)
		d := pushIndex(t, c, host+"/a:1")
		pushImage(t, c, host+"/a:2", image(t, "linux/amd64"))
		sig := pushReferrer(t, c, host+"/a", d, "sig")
		other := pushImage(t, c, host+"/b:1", image(t, "linux/amd64"))
		got, err := c.DeleteRepository(ctx, host+"/a")
		must(t, err)
		if got.Whole || !slices.Contains(got.Manifests, sig.String()) || slices.Index(got.Manifests, d.String()) < 0 || len(got.Manifests) < 7 {
			t.Errorf("deleted %+v, want 6 image manifests and indexes, and a referrer", got)
		}
		for _, digest := range got.Manifests {
			if _, err := c.Inspect(ctx, host+"/a@"+digest, ""); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s is still there: %v", digest, err)
			}
		}
		if _, err := c.Inspect(ctx, host+"/b@"+other.String(), ""); err != nil {
			t.Errorf("another repository lost an image: %v", err)
		}
	})
}
