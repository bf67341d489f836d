package auth

import (
	"fmt"

	"slipway/internal/oci"
)

// Anonymous is what callers without a login may do.
type Anonymous int

// Each level includes the ones before it.
const (
	AnonymousPull  Anonymous = iota + 1 // pull and list
	AnonymousPush                       // and push, which moves tags
	AnonymousAdmin                      // and delete, collect and change settings
)

var anonymousNames = map[string]Anonymous{"pull": AnonymousPull, "push": AnonymousPush, "admin": AnonymousAdmin}

// ParseAnonymous reads "pull", "push" or "admin".
func ParseAnonymous(s string) (Anonymous, error) {
	if a, ok := anonymousNames[s]; ok {
		return a, nil
	}
	return 0, fmt.Errorf("anonymous access %q is not known: use pull, push or admin", s)
}

// Authorize returns a DENIED error unless the level allows the action.
func (a Anonymous) Authorize(action Action, repository string) error {
	need := AnonymousAdmin
	switch action {
	case Ping, List, Pull:
		need = AnonymousPull
	case Push:
		need = AnonymousPush
	}
	if a >= need {
		return nil
	}
	where := ""
	if repository != "" {
		where = " in repository " + repository
	}
	what := string(action)
	switch action {
	case Admin:
		what = "administer it"
	case Build:
		what = "build, which runs programs on its machine"
	}
	return oci.NewError(oci.CodeDenied, fmt.Sprintf("this registry does not let everybody %s%s: its administrator can allow it with --anonymous %s", what, where, name(need)))
}

func name(a Anonymous) string {
	for n, v := range anonymousNames {
		if v == a {
			return n
		}
	}
	return ""
}
