package token_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"slipway/internal/auth"
	"slipway/internal/auth/token"
	"slipway/internal/oci"
)

func TestParseResources(t *testing.T) {
	for in, want := range map[string]string{
		"repository:team/app:pull,push": "repository:team/app:pull,push", "repository(plugin):x:pull": "repository(plugin):x:pull", "registry:catalog:*": "registry:catalog:*",
		"repository:a:pull repository:b:push|repository:c:pull": "repository:a:pull repository:b:push repository:c:pull",
		"repository:a:pull|repository:a:push,pull":              "repository:a:pull,push",
		"repository:a:": "repository:a:", "repository:a:fly": "repository:a:fly", "  repository:a:pull  ": "repository:a:pull",
		"": "", "repository": "", "repository:a": "", "repository::pull": "", "repository:A:pull": "", "repository:**:pull": "", "repository:../x:pull": "", "repository:host:5000/x:pull": "",
		"registry:other:*": "", "server:a:pull": "", "repository(plugin:a:pull": "", ":a:pull": "", "::": "", "repository:a\x00:pull": "",
		"repository:" + strings.Repeat("a", 2000) + ":pull": "",
	} {
		var got []string
		for _, r := range token.ParseResources(strings.Split(in, "|")) {
			got = append(got, r.String())
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%.60q: %q, want %q", in, s, want)
		}
	}
	var many []string
	for n := range 1000 {
		many = append(many, fmt.Sprintf("repository:r%d:pull", n))
	}
	if n := len(token.ParseResources(many)); n != 200 {
		t.Errorf("%d scopes", n)
	}
}

func TestChallenge(t *testing.T) {
	const begin = `Bearer realm="https://r.test/token",service="r.test"`
	for _, c := range []struct {
		c    token.Challenge
		want string
	}{
		{token.Challenge{Action: auth.Ping}, begin},
		{token.Challenge{Action: auth.List}, begin + `,scope="registry:catalog:*"`},
		{token.Challenge{Action: auth.Pull, Repository: "a/b"}, begin + `,scope="repository:a/b:pull"`},
		{token.Challenge{Action: auth.Push, Repository: "a"}, begin + `,scope="repository:a:pull,push"`},
		{token.Challenge{Action: auth.Delete, Repository: "a", Error: token.InsufficientScope}, begin + `,scope="repository:a:delete",error="insufficient_scope"`},
		{token.Challenge{Action: auth.Admin, Error: token.InvalidToken}, begin + `,error="invalid_token"`},
	} {
		c.c.Realm, c.c.Service = "https://r.test/token", "r.test"
		if got := c.c.String(); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	if got := token.BasicChallenge(`a "b" \c`); got != `Basic realm="a \"b\" \\c",charset="UTF-8"` {
		t.Error(got)
	}
}

func FuzzResources(f *testing.F) {
	for _, s := range []string{"repository:a:pull", "repository(plugin):a/b:push,pull registry:catalog:*", "repository:a:b:c", ":::", "repository:a:*,pull"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		seen := map[string]bool{}
		for _, r := range token.ParseResources([]string{s}) {
			switch r.Type {
			case "repository":
				if oci.CheckRepository(r.Name) != nil {
					t.Errorf("%q names %q", s, r.Name)
				}
			case "registry":
				if r.Name != "catalog" {
					t.Errorf("%q names %q", s, r.Name)
				}
			default:
				t.Errorf("%q has type %q", s, r.Type)
			}
			if seen[r.Type+r.Name] || slices.Contains(r.Actions, "") {
				t.Errorf("%q: %v twice, or with an empty action", s, r)
			}
			seen[r.Type+r.Name] = true
			again := token.ParseResources([]string{r.String()})
			if len(again) != 1 || again[0].String() != r.String() {
				t.Errorf("%q: %s became %v", s, r, again)
			}
		}
	})
}

// FuzzChallenge holds that no value ends the header or adds a parameter.
func FuzzChallenge(f *testing.F) {
	f.Add("https://r.test/token", "r.test", "a/b")
	f.Add(`x",error="y`, "a\\", "a\r\nX-Evil: 1")
	f.Fuzz(func(t *testing.T, realm, service, repository string) {
		s := token.Challenge{Realm: realm, Service: service, Action: auth.Pull, Repository: repository, Error: token.InvalidToken}.String()
		if strings.ContainsAny(s, "\r\n\x00\x7f") {
			t.Fatalf("%q", s)
		}
		rest, ok := strings.CutPrefix(s, "Bearer ")
		names := ""
		for ok && rest != "" {
			var name string
			name, rest, ok = strings.Cut(rest, `="`)
			names += name + " "
			i := 0
			for ; ok && i < len(rest) && rest[i] != '"'; i++ {
				if rest[i] == '\\' {
					i++
				}
			}
			if !ok || i >= len(rest) {
				t.Fatalf("%q has a value without an end", s)
			}
			rest = strings.TrimPrefix(rest[i+1:], ",")
		}
		if want := "realm service scope error "; names != want && !(repository == "" && names == "realm service error ") {
			t.Errorf("%q has %s", s, names)
		}
	})
}
