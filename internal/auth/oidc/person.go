package oidc

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"slipway/internal/auth"
	"slipway/internal/auth/account"
)

const (
	maxGroups  = 256
	maxSubject = 255 // OpenID Connect Core 1.0, section 2
)

// person reads who it is from the claims of an ID token.
func (p *provider) person(claims map[string]any) (account.Person, error) {
	who := account.Person{Issuer: p.URL}
	if who.Subject, _ = claims["sub"].(string); who.Subject == "" || len(who.Subject) > maxSubject {
		return who, fmt.Errorf("issuer %s says no subject, or one of more than %d bytes", p.Name, maxSubject)
	}
	if err := p.required(claims); err != nil {
		return who, err
	}
	var ok bool
	if who.Name, ok = find(claims, p.UsernameClaim).(string); !ok {
		return who, fmt.Errorf("issuer %s says no name: its tokens have no claim %s: set username-claim to one that they have", p.Name, p.UsernameClaim)
	}
	// Whoever may write any address into a profile could have the name, and
	// with it the rules, of somebody who has yet to come.
	if p.UsernameClaim == "email" && claims["email_verified"] != true {
		return who, fmt.Errorf("issuer %s has not verified the address %.80q, which would be the user's name here", p.Name, who.Name)
	}
	if err := auth.CheckName(who.Name); err != nil {
		return who, fmt.Errorf("issuer %s: %w; or set username-claim to another claim", p.Name, err)
	}
	var err error
	who.Groups, err = p.groups(claims)
	return who, err
}

func (p *provider) required(claims map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(p.Require)) {
		if said, err := texts(find(claims, name)); err != nil || !slices.Contains(said, p.Require[name]) {
			return fmt.Errorf("this server lets in only those of issuer %s whose %s is %s", p.Name, name, p.Require[name])
		}
	}
	return nil
}

// groups are those that count here. "admins" never comes from elsewhere by its
// name, nor does a name that cannot be one here.
func (p *provider) groups(claims map[string]any) (list []string, err error) {
	if p.GroupsClaim == "" {
		return nil, nil
	}
	said, err := texts(find(claims, p.GroupsClaim))
	if err != nil {
		return nil, fmt.Errorf("issuer %s: claim %s: %w", p.Name, p.GroupsClaim, err)
	}
	for _, g := range said {
		if slices.Contains(p.AdminGroups, g) {
			list = append(list, auth.GroupAdmins)
		}
		here := g
		if p.Groups != nil {
			here = p.Groups[g]
		}
		if auth.CheckGroup(here) == nil && here != auth.GroupAdmins && here != auth.GroupHtpasswd {
			list = append(list, here)
		}
	}
	slices.Sort(list)
	if list = slices.Compact(list); len(list) > maxGroups {
		return nil, fmt.Errorf("issuer %s says %d groups; the limit is %d: set groups to those that count here", p.Name, len(list), maxGroups)
	}
	return list, nil
}

// find looks for a claim by its name, or else by the names on the way to it.
func find(claims map[string]any, name string) any {
	if v, ok := claims[name]; ok {
		return v
	}
	first, rest, dotted := strings.Cut(name, ".")
	if inner, ok := claims[first].(map[string]any); ok && dotted {
		return find(inner, rest)
	}
	return nil
}

var errTexts = errors.New("it is not a list of texts")

// texts reads a list, or a single one. No claim is no text.
func texts(v any) (list []string, err error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		for _, one := range v {
			s, ok := one.(string)
			if !ok {
				return nil, errTexts
			}
			list = append(list, s)
		}
		return list, nil
	}
	return nil, errTexts
}
