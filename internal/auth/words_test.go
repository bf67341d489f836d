package auth_test

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"slipway/internal/auth"
)

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"anna": true, "Anna": true, "a": true, "0": true, "anna.b-c_d": true, "anna@example.org": true, "x+y": true, strings.Repeat("a", 64): true,
		"": false, "a:b": false, "a/b": false, "a b": false, "a\n": false, "\x00": false, "ä": false, "-a": false, ".a": false, "@a": false, "a\\b": false,
		"token": false, "Anonymous": false, "anyone": false, "authenticated": false, strings.Repeat("a", 65): false, "a\u202eb": false, "a,b": false, `a"b`: false,
	} {
		if err := auth.CheckName(name); (err == nil) != want {
			t.Errorf("%q: %v, want valid: %v", name, err, want)
		}
	}
	for group, want := range map[string]bool{"dev": true, "/team/dev": true, `CORP\dev`: true, "a:b": true, "": false, "a b": false, "a,b": false, "a\t": false, "ü": false, strings.Repeat("g", 129): false} {
		if err := auth.CheckGroup(group); (err == nil) != want {
			t.Errorf("group %q: %v, want valid: %v", group, err, want)
		}
	}
}

func TestActions(t *testing.T) {
	for s, want := range map[string]string{"pull": "pull", "push,pull": "pull,push", " push , push": "push", "*": "pull,push,delete,build,admin"} {
		got, err := auth.ParseActions(s)
		if err != nil || auth.JoinActions(got) != want {
			t.Errorf("%q: %v, %v, want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"", ",", "pull,", "Pull", "list", "ping", "everything", "pull push"} {
		if got, err := auth.ParseActions(s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestScopes(t *testing.T) {
	list, err := auth.ParseScopes([]string{"pull,push:team/**", "pull"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		action     auth.Action
		repository string
		want       bool
	}{
		{auth.Pull, "team/app", true}, {auth.Push, "team/app", true}, {auth.Pull, "other", true}, {auth.Push, "other", false},
		{auth.Delete, "team/app", false}, {auth.Admin, "", false}, {auth.Ping, "", true}, {auth.List, "", true},
	} {
		if got := list.Allow(c.action, c.repository); got != c.want {
			t.Errorf("%s %q: %v", c.action, c.repository, got)
		}
	}
	if !auth.Scopes(nil).Allow(auth.Admin, "") {
		t.Error("no scopes limit")
	}
	b, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	var again auth.Scopes
	if err := json.Unmarshal(b, &again); err != nil || !slices.Equal(again.Strings(), list.Strings()) {
		t.Errorf("%s became %v, %v", b, again.Strings(), err)
	}
	for _, s := range []string{`["pull:A"]`, `["fly"]`, `["pull:a","x"]`, `"pull"`, `[""]`} {
		if err := json.Unmarshal([]byte(s), &again); err == nil {
			t.Errorf("%s is read as %v: a narrow token could become a wide one", s, again.Strings())
		}
	}
}

func TestSubjects(t *testing.T) {
	at := netip.MustParseAddr
	anna := auth.Identity{Kind: auth.KindUser, Name: "anna", Groups: []string{"dev"}, Address: at("10.1.2.3")}
	ci := auth.Identity{Kind: auth.KindRobot, Name: "ci", Address: at("fd00::1")}
	job := auth.Identity{Kind: auth.KindWorkload, Name: "x", Claims: map[string]string{"issuer": "hub", "repository": "org/app", "ref": "refs/heads/main"}}
	nobody := auth.Nobody(at("::ffff:10.1.2.3"))
	for subject, want := range map[string]string{
		"anyone": "anna ci job nobody", "authenticated": "anna ci",
		"user:anna": "anna", "user:Anna": "", "user:ci": "", "robot:ci": "ci", "robot:anna": "", "group:dev": "anna", "group:ops": "",
		"workload:issuer=hub,repository=org/app": "job", "workload:issuer=hub,repository=org/*,ref=refs/heads/main": "job", "workload:issuer=hub,repository=org/app,ref=refs/tags/*": "",
		"workload:issuer=hub,sub=*": "", "workload:issuer=lab,repository=org/app": "",
		"network:10.1.0.0/16": "anna nobody", "network:10.1.2.3": "anna nobody", "network:10.2.0.0/16": "", "network:fd00::/8": "ci", "network:0.0.0.0/0": "anna nobody",
	} {
		s, err := auth.ParseSubject(subject)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := auth.ParseSubject(s.String()); err != nil || again.String() != s.String() {
			t.Errorf("%s became %s, %v", subject, s, err)
		}
		for name, i := range map[string]auth.Identity{"anna": anna, "ci": ci, "job": job, "nobody": nobody} {
			if got := s.Match(i); got != slices.Contains(strings.Fields(want), name) {
				t.Errorf("%s includes %s: %v", subject, name, got)
			}
		}
	}
	for _, s := range []string{"", "anna", "user:", "user:a:b", "group:", "anyone:x", "authenticated:", "network:", "network:10.0.0.0/33", "network:host", "workload:", "workload:a", "workload:=b", "workload:a=", "workload:repository=org/app", "workload:issuer=*,repository=org/app", "local:x", "User:anna"} {
		if got, err := auth.ParseSubject(s); err == nil {
			t.Errorf("%q is a subject: %v", s, got)
		}
	}
	if (auth.Subject{}).Match(anna) {
		t.Error("a subject that was not parsed includes anna")
	}
}

func TestActors(t *testing.T) {
	for actor, i := range map[string]auth.Identity{
		"user:anna": {Kind: auth.KindUser, Name: "anna"}, "robot:ci": {Kind: auth.KindRobot, Name: "ci"}, "workload:repo:org/app": {Kind: auth.KindWorkload, Name: "repo:org/app"},
		"anonymous": {Kind: auth.KindAnonymous}, "local administrator": auth.Local, "slipway": auth.System,
	} {
		if i.Actor() != actor {
			t.Errorf("%+v is %s", i, i.Actor())
		}
		if kind, name, ok := auth.ParseActor(actor); !ok || kind != i.Kind || name != i.Name {
			t.Errorf("%s: %s %s %v", actor, kind, name, ok)
		}
	}
	if got := (auth.Identity{}).Actor(); got != "anonymous" {
		t.Errorf("the zero identity is %s", got)
	}
	for _, s := range []string{"", "anna", "user:", "local:x", "anonymous:x", "system:x"} {
		if kind, name, ok := auth.ParseActor(s); ok {
			t.Errorf("%q: %s %s", s, kind, name)
		}
	}
}

func FuzzSubject(f *testing.F) {
	for _, s := range []string{"user:anna", "anyone", "network:10.0.0.0/8", "network:::1", "workload:issuer=a,c=*", "group:/a", "x:y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sub, err := auth.ParseSubject(s)
		if err != nil {
			return
		}
		if again, err := auth.ParseSubject(sub.String()); err != nil || again.String() != sub.String() {
			t.Errorf("%q became %q and then %q, %v", s, sub, again, err)
		}
		if sub.Kind != auth.SubjectAnyone && sub.Match(auth.Identity{}) {
			t.Errorf("%q includes a caller of whom nothing is known", s)
		}
	})
}

func FuzzScope(f *testing.F) {
	for _, s := range []string{"pull:a/**", "*", "pull,push", "admin:**", ":a", "pull:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		scope, err := auth.ParseScope(s)
		if err != nil {
			return
		}
		if again, err := auth.ParseScope(scope.String()); err != nil || again.String() != scope.String() {
			t.Errorf("%q became %q and then %q, %v", s, scope, again, err)
		}
		for _, a := range auth.Grantable {
			if scope.Allow(a, "some/repository") && !slices.Contains(scope.Actions, a) {
				t.Errorf("%q allows to %s", s, a)
			}
		}
	})
}
