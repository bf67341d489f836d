//go:build unix

package main

import (
	"bytes"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"slipway/internal/auth"
	"slipway/internal/mirror"
	"slipway/internal/oci"
	"slipway/internal/registry"
	"slipway/internal/registry/registrytest"
)

func TestMirrorSettings(t *testing.T) {
	for _, c := range []struct {
		name, file    string
		environ, args []string
		want          []configuredUpstream
	}{
		{"names", "", nil, []string{"--mirror.upstreams", "docker.io, ghcr.io=https://mirror.corp"}, []configuredUpstream{{Name: "docker.io"}, {Name: "ghcr.io", URL: "https://mirror.corp"}}},
		{"none", "", []string{"SLIPWAY_MIRROR_UPSTREAMS=none"}, nil, nil},
		{"one in the file", "mirror.upstreams: docker.io\n", nil, nil, []configuredUpstream{{Name: "docker.io"}}},
		{"a list in the file", "mirror:\n  upstreams:\n    # the hub\n    - docker.io\n    - \"*\"\n    - name: corp\n      url: http://10.0.0.1:5000\n      username: me\n      password-file: /run/secret\n      token-hosts: [auth.corp]\n", nil, nil,
			[]configuredUpstream{{Name: "docker.io"}, {Name: "*"}, {Name: "corp", URL: "http://10.0.0.1:5000", Username: "me", PasswordFile: "/run/secret", TokenHosts: []string{"auth.corp"}}}},
		{"a list in one line", "mirror.upstreams: [docker.io, {name: ghcr.io}]\n", nil, nil, []configuredUpstream{{Name: "docker.io"}, {Name: "ghcr.io"}}},
	} {
		flags, err := configure(t, c.file, c.environ, c.args)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := flags.Lookup("mirror.upstreams").Value.(*upstreamList).list; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	for file, want := range map[string]string{
		"mirror.upstreams:\n  - name: a\n    pasword-file: x\n": `"pasword-file" is not a setting of an upstream; did you mean password-file?`,
		"mirror.upstreams:\n  - url: https://a\n":               "an upstream needs a name",
		"mirror.upstreams:\n  - [a]\n":                          "mirror.upstreams",
		"mirror.max-age: -1h\nlisten: [a, b]\n":                 "listen needs one value",
	} {
		if _, err := configure(t, file, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", file, err)
		}
	}
	flags, err := configure(t, "ca-certificates:\n  - /a.pem\n  - /b.pem\n", nil, nil)
	if err != nil || flags.Lookup("ca-certificates").Value.String() != "/a.pem,/b.pem" {
		t.Errorf("ca-certificates: %v", err)
	}
}

func TestUpstreamPasswords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("THE_SECRET", "from the environment")
	for want, u := range map[string]configuredUpstream{
		"":                     {Name: "a"},
		"from a file":          {Name: "a", Username: "me", PasswordFile: file},
		"from the environment": {Name: "a", Username: "me", PasswordEnv: "THE_SECRET"},
	} {
		if got, err := u.password(); err != nil || got != want {
			t.Errorf("%+v: %q, %v", u, got, err)
		}
	}
	for want, u := range map[string]configuredUpstream{
		"has a username but no password": {Name: "a", Username: "me"},
		"has a password but no username": {Name: "a", PasswordFile: file},
		"use one":                        {Name: "a", Username: "me", PasswordFile: file, PasswordEnv: "THE_SECRET"},
		"the environment has no":         {Name: "a", Username: "me", PasswordEnv: "NO_SUCH"},
		"no such file":                   {Name: "a", Username: "me", PasswordFile: file + "x"},
	} {
		if got, err := u.password(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %q, %v", u, got, err)
		}
	}
}

