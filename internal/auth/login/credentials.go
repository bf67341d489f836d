package login

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"

	"slipway/internal/oci"
)

// Scheme is how credentials are shown.
type Scheme string

// The schemes of RFC 7617 and RFC 6750.
const (
	None   Scheme = ""
	Basic  Scheme = "Basic"
	Bearer Scheme = "Bearer"
)

// Credentials are what a caller shows. They do not print their secret.
type Credentials struct {
	Scheme Scheme
	User   string // of Basic
	Secret string
}

// String hides the secret.
func (c Credentials) String() string { return fmt.Sprintf("%s %q (secret)", c.Scheme, c.User) }

// GoString hides the secret.
func (c Credentials) GoString() string { return c.String() }

// LogValue hides the secret.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

const (
	maxAuthorization = 64 << 10
	maxUser          = 256
	maxPassword      = 16 << 10 // room for the token of a CI job
)

// ParseAuthorization reads the values of a request's Authorization headers.
// None is no credentials. Two are refused, since a proxy in between may have
// looked at the other one. Its error is an UNAUTHORIZED *oci.Error.
func ParseAuthorization(values []string) (Credentials, error) {
	if len(values) == 0 {
		return Credentials{}, nil
	}
	if len(values) > 1 {
		return Credentials{}, oci.NewError(oci.CodeUnauthorized, "the request has more than one Authorization header: send one")
	}
	value := values[0]
	if len(value) > maxAuthorization {
		return Credentials{}, oci.NewError(oci.CodeUnauthorized, fmt.Sprintf("the Authorization header has %d bytes; the limit is %d", len(value), maxAuthorization))
	}
	scheme, rest, _ := strings.Cut(value, " ")
	rest = strings.Trim(rest, " ")
	switch {
	case strings.EqualFold(scheme, string(Basic)):
		return parseBasic(rest)
	case strings.EqualFold(scheme, string(Bearer)):
		if rest == "" || strings.ContainsFunc(rest, notInToken) {
			return Credentials{}, oci.NewError(oci.CodeUnauthorized, "the Authorization header has no token after Bearer, or one that is none")
		}
		return Credentials{Scheme: Bearer, Secret: rest}, nil
	}
	return Credentials{}, oci.NewError(oci.CodeUnauthorized, "the Authorization header is of another kind: use Basic or Bearer")
}

// notInToken is what RFC 6750 leaves out of b64token.
func notInToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~+/=", r)
}

func parseBasic(encoded string) (Credentials, error) {
	decoded, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return Credentials{}, oci.NewError(oci.CodeUnauthorized, "the Authorization header has no base64 after Basic")
	}
	user, secret, ok := strings.Cut(string(decoded), ":")
	if !ok {
		return Credentials{}, oci.NewError(oci.CodeUnauthorized, "the Authorization header has no ':' between user name and password")
	}
	if len(user) > maxUser || len(secret) > maxPassword {
		return Credentials{}, oci.NewError(oci.CodeUnauthorized, fmt.Sprintf("the user name or the password is too long: the limits are %d and %d bytes", maxUser, maxPassword))
	}
	return Credentials{Basic, user, secret}, nil
}
