package mirror_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway/internal/mirror"
	"slipway/internal/registry/registrytest"
)

// tokenServer hands out tokens that last for a lifetime and counts them.
type tokenServer struct {
	mu       sync.Mutex
	requests []url.Values
	logins   []string
	lifetime string // JSON, such as `,"expires_in":300`
	field    string
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.URL.Query())
	user, password, _ := r.BasicAuth()
	s.logins = append(s.logins, user+":"+password)
	_, _ = fmt.Fprintf(w, `{%q:"token-%d"%s}`, s.field, len(s.requests), s.lifetime)
}

func (s *tokenServer) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("Bearer token-%d", len(s.requests))
}

// registryWith wants the newest token of a server, or nothing else.
func registryWith(s *tokenServer, realm string, content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != s.last() || got == "Bearer token-0" {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s",service="the registry",scope="repository:everything:*"`, realm))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		_, _ = w.Write(content)
	}
}

func TestTokenLogin(t *testing.T) {
	image := registrytest.Image(config, []byte("1"))
	for name, tt := range map[string]struct {
		realm    string
		upstream mirror.Upstream
		login    string
	}{
		"anonymous, own host":      {"https://registry.example/token", mirror.Upstream{}, ":"},
		"login, own host":          {"https://registry.example/token", mirror.Upstream{Username: "me", Password: "secret"}, "me:secret"},
		"login, a host configured": {"https://auth.example/token?extra=1", mirror.Upstream{Username: "me", Password: "secret", TokenHosts: []string{"auth.example"}}, "me:secret"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &tokenServer{field: "token", lifetime: `,"expires_in":300`}
			h := hosts{"auth.example": s.ServeHTTP}
			registry := registryWith(s, tt.realm, image)
			h["registry.example"] = func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/token" {
					s.ServeHTTP(w, r)
					return
				}
				registry(w, r)
			}
			tt.upstream.Name = "registry.example"
			l := newLocal(t, mirror.Config{Upstreams: []mirror.Upstream{tt.upstream}, Transport: h.transport(t)})
			l.want("registry.example/team/app/manifests/1", image)
			l.want("registry.example/team/app/manifests/1", image) // MaxAge 0: asks again, with the same token
			if len(s.requests) != 1 {
				t.Errorf("%d tokens for two requests", len(s.requests))
			}
			q := s.requests[0]
			if q.Get("scope") != "repository:team/app:pull" || q.Get("service") != "the registry" || s.logins[0] != tt.login {
				t.Errorf("asked for %v as %s", q, s.logins[0])
			}
			if strings.Contains(tt.realm, "extra") && q.Get("extra") != "1" {
				t.Errorf("the realm's own query is gone: %v", q)
			}
			l.clock.Advance(time.Hour)
			l.want("registry.example/team/app/manifests/1", image)
			l.want("registry.example/team/other/manifests/1", image) // a repository's token is its own
			if len(s.requests) != 3 {
				t.Errorf("%d tokens, not 3", len(s.requests))
			}
		})
	}
}

