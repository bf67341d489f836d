package auth_test

import (
	"strings"
	"testing"

	"slipway/internal/auth"
	"slipway/internal/oci"
)

func TestAnonymous(t *testing.T) {
	actions := []auth.Action{auth.Ping, auth.List, auth.Pull, auth.Push, auth.Delete, auth.Build, auth.Admin, "an action that nobody thought of"}
	for name, may := range map[string]string{
		"pull":  "ping list pull",
		"push":  "ping list pull push",
		"admin": "ping list pull push delete build admin an action that nobody thought of",
	} {
		level, err := auth.ParseAnonymous(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range actions {
			err := level.Authorize(a, "team/app")
			if want := strings.Contains(may, string(a)); (err == nil) != want {
				t.Errorf("%s: %s: %v, want allowed: %v", name, a, err, want)
			}
			if err != nil && (!oci.HasCode(err, oci.CodeDenied) || !strings.Contains(err.Error(), "team/app") || !strings.Contains(err.Error(), "--anonymous")) {
				t.Errorf("%s: %s: %v says neither where nor what to do", name, a, err)
			}
		}
	}
	for _, s := range []string{"", "Pull", "root", "none", "pull,push"} {
		if _, err := auth.ParseAnonymous(s); err == nil {
			t.Errorf("%q is a level", s)
		}
	}
	if err := auth.Anonymous(0).Authorize(auth.Ping, ""); err == nil {
		t.Error("the zero level allows something")
	}
}
