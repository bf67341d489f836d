//go:build unix

package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway/internal/auth/oidc/oidctest"
)

func TestIssuersAreRead(t *testing.T) {
	const good = "- {name: hub, kind: workload, url: https://hub.test, audience: a}\n"
	for name, c := range map[string]struct{ yaml, want, fails string }{
		"none":                  {"none", "", ""},
		"an empty list":         {"[]", "", ""},
		"two":                   {good + "- {name: keycloak, kind: people, url: https://login.test, client-id: slipway, groups: {/dev: dev}}\n", "hub,keycloak", ""},
		"a word":                {"hub", "", "list of issuers"},
		"a list of words":       {"[hub]", "", "name: …"},
		"twice":                 {good + good, "", "twice"},
		"no kind":               {"- {name: hub, url: https://hub.test}", "", `kind is ""`},
		"another kind":          {"- {name: hub, kind: robots}", "", "use workload"},
		"a key that is unknown": {"- {name: hub, kind: people, client_id: x}", "", "did you mean client-id?"},
		"a key of people":       {"- {name: hub, kind: workload, client-id: x}", "", "not a setting of an issuer of kind workload"},
		"a key of workloads":    {"- {name: hub, kind: people, audience: x}", "", "not a setting of an issuer of kind people"},
		"groups as a list":      {"- {name: hub, kind: people, groups: [a]}", "", "groups"},
	} {
		var l issuerList
		err := l.Set(c.yaml)
		if (c.fails == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.fails) && !strings.Contains(err.Error(), "map")) || l.String() != c.want && err == nil {
			t.Errorf("%s: %q, %v, want %q or an error with %q", name, l.String(), err, c.want, c.fails)
		}
	}
}

// TestIssuersInTheFile reads what the guide shows.
func TestIssuersInTheFile(t *testing.T) {
	flags, err := configure(t, `oidc:
  token-life: 24h
  issuers:
    - name: github
      kind: workload
      url: https://token.actions.githubusercontent.com
    - name: keycloak
      kind: people
      url: https://login.example.org/realms/team
      client-id: slipway
      groups-claim: groups
      groups: {/team/dev: dev}
`, nil, nil)
	if err != nil || flags.Lookup("oidc.issuers").Value.String() != "github,keycloak" || flags.Lookup("oidc.token-life").Value.String() != "24h0m0s" {
		t.Errorf("%v, %v", flags.Lookup("oidc.issuers").Value, err)
	}
	if _, err := configure(t, "oidc.issuers:\n- {name: x, kind: workload, audienze: y}\n", nil, nil); err == nil || !strings.Contains(err.Error(), "did you mean audience?") {
		t.Error(err)
	}
}

// TestIssuersThatCannotBe are refused at the start, with what to do.
func TestIssuersThatCannotBe(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const people = "- {name: k, kind: people, url: https://login.test, client-id: slipway"
	for name, c := range map[string]struct{ external, yaml, fails string }{
		"no audience":             {"", "- {name: hub, kind: workload, url: https://hub.test}", "audience"},
		"plain HTTP":              {"", "- {name: hub, kind: workload, url: http://hub.test, audience: a}", "https"},
		"people without address":  {"", people + "}", "external-url"},
		"people in the clear":     {"http://registry.lan", people + "}", "https address"},
		"a secret that is not":    {"https://registry.lan", people + ", client-secret-file: " + missing + "}", missing},
		"an empty secret":         {"https://registry.lan", people + ", client-secret-file: " + empty + "}", "is empty"},
		"an authority that is no": {"https://registry.lan", people + ", ca: " + empty + "}", "no certificate"},
		"one audience for both":   {"https://registry.lan", people + "}\n- {name: h, kind: workload, url: https://login.test, audience: slipway}", "client-id"},
		"one system twice":        {"https://registry.lan", "- {name: h, kind: workload, url: https://hub.test}\n- {name: i, kind: workload, url: https://hub.test}", "another one has its url"},
	} {
		s := serveSettings{listen: "127.0.0.1:0", http: "loopback", manifestLimit: 4 << 20, store: storeSettings{data: t.TempDir(), grace: time.Hour, uploadExpiry: time.Hour}}
		s.tls.external = c.external
		s.oidc.tokenLife = time.Hour
		if err := s.oidc.issuers.Set(c.yaml); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		srv := newServer(s, slog.New(slog.DiscardHandler))
		err := srv.Open(context.Background())
		if err == nil || !strings.Contains(err.Error(), c.fails) || !strings.Contains(err.Error(), "oidc.issuers: ") {
			t.Errorf("%s: %v, want an error with %q", name, err, c.fails)
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestIssuersCloseAServer: on a loopback address everybody may do everything
// until somebody could log in, which an issuer makes possible.
func TestIssuersCloseAServer(t *testing.T) {
	issuer := oidctest.New(t)
	for want, yaml := range map[int]string{
		http.StatusOK:           "none",
		http.StatusUnauthorized: "- {name: hub, kind: workload, url: \"" + issuer.URL + "\", audience: a, ca: \"" + issuer.CA() + "\"}",
	} {
		s := serveSettings{store: storeSettings{data: t.TempDir(), grace: time.Hour, uploadExpiry: time.Hour}}
		if err := s.oidc.issuers.Set(yaml); err != nil {
			t.Fatal(err)
		}
		url, _ := serving(t, s)
		resp, err := http.Get(url + "/v2/")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != want {
			t.Errorf("%s: %d %s, want %d", yaml, resp.StatusCode, body, want)
		}
	}
}
