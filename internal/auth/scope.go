package auth

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Scope narrows what a token may be used for: these actions in these
// repositories. It gives nothing that the token's owner may not do.
type Scope struct {
	Actions      []Action
	Repositories Glob
}

// ParseScope reads "pull,push:team/**". Without a glob it is "**".
func ParseScope(s string) (Scope, error) {
	actions, glob, has := strings.Cut(s, ":")
	if !has {
		glob = "**"
	}
	a, err := ParseActions(actions)
	if err != nil {
		return Scope{}, fmt.Errorf("scope %.300q: %w", s, err)
	}
	g, err := ParseGlob(glob)
	if err != nil {
		return Scope{}, fmt.Errorf("scope %.300q: %w", s, err)
	}
	return Scope{a, g}, nil
}

// ParseScopes reads each.
func ParseScopes(list []string) (Scopes, error) {
	var all Scopes
	for _, s := range list {
		scope, err := ParseScope(s)
		if err != nil {
			return nil, err
		}
		all = append(all, scope)
	}
	return all, nil
}

// String is the form that ParseScope reads.
func (s Scope) String() string { return JoinActions(s.Actions) + ":" + s.Repositories.String() }

// Allow reports whether the scope covers the action in the repository.
func (s Scope) Allow(action Action, repository string) bool {
	return slices.Contains(s.Actions, action) && s.Repositories.Match(repository)
}

// Scopes together allow what one of them allows. None at all is no limit.
type Scopes []Scope

// Allow reports whether the scopes leave the action in the repository open.
// Ping and list read nothing of a repository and stay open.
func (s Scopes) Allow(action Action, repository string) bool {
	if len(s) == 0 || action == Ping || action == List {
		return true
	}
	return slices.ContainsFunc(s, func(one Scope) bool { return one.Allow(action, repository) })
}

// Strings is the form that ParseScopes reads.
func (s Scopes) Strings() []string {
	list := make([]string, len(s))
	for i, one := range s {
		list[i] = one.String()
	}
	return list
}

// MarshalJSON writes a list of strings.
func (s Scopes) MarshalJSON() ([]byte, error) { return json.Marshal(s.Strings()) }

// UnmarshalJSON reads one. What it cannot read is an error: to leave out a
// scope could turn a narrow token into one without limits.
func (s *Scopes) UnmarshalJSON(b []byte) error {
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	all, err := ParseScopes(list)
	*s = all
	return err
}