// TestMirrorTrustsConfiguredAuthorities goes through TLS with a certificate
// that only ca-certificates makes good.
func TestMirrorTrustsConfiguredAuthorities(t *testing.T) {
	manifest := registrytest.Image([]byte("{}"))
	upstream := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
		_, _ = w.Write(manifest)
	}))
	upstream.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	t.Cleanup(upstream.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: upstream.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, trusted := range []bool{true, false} {
		s := registrytest.Open(t, registry.Config{}, nil)
		settings := mirrorSettings{upstreams: upstreamList{[]configuredUpstream{{Name: "corp", URL: upstream.URL}}}}
		if trusted {
			settings.caCertificates = stringList{file}
		}
		m, err := settings.open(t.TempDir(), s.Registry, 4<<20, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Resolve(t.Context(), "corp/app", oci.Reference{Tag: "1"})
		if trusted != (err == nil) || (!trusted && !strings.Contains(err.Error(), "certificate")) {
			t.Errorf("trusted %v: %v", trusted, err)
		}
		m.Close()
	}
	bad := filepath.Join(t.TempDir(), "bad.pem")
	if err := os.WriteFile(bad, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := outgoing([]string{bad}); err == nil || !strings.Contains(err.Error(), "has no certificate") {
		t.Errorf("a file without certificates: %v", err)
	}
}

// TestOnlyAdministratorsWriteToMirrors: who may push elsewhere may not put an
// image under an upstream's name.
func TestOnlyAdministratorsWriteToMirrors(t *testing.T) {
	s := registrytest.Open(t, registry.Config{}, nil)
	m, err := mirror.Open(mirror.Config{Registry: s.Registry, Upstreams: []mirror.Upstream{{Name: "docker.io"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	for _, c := range []struct {
		level      auth.Anonymous
		action     auth.Action
		repository string
		message    string // empty: allowed
	}{
		{auth.AnonymousPull, auth.Pull, "docker.io/library/debian", ""},
		{auth.AnonymousPull, auth.Push, "docker.io/library/debian", "let everybody push"},
		{auth.AnonymousPush, auth.Push, "docker.io/library/debian", "only an administrator may write to it"},
		{auth.AnonymousPush, auth.Delete, "docker.io/library/debian", "let everybody delete"},
		{auth.AnonymousPush, auth.Push, "team/app", ""},
		{auth.AnonymousPush, auth.Push, "docker.io", ""}, // no upstream's: it has no name there
		{auth.AnonymousAdmin, auth.Push, "docker.io/library/debian", ""},
		{auth.AnonymousAdmin, auth.Delete, "docker.io/library/debian", ""},
	} {
		guarded := guardMirror(m, func(_ *http.Request, a auth.Action, repository string) error { return c.level.Authorize(a, repository) })
		err := guarded(nil, c.action, c.repository)
		if c.message == "" && err != nil || c.message != "" && (!oci.HasCode(err, oci.CodeDenied) || !strings.Contains(err.Error(), c.message)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestServeMirrors runs the whole server over an upstream.
func TestServeMirrors(t *testing.T) {
	manifest := registrytest.Image([]byte("{}"))
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/library/debian/manifests/bookworm" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
		_, _ = w.Write(manifest)
	}))
	t.Cleanup(upstream.Close)
	settings := serveSettings{listen: "127.0.0.1:0", http: "loopback", manifestLimit: 4 << 20, stall: 1e9, drain: 1e9}
	settings.store = storeSettings{data: t.TempDir(), uploadExpiry: 3600e9, grace: 3600e9}
	settings.mirror.upstreams.list = []configuredUpstream{{Name: "docker.io", URL: upstream.URL}}
	srv := newServer(settings, slog.New(slog.DiscardHandler))
	if err := srv.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	web := httptest.NewServer(srv.http[0].Handler)
	t.Cleanup(web.Close)
	for path, status := range map[string]int{
		"docker.io/debian/manifests/bookworm":                200,
		"library/debian/manifests/bookworm?ns=docker.io":     200,
		"library/debian/manifests/bookworm?ns=elsewhere.dev": 404,
		"library/debian/manifests/bookworm":                  404,
		"docker.io/library/debian/manifests/trixie":          404,
	} {
		resp, err := http.Get(web.URL + "/v2/" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != status || (status == 200 && !bytes.Equal(body, manifest)) {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
}
