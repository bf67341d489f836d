package mirror_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"slipway/internal/mirror"
	"slipway/internal/oci"
	"slipway/internal/registry/registrytest"
)

// TestFalseManifestIsRefused: nothing of what an upstream should not have sent
// is served or kept.
func TestFalseManifestIsRefused(t *testing.T) {
	image := registrytest.Image(config, []byte("1"))
	answer := func(contentType, digest string, body []byte) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", contentType)
			if digest != "" {
				w.Header().Set("Docker-Content-Digest", digest)
			}
			_, _ = w.Write(body)
			return true
		}
	}
	const good = oci.MediaTypeImageManifest
	endless := func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", good)
		for block := bytes.Repeat([]byte(" "), 1<<20); r.Context().Err() == nil; {
			if _, err := w.Write(block); err != nil {
				break
			}
		}
		return true
	}
	for name, tt := range map[string]struct {
		answer   func(http.ResponseWriter, *http.Request) bool
		byDigest bool
		message  string
	}{
		"another than asked for":    {answer(good, "", image), true, "do not have the digest"},
		"another than it claims":    {answer(good, digestOf([]byte("x")), image), false, "do not have the digest"},
		"a claim that is none":      {answer(good, "sha256:\r\nbeef", image), false, "which is no digest"},
		"an old algorithm":          {answer(good, "md5:d41d8cd98f00b204e9800998ecf8427e", image), false, "which is no digest"},
		"another type in the body":  {answer(oci.MediaTypeImageIndex, "", image), false, "is not valid"},
		"no manifest":               {answer("text/html", "", []byte("<html>")), false, "is not valid"},
		"no JSON":                   {answer(good, "", []byte("{")), false, "is not valid"},
		"schema 1":                  {answer("application/vnd.docker.distribution.manifest.v1+prettyjws", "", []byte(`{"schemaVersion":1}`)), false, "schema 1"},
		"a descriptor without size": {answer(good, "", []byte(`{"schemaVersion":2,"config":{"digest":"`+digestOf(config)+`"},"layers":[]}`)), false, "is not valid"},
		"huge":                      {answer(good, "", bytes.Repeat([]byte(" "), 5<<20)), false, "more than 4194304 bytes"},
		"endless":                   {endless, false, "more than 4194304 bytes"},
		"nothing":                   {answer(good, "", nil), false, "is not valid"},
		"a part":                    {func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(206); return true }, false, "status 206"},
		"no content":                {func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(204); return true }, false, "status 204"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t)
			u.misbehave(tt.answer)
			l := newLocal(t, mirrorOf(u))
			path := debian
			if tt.byDigest {
				path = library + "/manifests/" + digestOf([]byte("asked for"))
			}
			if got := l.refused(path, http.StatusBadGateway); !strings.Contains(got, tt.message) || !strings.Contains(got, "upstream docker.io") {
				t.Errorf("the client is told %s", got)
			}
			if n := l.store.Contents().Rows; n["manifests"]+n["blobs"]+n["tags"]+n["mirror_tags"]+n["mirror_manifests"] > 0 {
				t.Errorf("kept: %v", n)
			}
		})
	}
}

// TestForeignBlobIsNotHandedOut: an upstream that claims a digest gets nobody
// the bytes that this registry has under it elsewhere.
func TestForeignBlobIsNotHandedOut(t *testing.T) {
	u := newUpstream(t)
	l := newLocal(t, mirrorOf(u))
	secret := random(50_000)
	l.store.PutBlob("private/app", secret)
	u.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Docker-Content-Digest", digestOf(secret))
		w.Header().Set("Content-Length", "50000")
		if r.Method == http.MethodGet {
			_, _ = w.Write(make([]byte, 50_000))
		}
		return true
	})
	resp, body, err := l.get("docker.io/evil/app/blobs/" + digestOf(secret))
	if (resp.StatusCode == http.StatusOK && err == nil) || bytes.Contains(body, secret[:16]) {
		t.Errorf("status %d, %d bytes, %v", resp.StatusCode, len(body), err)
	}
}

// hosts is a network of TLS servers by name.
type hosts map[string]http.HandlerFunc

// transport resolves their names; plain ones are served without TLS.
func (h hosts) transport(t *testing.T) *http.Transport {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve, ok := h[r.Host]
		if !ok {
			t.Errorf("%s was asked for %s", r.Host, r.URL)
			return
		}
		serve(w, r)
	})
	secure, plain := httptest.NewTLSServer(handler), httptest.NewServer(handler)
	t.Cleanup(secure.Close)
	t.Cleanup(plain.Close)
	return &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			to := secure.Listener
			if strings.HasSuffix(address, ":80") {
				to = plain.Listener
			}
			return new(net.Dialer).DialContext(ctx, network, to.Addr().String())
		},
	}
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusTemporaryRedirect) }
}

