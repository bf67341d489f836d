package token

import (
	"slices"
	"strings"

	"slipway/internal/auth"
	"slipway/internal/oci"
)

// Resource is one scope of a request: actions on something of a type.
type Resource struct {
	Type    string   `json:"type"`
	Class   string   `json:"class,omitempty"` // such as "plugin"; kept and not used
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// The types that have a meaning here.
const (
	typeRepository = "repository"
	typeRegistry   = "registry"
	catalog        = "catalog"
)

const (
	maxScopes = 200
	maxScope  = 1024
)

// ParseResources reads the values of repeated "scope" parameters, each of which
// may have several scopes with spaces between them:
//
//	repository:team/app:pull,push    repository(plugin):x:pull    registry:catalog:*
//
// A scope that cannot be read, or of a type that is not known here, gives
// nothing and is no error: the client finds out by what it gets. Scopes for one
// repository are joined.
func ParseResources(values []string) (list []Resource) {
	n := 0
	for _, value := range values {
		for s := range strings.FieldsSeq(value) {
			if n++; n > maxScopes {
				return list
			}
			r, ok := parseResource(s)
			if !ok {
				continue
			}
			same := slices.IndexFunc(list, func(o Resource) bool { return o.Type == r.Type && o.Name == r.Name })
			if same < 0 {
				list = append(list, r)
				continue
			}
			for _, a := range r.Actions {
				if !slices.Contains(list[same].Actions, a) {
					list[same].Actions = append(list[same].Actions, a)
				}
			}
		}
	}
	return list
}

// parseResource reads TYPE[(CLASS)]:NAME:ACTIONS. A name may have a ':' itself,
// if it begins with a host and a port.
func parseResource(s string) (r Resource, ok bool) {
	if len(s) > maxScope {
		return r, false
	}
	kind, rest, ok := strings.Cut(s, ":")
	i := strings.LastIndexByte(rest, ':')
	if !ok || i < 0 {
		return r, false
	}
	r.Type, r.Name = kind, rest[:i]
	if before, class, has := strings.Cut(kind, "("); has {
		if class, has = strings.CutSuffix(class, ")"); !has {
			return r, false
		}
		r.Type, r.Class = before, class
	}
	for a := range strings.SplitSeq(rest[i+1:], ",") {
		if a != "" && !slices.Contains(r.Actions, a) {
			r.Actions = append(r.Actions, a)
		}
	}
	switch r.Type {
	case typeRepository:
		ok = oci.CheckRepository(r.Name) == nil
	case typeRegistry:
		ok = r.Name == catalog
	default:
		ok = false
	}
	return r, ok
}

// wanted are the actions that the resource asks for. Who pushes has to see what
// is there, so push asks for pull, too; "*" asks for all.
func (r Resource) wanted() (actions []auth.Action) {
	if slices.Contains(r.Actions, "*") {
		return auth.Grantable
	}
	for _, a := range auth.Grantable {
		if slices.Contains(r.Actions, string(a)) || (a == auth.Pull && slices.Contains(r.Actions, string(auth.Push))) {
			actions = append(actions, a)
		}
	}
	return actions
}

// grant is what of the resources allowed lets through.
func grant(list []Resource, allowed func(auth.Action, string) bool) []Resource {
	granted := []Resource{}
	for _, r := range list {
		got := Resource{Type: r.Type, Class: r.Class, Name: r.Name, Actions: []string{}}
		if r.Type == typeRegistry {
			if slices.Contains(r.Actions, "*") && allowed(auth.List, "") {
				got.Actions = []string{"*"}
			}
		} else {
			for _, a := range r.wanted() {
				if allowed(a, r.Name) {
					got.Actions = append(got.Actions, string(a))
				}
			}
		}
		if len(got.Actions) > 0 {
			granted = append(granted, got)
		}
	}
	return granted
}

// access reads back what grant wrote. Nothing is added to what the token says:
// push there is push alone, and what is not known here gives nothing.
func access(list []Resource) *auth.Access {
	a := &auth.Access{Repositories: map[string][]auth.Action{}}
	for _, r := range list {
		switch {
		case r.Type == typeRegistry && r.Name == catalog:
			a.Catalog = a.Catalog || slices.Contains(r.Actions, "*")
		case r.Type == typeRepository && oci.CheckRepository(r.Name) == nil:
			for _, action := range auth.Grantable {
				if slices.Contains(r.Actions, string(action)) {
					a.Repositories[r.Name] = append(a.Repositories[r.Name], action)
				}
			}
		}
	}
	return a
}

// String is the form of a scope.
func (r Resource) String() string {
	kind := r.Type
	if r.Class != "" {
		kind += "(" + r.Class + ")"
	}
	return kind + ":" + r.Name + ":" + strings.Join(r.Actions, ",")
}
