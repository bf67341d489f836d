package auth

import (
	"net/netip"
	"slices"
	"strings"
)

// Kind is what sort of caller an identity is.
type Kind string

// The kinds. Local and System need no login: who reaches the socket in the data
// folder is Local, and what Slipway does by itself is System's.
const (
	KindAnonymous Kind = "anonymous"
	KindUser      Kind = "user"
	KindRobot     Kind = "robot"
	KindWorkload  Kind = "workload"
	KindLocal     Kind = "local"
	KindSystem    Kind = "system"
)

// Groups with a meaning of their own.
const (
	GroupAdmins   = "admins"   // may do everything
	GroupHtpasswd = "htpasswd" // every user of the htpasswd file
)

// Identity is who calls, as far as a decision needs to know. The zero value is
// a caller without a login.
type Identity struct {
	Kind   Kind
	Name   string
	Groups []string
	// Claims are what the issuer of a workload's token said of it.
	Claims map[string]string
	// Address is where the call came from, as far as that is known.
	Address netip.Addr

	// Credential is the id of the token of a user or a robot that was shown,
	// itself or for the access token in hand; 0: none.
	Credential int64
	// Scopes are that token's limits.
	Scopes Scopes
	// Access is what the access token in hand was issued for, nil without one.
	Access *Access
}

// Access is what an access token was issued for, in exact names. It limits like
// Scopes do, and asking for a wider token may lift the limit.
type Access struct {
	Catalog      bool
	Repositories map[string][]Action
}

// Allow reports whether the access covers the action.
func (a *Access) Allow(action Action, repository string) bool {
	if a == nil || action == Ping {
		return true
	}
	if action == List {
		return a.Catalog
	}
	return slices.Contains(a.Repositories[repository], action)
}

// The callers that have no account.
var (
	Local  = Identity{Kind: KindLocal}
	System = Identity{Kind: KindSystem}
)

// Nobody is a caller without a login.
func Nobody(from netip.Addr) Identity { return Identity{Kind: KindAnonymous, Address: from} }

// IsAnonymous reports that there was no login.
func (i Identity) IsAnonymous() bool { return i.Kind == KindAnonymous || i.Kind == "" }

// IsAdmin reports whether policy lets the identity do everything; limits of its
// token hold all the same.
func (i Identity) IsAdmin() bool {
	switch i.Kind {
	case KindLocal, KindSystem:
		return true
	case KindUser:
		return slices.Contains(i.Groups, GroupAdmins)
	}
	return false
}

// Actor names the identity in history, events and the audit log, such as
// "user:anna".
func (i Identity) Actor() string {
	switch i.Kind {
	case KindUser, KindRobot, KindWorkload:
		return string(i.Kind) + ":" + i.Name
	case KindLocal:
		return "local administrator"
	case KindSystem:
		return "slipway"
	}
	return "anonymous"
}

// ParseActor is the inverse of Actor. Groups and claims are not in it; see
// account.Accounts.ByActor.
func ParseActor(actor string) (kind Kind, name string, ok bool) {
	switch actor {
	case "anonymous":
		return KindAnonymous, "", true
	case "local administrator":
		return KindLocal, "", true
	case "slipway":
		return KindSystem, "", true
	}
	before, name, ok := strings.Cut(actor, ":")
	kind = Kind(before)
	if !ok || name == "" || (kind != KindUser && kind != KindRobot && kind != KindWorkload) {
		return "", "", false
	}
	return kind, name, true
}

// RemoteAddress reads the address of an http.Request's RemoteAddr. It is the
// zero address for what has none, such as a Unix socket.
func RemoteAddress(remote string) netip.Addr {
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		return ap.Addr().Unmap()
	}
	a, _ := netip.ParseAddr(remote)
	return a.Unmap()
}
