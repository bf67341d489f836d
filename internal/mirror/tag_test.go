package mirror_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway/internal/oci"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
)

const debian = "docker.io/library/debian/manifests/bookworm"

func TestTagIsRevalidated(t *testing.T) {
	u := newUpstream(t)
	u.PutImage("library/debian", "bookworm", []byte("1"))
	u.PutImage("library/debian", "", []byte("2"))
	one, two := registrytest.Image(config, []byte("1")), registrytest.Image(config, []byte("2"))
	l := newLocal(t, mirrorOf(u))
	steps := []struct {
		what   string
		before func()
		want   []byte
		asked  []string
	}{
		{"miss", func() {}, one, []string{"GET"}},
		{"young", func() { l.clock.Advance(59 * time.Minute) }, one, nil},
		{"old, the same", func() { l.clock.Advance(2 * time.Minute) }, one, []string{"HEAD"}},
		{"young again", func() { l.clock.Advance(59 * time.Minute) }, one, nil},
		{"moved, young", func() { u.PutManifest("library/debian", two, "bookworm") }, one, nil},
		{"moved, old", func() { l.clock.Advance(2 * time.Minute) }, two, []string{"HEAD", "GET"}},
		{"moved back", func() { u.PutManifest("library/debian", one, "bookworm"); l.clock.Advance(2 * time.Hour) }, one, []string{"HEAD", "GET"}},
		{"after a restart", func() { l.reopen(); l.clock.Advance(2 * time.Hour) }, one, []string{"HEAD"}},
	}
	for _, s := range steps {
		s.before()
		u.requests()
		if resp := l.want(debian, s.want); resp.Header.Get("Warning") != "" {
			t.Errorf("%s: warning %q", s.what, resp.Header.Get("Warning"))
		}
		var methods []string
		for _, a := range u.requests() {
			method, _, _ := strings.Cut(a, " ")
			methods = append(methods, method)
		}
		if !slices.Equal(methods, s.asked) {
			t.Errorf("%s: the upstream was asked %v, not %v", s.what, methods, s.asked)
		}
	}
}

func TestStaleTagIsServed(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	}
	for name, tt := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request) bool
		log    string
	}{
		"429":              {answer: fail(429, "Retry-After", "600"), log: "takes no more requests"},
		"500":              {answer: fail(500), log: "status 500"},
		"503, Retry-After": {answer: fail(503, "Retry-After", "600"), log: "status 503"},
		"404":              {answer: fail(404), log: "has nothing of that name"},
		"401":              {answer: fail(401), log: "does not show"},
		"403":              {answer: fail(403), log: "does not show"},
		"418":              {answer: fail(418), log: "status 418"},
		"hangs":            {answer: hang, log: "it is silent"},
		"not a manifest": {answer: func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<html>sign in to the hotel's network"))
			return true
		}, log: "not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t)
			u.PutImage("library/debian", "bookworm", []byte("1"))
			image := registrytest.Image(config, []byte("1"))
			c := mirrorOf(u)
			if name == "hangs" {
				c.Stall = 3 * time.Second // a third of it, to confirm a tag
			}
			l := newLocal(t, c)
			l.want(debian, image)
			l.clock.Advance(2 * time.Hour)
			u.misbehave(tt.answer)
			u.requests()
			for range 3 {
				resp := l.want(debian, image)
				if w := resp.Header.Get("Warning"); !strings.Contains(w, "last confirmed by the upstream 2h") {
					t.Errorf("Warning is %q", w)
				}
			}
			// One pull asked; the others left it alone.
			if asked := u.requests(); len(asked) == 0 || len(asked) > 2 {
				t.Errorf("the upstream was asked %v", asked)
			}
			if log := l.log.String(); strings.Count(log, "served as it was") != 1 || !strings.Contains(log, tt.log) {
				t.Errorf("log: %s", log)
			}
			// It comes back.
			u.misbehave(nil)
			l.clock.Advance(11 * time.Minute)
			if resp := l.want(debian, image); resp.Header.Get("Warning") != "" || len(u.requests()) != 1 {
				t.Errorf("the upstream is well again, but the tag is not: %q", resp.Header.Get("Warning"))
			}
		})
	}
}

