package token_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"slipway/internal/auth"
	"slipway/internal/auth/account"
	"slipway/internal/auth/policy"
	"slipway/internal/auth/token"
	"slipway/internal/db"
	"slipway/internal/oci"
)

// serve is a registry of nothing but access: it answers with what it would
// list.
func (w *world) serve() string {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	w.t.Cleanup(server.Close)
	mux.Handle("/token", w.endpoint)
	mux.HandleFunc("/v2/", func(rw http.ResponseWriter, r *http.Request) {
		action, repository, body := auth.Ping, "", "{}"
		if name, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/v2/"), "/tags/list"); ok {
			action, repository, body = auth.Pull, name, fmt.Sprintf(`{"name":%q,"tags":["v1"]}`, name)
		} else if r.URL.Path == "/v2/_catalog" {
			action, body = auth.List, `{"repositories":["team/app"]}`
		}
		challenge := token.Challenge{Realm: server.URL + "/token", Service: "registry.test", Action: action, Repository: repository}
		i, err := w.login.Request(r)
		var d policy.Decision
		if err != nil {
			challenge.Error = token.InvalidToken
		} else if d = w.policy.Decide(r.Context(), i, action, repository); d.InsufficientScope {
			challenge.Error = token.InsufficientScope
		}
		if err == nil {
			err = d.Err()
		}
		switch {
		case oci.HasCode(err, oci.CodeUnauthorized):
			rw.Header().Set("WWW-Authenticate", challenge.String())
			http.Error(rw, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
		case err != nil:
			http.Error(rw, `{"errors":[{"code":"DENIED"}]}`, http.StatusForbidden)
		default:
			rw.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprint(rw, body)
		}
	})
	return strings.TrimPrefix(server.URL, "http://")
}

// A client that others have written finds its way.
func TestAClientFindsItsWay(t *testing.T) {
	w := newWorld(t)
	host := w.serve()
	w.rule("anyone", "pull", "public/*")
	secret := account.NewSecret(account.PrefixRobot)
	w.update(func(tx *db.Tx) error {
		if err := account.CreateRobot(tx, "ci", ""); err != nil {
			return err
		}
		_, err := account.CreateToken(tx, account.NewToken{OwnerKind: auth.KindRobot, Owner: "ci", Name: "t", Secret: secret})
		return err
	})
	w.rule("robot:ci", "pull", "team/*")
	refresh := w.get("anna", "right", "offline_token=true").RefreshToken

	for _, c := range []struct {
		name       string
		who        authn.AuthConfig
		repository string
		status     string // in the error; "": it works
	}{
		{"password", authn.AuthConfig{Username: "anna", Password: "right"}, "team/app", ""},
		{"password, where it may not", authn.AuthConfig{Username: "anna", Password: "right"}, "secret", "DENIED"},
		{"wrong password", authn.AuthConfig{Username: "anna", Password: "wrong"}, "team/app", "password is wrong"},
		{"refresh token", authn.AuthConfig{IdentityToken: refresh}, "team/app", ""},
		{"robot token", authn.AuthConfig{Username: "ci", Password: secret.Reveal()}, "team/app", ""},
		{"robot token as bearer", authn.AuthConfig{RegistryToken: secret.Reveal()}, "team/app", ""},
		{"nobody, public", authn.AuthConfig{}, "public/x", ""},
		{"nobody, elsewhere", authn.AuthConfig{}, "team/app", "UNAUTHORIZED"},
	} {
		repository, err := name.NewRepository(host + "/" + c.repository)
		if err != nil {
			t.Fatal(err)
		}
		tags, err := remote.List(repository, remote.WithAuth(authn.FromConfig(c.who)))
		if c.status == "" && (err != nil || len(tags) != 1) {
			t.Errorf("%s: %v, %v", c.name, tags, err)
		}
		if c.status != "" && (err == nil || !strings.Contains(err.Error(), c.status)) {
			t.Errorf("%s: %v, want %s", c.name, err, c.status)
		}
	}
	registry, err := name.NewRegistry(host)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := remote.Catalog(ctx, registry, remote.WithAuth(&authn.Basic{Username: "anna", Password: "right"})); err != nil || len(list) != 1 {
		t.Errorf("catalog: %v, %v", list, err)
	}
}
