package token

import (
	"strings"

	"slipway/internal/auth"
)

// Challenge is a WWW-Authenticate header for the registry (RFC 6750, section 3).
type Challenge struct {
	Realm   string // URL of the endpoint
	Service string
	// What the request needed; without a repository and an action the client
	// is only told where to log in.
	Action     auth.Action
	Repository string
	// Source is a repository from which a blob is to be mounted, if any: the
	// client then asks for both at once.
	Source string
	// Error is "" for a request without a token, or one of the two below.
	Error string
}

// Errors of RFC 6750, section 3.1.
const (
	InvalidToken      = "invalid_token"      // expired, forged, of a user who is gone
	InsufficientScope = "insufficient_scope" // good, but not issued for this
)

// String is the value of the header.
func (c Challenge) String() string {
	s := "Bearer realm=" + quote(c.Realm) + ",service=" + quote(c.Service)
	if scope := c.scope(); scope != "" {
		s += ",scope=" + quote(scope)
	}
	if c.Error != "" {
		s += ",error=" + quote(c.Error)
	}
	return s
}

// scope is what the client should ask for. Who pushes also reads.
func (c Challenge) scope() string {
	switch {
	case c.Action == auth.List:
		return typeRegistry + ":" + catalog + ":*"
	case c.Repository == "" || c.Action == auth.Ping || c.Action == "":
		return ""
	case c.Action == auth.Push:
		scope := typeRepository + ":" + c.Repository + ":pull,push"
		if c.Source != "" {
			scope += " " + typeRepository + ":" + c.Source + ":pull"
		}
		return scope
	}
	return typeRepository + ":" + c.Repository + ":" + string(c.Action)
}

// BasicChallenge is the header for the API and the console (RFC 7617).
func BasicChallenge(realm string) string {
	return "Basic realm=" + quote(realm) + `,charset="UTF-8"`
}

// quote makes a quoted-string (RFC 9110, section 5.6.4). What cannot stand in
// one, and would end the header, is left out.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case (c >= ' ' && c < 0x7f) || c >= 0x80:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