func TestRedirects(t *testing.T) {
	content := []byte("a layer")
	serve := func(w http.ResponseWriter, r *http.Request) {
		if a := r.Header.Get("Authorization"); a != "" {
			t.Errorf("%s got Authorization %q", r.Host, a)
		}
		if a := r.Header.Get("Referer"); a != "" {
			t.Errorf("%s got Referer %q", r.Host, a)
		}
		_, _ = w.Write(content)
	}
	// The upstream wants a login, and sends who has one elsewhere.
	upstream := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			redirect(to)(w, r)
		}
	}
	for name, tt := range map[string]struct {
		hosts   hosts
		message string // empty: it works
	}{
		"another host": {hosts{"registry.example": upstream("https://storage.example/x"), "storage.example": serve}, ""},
		"a sub-domain": {hosts{"registry.example": upstream("https://cdn.registry.example/x"), "cdn.registry.example": serve}, ""},
		"another port": {hosts{"registry.example": upstream("https://registry.example:8443/x"), "registry.example:8443": serve}, ""},
		"two steps":    {hosts{"registry.example": upstream("https://a.example/x"), "a.example": redirect("https://b.example/x"), "b.example": serve}, ""},
		"there and back": {hosts{"registry.example": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/x" {
				_, _ = w.Write(content)
				return
			}
			upstream("https://a.example/x")(w, r)
		}, "a.example": redirect("https://registry.example/x")}, ""},
		"a loop":         {hosts{"registry.example": upstream("https://a.example/x"), "a.example": redirect("https://a.example/x")}, "more than 5 redirects"},
		"to plain HTTP":  {hosts{"registry.example": upstream("http://storage.example/x"), "storage.example": serve}, "redirected from https to http"},
		"later to HTTP":  {hosts{"registry.example": upstream("https://a.example/x"), "a.example": redirect("http://b.example/x"), "b.example": serve}, "redirected from https to http"},
		"to a file":      {hosts{"registry.example": upstream("file:///etc/passwd")}, "redirected from https to file"},
		"to other bytes": {hosts{"registry.example": upstream("https://a.example/x"), "a.example": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("a lie")) }}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLocal(t, mirror.Config{
				Upstreams: []mirror.Upstream{{Name: "registry.example", Username: "me", Password: "secret"}},
				Transport: tt.hosts.transport(t), Stall: 5 * time.Second,
			})
			path := "registry.example/team/app/blobs/" + digestOf(content)
			switch {
			case name == "to other bytes":
				if resp, body, err := l.get(path); err == nil && resp.StatusCode == 200 {
					t.Errorf("got %q", body)
				}
			case tt.message == "":
				l.want(path, content)
			default:
				if got := l.refused(path, http.StatusServiceUnavailable); !strings.Contains(got, tt.message) {
					t.Errorf("got %s", got)
				}
			}
		})
	}
}

// TestUnlistedUpstream: with "*", nobody makes this server talk to its own
// network.
func TestUnlistedUpstream(t *testing.T) {
	u := newUpstream(t)
	_, port, err := net.SplitHostPort(u.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	// Names that resolve to this machine, as a hostile zone could say.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	l := newLocal(t, mirror.Config{Any: true, Transport: transport, Upstreams: []mirror.Upstream{{Name: "listed.example", URL: u.URL}}})
	u.PutImage("team/app", "1", []byte("1"))
	l.want("listed.example/team/app/manifests/1", registrytest.Image(config, []byte("1")))
	u.requests()
	for _, name := range []string{"localhost", "127.0.0.1", "box.local", "x.internal"} {
		if l.Serves(name + "/team/app") {
			t.Errorf("%s is an upstream", name)
		}
	}
	if !l.Serves("registry.somewhere.dev/team/app") || l.Serves("team/app") {
		t.Error("not every public name is an upstream, or more")
	}
	// Through a redirect, the address counts.
	if err := mirror.DialPublic(context.Background(), transport, net.JoinHostPort("127.0.0.1", port)); err == nil || !strings.Contains(err.Error(), "private network") {
		t.Errorf("dialling this machine: %v", err)
	}
	if asked := u.requests(); len(asked) > 0 {
		t.Errorf("asked %v", asked)
	}
}