// TestUpstreamThatIsDownIsSpared: one tag's failure spares the upstream
// questions about others that are here, not about what is missing.
func TestUpstreamThatIsDownIsSpared(t *testing.T) {
	u := newUpstream(t)
	u.PutImage("library/debian", "bookworm", []byte("1"))
	u.PutImage("library/debian", "trixie", []byte("1"))
	image := registrytest.Image(config, []byte("1"))
	l := newLocal(t, mirrorOf(u))
	const trixie = "docker.io/library/debian/manifests/trixie"
	l.want(debian, image)
	l.want(trixie, image)
	l.clock.Advance(2 * time.Hour)
	u.misbehave(fail(500))
	u.requests()
	l.want(debian, image)
	l.want(trixie, image)
	if asked := u.requests(); len(asked) != 1 {
		t.Errorf("asked %v", asked)
	}
	l.refused("docker.io/library/debian/manifests/sid", http.StatusServiceUnavailable)
	if asked := u.requests(); len(asked) != 1 {
		t.Errorf("for what is missing: asked %v", asked)
	}
	u.misbehave(nil)
	l.clock.Advance(time.Minute)
	if resp := l.want(trixie, image); resp.Header.Get("Warning") != "" {
		t.Errorf("still stale: %s", resp.Header.Get("Warning"))
	}
}

// TestRetryAfter: an upstream that has had enough is left alone, also by those
// who ask for what is not here.
func TestRetryAfter(t *testing.T) {
	u := newUpstream(t)
	u.PutImage("library/debian", "bookworm", []byte("1"))
	l := newLocal(t, mirrorOf(u))
	u.misbehave(fail(429, "Retry-After", "120"))
	if resp, _, err := l.get(debian); err != nil || resp.Header.Get("Retry-After") != "121" {
		t.Errorf("Retry-After is %q, %v", resp.Header.Get("Retry-After"), err)
	}
	for i := range 3 {
		if got := l.refused(debian, 429); !strings.Contains(got, "docker.io/library/debian:bookworm is not here yet, and upstream docker.io takes no more requests for now: try again in 2m0s") {
			t.Errorf("refusal %d: %s", i, got)
		}
	}
	if asked := u.requests(); len(asked) != 1 {
		t.Errorf("asked %v", asked)
	}
	u.misbehave(nil)
	l.clock.Advance(119 * time.Second)
	l.refused(debian, 429)
	l.clock.Advance(2 * time.Second)
	l.want(debian, registrytest.Image(config, []byte("1")))
}

func pushOf(repository, tag string, content []byte) registry.Push {
	return registry.Push{Repository: repository, Reference: oci.Reference{Tag: tag}, Content: content, Change: registrytest.Change}
}