// TestRealmIsPinned: an upstream that sends us elsewhere for a token gets
// nobody's credentials, and makes us ask nobody.
func TestRealmIsPinned(t *testing.T) {
	for name, tt := range map[string]struct{ realm, message string }{
		"another host": {"https://evil.example/token", `"evil.example" for a token, which it does not trust`},
		"a sub-domain": {"https://auth.registry.example/token", "which it does not trust"},
		"another port": {"https://registry.example:8443/token", "which it does not trust"},
		"plain HTTP":   {"http://registry.example/token", "a login over http"},
		"credentials":  {"https://a:b@registry.example/token", "which is no address"},
		"a path":       {"/token", "which is no address"},
		"nothing":      {"", "which is no address"},
		"a file":       {"file:///etc/passwd", "which is no address"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			h := hosts{"registry.example": func(w http.ResponseWriter, r *http.Request) {
				asked++
				if a := r.Header.Get("Authorization"); a != "" {
					t.Errorf("sent Authorization %q", a)
				}
				w.Header().Set("WWW-Authenticate", `Bearer realm="`+tt.realm+`",service="x"`)
				w.WriteHeader(http.StatusUnauthorized)
			}} // any other host fails the test
			l := newLocal(t, mirror.Config{
				Upstreams: []mirror.Upstream{{Name: "registry.example", Username: "me", Password: "secret"}},
				Transport: h.transport(t),
			})
			if got := l.refused("registry.example/team/app/manifests/1", http.StatusBadGateway); !strings.Contains(got, tt.message) || strings.Contains(got, "secret") {
				t.Errorf("got %s", got)
			}
			if asked != 1 {
				t.Errorf("asked %d times", asked)
			}
			if log := l.log.String(); strings.Contains(log, "secret") {
				t.Errorf("the log has the password: %s", log)
			}
		})
	}
}

// TestCredentialsStayWithTheirUpstream: two upstreams, each with its own.
func TestCredentialsStayWithTheirUpstream(t *testing.T) {
	image := registrytest.Image(config, []byte("1"))
	basic := func(user string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			got, _, ok := r.BasicAuth()
			if ok && got != user {
				t.Errorf("%s got the login of %s", r.Host, got)
			}
			if !ok {
				w.Header().Set("WWW-Authenticate", "Basic realm=x")
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			_, _ = w.Write(image)
		}
	}
	open := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Errorf("%s got a login", r.Host)
		}
		w.Header().Set("WWW-Authenticate", "Basic realm=x")
		w.WriteHeader(http.StatusUnauthorized)
	}
	l := newLocal(t, mirror.Config{
		Upstreams: []mirror.Upstream{
			{Name: "a.example", Username: "a", Password: "1"}, {Name: "b.example", Username: "b", Password: "2"}, {Name: "c.example"},
		},
		Transport: hosts{"a.example": basic("a"), "b.example": basic("b"), "c.example": open}.transport(t),
	})
	l.want("a.example/x/y/manifests/1", image)
	l.want("b.example/x/y/manifests/1", image)
	if got := l.refused("c.example/x/y/manifests/1", http.StatusNotFound); !strings.Contains(got, "needs a login: the administrator can set username") {
		t.Errorf("got %s", got)
	}
}

func TestTokenServersThatFail(t *testing.T) {
	for name, tt := range map[string]struct {
		answer  string
		status  int
		want    int
		message string
	}{
		"no JSON":       {"<html>", 200, 502, "is not that of a token server"},
		"no token":      {"{}", 200, 502, "is not that of a token server"},
		"a split token": {`{"token":"a\r\nX-Evil: 1"}`, 200, 502, "is not that of a token server"},
		"refused":       {"", 401, 404, "user me may not pull it"},
		"busy":          {"", 429, 429, "takes no more requests"},
		"broken":        {"", 500, 503, "status 500"},
		"missing":       {"", 404, 502, "status 404 instead of a token"},
		"a wrong token": {`{"token":"wrong"}`, 200, 404, "user me may not pull it"},
	} {
		t.Run(name, func(t *testing.T) {
			h := hosts{"registry.example": func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/token" {
					w.WriteHeader(tt.status)
					_, _ = w.Write([]byte(tt.answer))
					return
				}
				w.Header().Set("WWW-Authenticate", `Bearer realm="https://registry.example/token"`)
				w.WriteHeader(http.StatusUnauthorized)
			}}
			l := newLocal(t, mirror.Config{
				Upstreams: []mirror.Upstream{{Name: "registry.example", Username: "me", Password: "secret"}},
				Transport: h.transport(t),
			})
			if got := l.refused("registry.example/team/app/manifests/1", tt.want); !strings.Contains(got, tt.message) {
				t.Errorf("got %s", got)
			}
		})
	}
}