// TestImportBelongsToAPerson: what was pushed under an upstream's name stays,
// whatever the upstream says, until it is deleted.
func TestImportBelongsToAPerson(t *testing.T) {
	u := newUpstream(t)
	u.PutImage("library/debian", "bookworm", []byte("theirs"))
	theirs, ours := registrytest.Image(config, []byte("theirs")), registrytest.Image(config, []byte("ours"))
	ctx := context.Background()
	push := func(l *local, name string) {
		t.Helper()
		l.store.PutBlob("docker.io/library/debian", config)
		l.store.PutBlob("docker.io/library/debian", []byte("ours"))
		if _, err := l.PutManifest(ctx, pushOf(name, "bookworm", ours)); err != nil {
			t.Fatal(err)
		}
	}
	for name, first := range map[string]bool{"before the first pull": true, "over what was mirrored": false} {
		t.Run(name, func(t *testing.T) {
			l := newLocal(t, mirrorOf(u))
			if !first {
				l.want(debian, theirs)
			}
			push(l, "docker.io/debian")
			u.requests()
			l.clock.Advance(1000 * time.Hour)
			l.reopen()
			resp := l.want(debian, ours)
			if asked := u.requests(); len(asked) > 0 || resp.Header.Get("Warning") != "" {
				t.Errorf("asked %v, warning %q", asked, resp.Header.Get("Warning"))
			}
			if err := l.DeleteTag(ctx, "docker.io/library/debian", "bookworm", registrytest.Change); err != nil {
				t.Fatal(err)
			}
			l.want(debian, theirs)
		})
	}
	t.Run("while it is being mirrored", func(t *testing.T) {
		l := newLocal(t, mirrorOf(u))
		u.misbehave(func(http.ResponseWriter, *http.Request) bool {
			push(l, "docker.io/library/debian")
			return false
		})
		defer u.misbehave(nil)
		l.want(debian, ours)
	})
}

// TestImportOverHTTP pushes as clients do, which ask by HEAD what they need not
// send: with an upstream that is down, refuses, lacks everything or has a part.
func TestImportOverHTTP(t *testing.T) {
	layer := random(30_000)
	image := registrytest.Image(config, layer)
	for name, tt := range map[string]struct {
		prepare func(u *upstream)
		sends   int // blobs, of two
	}{
		"down": {func(u *upstream) { u.Server.Close() }, 2},
		"hangs": {func(u *upstream) {
			u.misbehave(func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
		}, 2},
		"429":          {func(u *upstream) { u.misbehave(fail(429)) }, 2},
		"500":          {func(u *upstream) { u.misbehave(fail(500)) }, 2},
		"lies":         {func(u *upstream) { u.misbehave(fail(206)) }, 2},
		"lacks it":     {func(u *upstream) {}, 2},
		"has a layer":  {func(u *upstream) { u.PutBlob("library/debian", layer) }, 1},
		"has it whole": {func(u *upstream) { u.PutImage("library/debian", "", layer) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t)
			tt.prepare(u)
			c := mirrorOf(u)
			if name == "hangs" {
				c.Stall = 4 * time.Second
			}
			l := newLocal(t, c)
			began := time.Now()
			host := strings.TrimPrefix(l.server.URL, "http://")
			head := func(path string) int {
				resp, err := http.Head(l.server.URL + "/v2/" + path)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
					t.Errorf("HEAD %s: %s", path, resp.Status)
				}
				return resp.StatusCode
			}
			head(library + "/manifests/" + digestOf(image))
			head(debian)
			sent := 0
			for _, content := range [][]byte{config, layer} {
				if head(library+"/blobs/"+digestOf(content)) == http.StatusNotFound {
					upload(t, host, library, content)
					sent++
				}
			}
			if sent != tt.sends {
				t.Errorf("sent %d blobs, not %d", sent, tt.sends)
			}
			put(t, host, debian, oci.MediaTypeImageManifest, image)
			if took := time.Since(began); name == "hangs" && took > c.Stall*7/4 {
				t.Errorf("with an upstream that hangs an import takes %s", took)
			}
			l.c.Offline = true
			l.reopen()
			l.want(debian, image)
			l.want(library+"/blobs/"+digestOf(layer), layer)
		})
	}
}

func TestMaxAgeZeroAsksEachTime(t *testing.T) {
	u := newUpstream(t)
	u.PutImage("library/debian", "bookworm", []byte("1"))
	c := mirrorOf(u)
	c.MaxAge = 0
	l := newLocal(t, c)
	for range 3 {
		if resp := l.want(debian, registrytest.Image(config, []byte("1"))); resp.Header.Get("Warning") != "" {
			t.Errorf("warning %q", resp.Header.Get("Warning"))
		}
	}
	if asked := u.requests(); len(asked) != 3 {
		t.Errorf("asked %v", asked)
	}
}
